//! One-time codes that let a device in, kept as hashes.

use time::OffsetDateTime;

use super::{Store, StoreError};
use crate::{
    domain::{
        audit::{Action, Origin},
        ids::DeviceId,
        secret::EnrolmentCode,
    },
    vault::{lookup_hash, password::PasswordHash},
};

/// What became of an enrolment by code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolledByCode {
    /// The device is there, and the code is spent.
    Yes,
    /// The code is none, has run out or was spent before.
    Refused,
}

impl Store {
    /// Keeps a new code.
    pub async fn put_enrolment_code(
        &self,
        code: &EnrolmentCode,
        by: &Origin,
        now: OffsetDateTime,
        expires_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- put_enrolment_code
            with audited as (insert into audit (at, actor, address, action) values ($3, $4, $5, $6))
            insert into enrolment_codes (code_hash, expires_at) values ($1, $2)",
            code_hash(code),
            expires_at,
            now,
            by.actor.to_string(),
            by.address(),
            Action::EnrolmentCodeMade.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Whether a code would let a device in now. Only [`Store::enrol_by_code`] decides.
    pub async fn is_enrolment_code(
        &self,
        code: &EnrolmentCode,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let known = sqlx::query_scalar!(
            "-- is_enrolment_code
            select exists (select 1 from enrolment_codes where code_hash = $1 and expires_at > $2) as \"known!\"",
            code_hash(code),
            now
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(known)
    }

    /// Spends a code and enrols a device: one statement, both or neither. Of many that bring one code, one is first.
    pub async fn enrol_by_code(
        &self,
        code: &EnrolmentCode,
        device: DeviceId,
        name: &str,
        password: &PasswordHash,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<EnrolledByCode, StoreError> {
        let done = sqlx::query!(
            "-- enrol_by_code
            with spent as (
                delete from enrolment_codes where code_hash = $1 and expires_at > $5 returning code_hash),
            audited as (
                insert into audit (at, actor, address, action, subject)
                select $5, $6, $7, $8, 'device:' || $2::uuid from spent)
            insert into devices (id, name, password_hash, created_at) select $2::uuid, $3, $4, $5 from spent",
            code_hash(code),
            device.0,
            name,
            password.as_str(),
            now,
            by.actor.to_string(),
            by.address(),
            Action::DeviceEnrolled.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { EnrolledByCode::Yes } else { EnrolledByCode::Refused })
    }

    /// Forgets codes that have run out.
    pub async fn forget_enrolment_codes(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        sqlx::query!("-- forget_enrolment_codes\ndelete from enrolment_codes where expires_at <= $1", now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn code_hash(code: &EnrolmentCode) -> Vec<u8> {
    lookup_hash("enrolment code", code.expose()).to_vec()
}
