//! Devices.

use time::OffsetDateTime;

use super::{Store, StoreError, parse_column};
use crate::{
    domain::{
        audit::{Action, Origin},
        ids::DeviceId,
    },
    vault::password::PasswordHash,
};

/// A device as it is stored, its password apart.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceId,
    /// What people call it.
    pub name: String,
    /// When it was enrolled.
    pub created_at: OffsetDateTime,
}

/// What ends with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordReach {
    /// The tokens obtained with a password.
    Logins,
    /// Every trusted key and every token.
    Everything,
}

/// A password to put in the place of another.
pub struct NewPasswordHash<'a> {
    /// What must still be stored.
    pub old: &'a PasswordHash,
    /// What to store.
    pub new: &'a PasswordHash,
    /// What ends.
    pub reach: PasswordReach,
}

/// What became of a change of password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangePassword {
    /// It is changed.
    Changed,
    /// Somebody else changed it meanwhile, or the device is gone.
    Superseded,
}

impl Store {
    /// Enrols a device.
    pub async fn put_device(
        &self,
        id: DeviceId,
        name: &str,
        password: &PasswordHash,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- put_device
            with audited as (
                insert into audit (at, actor, address, action, subject)
                values ($4, $5, $6, $7, 'device:' || $1::uuid))
            insert into devices (id, name, password_hash, created_at) values ($1::uuid, $2, $3, $4)",
            id.0,
            name,
            password.as_str(),
            now,
            by.actor.to_string(),
            by.address(),
            Action::DeviceEnrolled.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A device by its id.
    pub async fn find_device(&self, id: DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        let row =
            sqlx::query!("-- find_device\nselect id, name, created_at from devices where id = $1", id.0)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|row| DeviceRow { id: DeviceId(row.id), name: row.name, created_at: row.created_at }))
    }

    /// All devices, oldest first, 10,000 at most.
    pub async fn list_devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        let rows = sqlx::query!(
            "-- list_devices\nselect id, name, created_at from devices order by created_at, id limit 10000"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DeviceRow { id: DeviceId(row.id), name: row.name, created_at: row.created_at })
            .collect())
    }

    /// Devices, oldest first, from behind `after` on.
    pub async fn list_devices_after(
        &self,
        after: Option<DeviceId>,
        limit: u8,
    ) -> Result<Vec<DeviceRow>, StoreError> {
        let rows = sqlx::query!(
            "-- list_devices_after
            select id, name, created_at from devices
            where $1::uuid is null or (created_at, id) > (select created_at, id from devices where id = $1::uuid)
            order by created_at, id limit $2",
            after.map(|device| device.0),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DeviceRow { id: DeviceId(row.id), name: row.name, created_at: row.created_at })
            .collect())
    }

    /// Renames a device. Whether there is one.
    pub async fn rename_device(&self, id: DeviceId, name: &str) -> Result<bool, StoreError> {
        let done = sqlx::query!("-- rename_device\nupdate devices set name = $2 where id = $1", id.0, name)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The hash of a device's password.
    pub async fn find_password(&self, id: DeviceId) -> Result<Option<PasswordHash>, StoreError> {
        let hash =
            sqlx::query_scalar!("-- find_password\nselect password_hash from devices where id = $1", id.0)
                .fetch_optional(&self.pool)
                .await?;
        hash.map(|hash| parse_column("devices.password_hash", &hash)).transpose()
    }

    /// Puts a password in the place of another, with all that ends by it: one statement. The counts of wrong
    /// passwords begin anew, and no network is known to the new one.
    pub async fn change_password(
        &self,
        id: DeviceId,
        change: &NewPasswordHash<'_>,
        by: &Origin,
        now: OffsetDateTime,
        forget_at: OffsetDateTime,
    ) -> Result<ChangePassword, StoreError> {
        let actions: &[Action] = match change.reach {
            PasswordReach::Logins => &[Action::PasswordChanged],
            PasswordReach::Everything => &[Action::PasswordChanged, Action::TokensRevoked],
        };
        let actions: Vec<String> = actions.iter().map(ToString::to_string).collect();
        let done = sqlx::query!(
            "-- change_password
            with changed as (
                update devices set password_hash = $3 where id = $1 and password_hash = $2 returning id),
            untrusted as (
                delete from trusted_keys k using changed where k.device = changed.id and $4::boolean),
            uncounted as (delete from login_attempts a using changed where a.device = changed.id),
            audited as (
                insert into audit (at, actor, address, action, subject)
                select $5, $6, $7, did.action, 'device:' || id
                from changed, unnest($8::text[]) with ordinality as did (action, nth) order by nth)
            insert into revocations (device, obtained_with, revoked_at, forget_at)
            select id, case when not $4::boolean then 'password' end, $5, $9 from changed",
            id.0,
            change.old.as_str(),
            change.new.as_str(),
            change.reach == PasswordReach::Everything,
            now,
            by.actor.to_string(),
            by.address(),
            &actions,
            forget_at
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { ChangePassword::Changed } else { ChangePassword::Superseded })
    }

    /// Removes a device with its keys, slots, grants and flows, and voids its tokens; what is to be revoked at
    /// providers stays. Whether there was one.
    pub async fn delete_device(
        &self,
        id: DeviceId,
        by: &Origin,
        now: OffsetDateTime,
        forget_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await?;
        // No slot is added while the device is held, no token while its slots are.
        sqlx::query_scalar!("-- hold_device\nselect id from devices where id = $1 for update", id.0)
            .fetch_optional(&mut *transaction)
            .await?;
        sqlx::query_scalar!(
            "-- hold_slots\nselect name from slots where device = $1 order by name for update",
            id.0
        )
        .fetch_all(&mut *transaction)
        .await?;
        self.revoke_grants_of(&mut transaction, id, None, now).await?;
        let done = sqlx::query!(
            "-- delete_device
            with gone as (delete from devices where id = $1 returning id),
            audited as (
                insert into audit (at, actor, address, action, subject)
                select $2, $4, $5, $6, 'device:' || id from gone)
            insert into revocations (device, key_hash, revoked_at, forget_at) select id, null, $2, $3 from gone",
            id.0,
            now,
            forget_at,
            by.actor.to_string(),
            by.address(),
            Action::DeviceRemoved.as_str()
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() == 1)
    }
}
