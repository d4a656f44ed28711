//! Logins by password: wrong ones in a row, counted before the password is looked at, so that no number of
//! parallel guesses gets more tries.
//!
//! Each network from which somebody logged in to a device has a count of its own there; all others share one.
//! Strangers can therefore close the door to strangers only.

use std::array;

use time::OffsetDateTime;

use super::{Store, StoreError, parse_column};
use crate::{
    domain::{
        audit::{Action, Origin},
        guessing::{MOST_FAILURES, wait_after},
        ids::DeviceId,
    },
    vault::password::PasswordHash,
};

/// Which count a try belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door(String);

/// What became of a try at a device's password.
#[derive(Debug)]
pub enum LoginTry {
    /// It is counted as a failure until it is known to be none.
    Counted {
        /// Where it is counted.
        door: Door,
        /// What to compare with; `None`: there is no such device.
        stored: Option<PasswordHash>,
    },
    /// Too many were wrong: nothing is looked at before this time.
    WaitUntil(OffsetDateTime),
}

/// What became of a right password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedIn {
    /// It still was the device's when this was recorded.
    Yes {
        /// The number of the device's newest revocation: what is issued now outlives it.
        newest_revocation: i64,
    },
    /// It was changed meanwhile.
    Superseded,
}

impl Store {
    /// Counts a try at a device's password, unless its door is closed.
    pub async fn try_login(
        &self,
        device: DeviceId,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<LoginTry, StoreError> {
        let waits: [f64; MOST_FAILURES] = array::from_fn(|failures| wait_after(failures + 1).as_secs_f64());
        let row = sqlx::query!(
            r#"-- try_login
            with door as (
                select case when exists (select 1 from login_attempts
                    where device = $1 and network = $2::text and logged_in_at is not null)
                    then $2::text else '*' end as network),
            tried as (
                insert into login_attempts as old (device, network, failures, retry_at, logged_in_at)
                select $1, network, 1, $3::timestamptz + make_interval(secs => ($4::float8[])[1]),
                    case when network <> '*' then $3::timestamptz end
                from door
                on conflict (device, network) do update set
                    failures = least(old.failures + 1, 1000000),
                    retry_at = $3::timestamptz + make_interval(
                        secs => ($4::float8[])[least(old.failures + 1, cardinality($4::float8[]))])
                -- While tries are free, none is refused because another replica's present was a little later.
                where old.failures = 0
                   or ($4::float8[])[least(old.failures, cardinality($4::float8[]))] = 0
                   or old.retry_at <= $3::timestamptz
                returning network)
            select (select network from tried) as door,
                (select password_hash from devices where id = $1) as password_hash,
                (select a.retry_at from login_attempts a join door d on d.network = a.network
                 where a.device = $1) as retry_at"#,
            device.0,
            by.address(),
            now,
            &waits[..]
        )
        .fetch_one(&self.pool)
        .await?;
        match row.door {
            Some(door) => {
                let stored = row.password_hash.map(|hash| parse_column("devices.password_hash", &hash));
                Ok(LoginTry::Counted { door: Door(door), stored: stored.transpose()? })
            }
            None => Ok(LoginTry::WaitUntil(row.retry_at.unwrap_or(now))),
        }
    }

    /// Takes a try back whose password was never looked at.
    pub async fn forgive_login(
        &self,
        device: DeviceId,
        door: &Door,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- forgive_login
            update login_attempts set failures = greatest(failures - 1, 0), retry_at = $3
            where device = $1 and network = $2",
            device.0,
            door.0,
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Records a login with the password that `proven` is the hash of, and clears its door. From now on the network
    /// is one that logged in before, if it is known at all.
    pub async fn record_login(
        &self,
        device: DeviceId,
        proven: &PasswordHash,
        door: &Door,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<LoggedIn, StoreError> {
        let row = sqlx::query!(
            r#"-- record_login
            with proven as (select id from devices where id = $1 and password_hash = $2 for share),
            known as (
                insert into login_attempts (device, network, failures, retry_at, logged_in_at)
                select id, $3, 0, $4, $4 from proven where $3::text is not null
                on conflict (device, network) do update set failures = 0, retry_at = excluded.retry_at,
                    logged_in_at = excluded.logged_in_at),
            freed as (
                update login_attempts a set failures = 0, retry_at = $4 from proven
                where a.device = proven.id and a.network = '*' and $5::text = '*'),
            audited as (
                insert into audit (at, actor, address, action, subject)
                select $4, $6, $7, $8, 'device:' || id from proven)
            select exists (select 1 from proven) as "proven!",
                (select coalesce(max(number), 0) from revocations where device = $1) as "newest!""#,
            device.0,
            proven.as_str(),
            by.network.filter(|network| network.is_same_as(*network)).map(|network| network.to_string()),
            now,
            door.0,
            by.actor.to_string(),
            by.address(),
            Action::DeviceLogin.as_str()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(if row.proven { LoggedIn::Yes { newest_revocation: row.newest } } else { LoggedIn::Superseded })
    }

    /// Forgets counts that mean nothing any more: of networks that last logged in before `known_since`, and of
    /// devices that don't exist, an hour after the last try.
    pub async fn forget_logins(
        &self,
        known_since: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- forget_logins
            delete from login_attempts a
            where a.logged_in_at < $1
               or (a.retry_at < $2 and not exists (select 1 from devices d where d.id = a.device))",
            known_since,
            now - time::Duration::HOUR
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
