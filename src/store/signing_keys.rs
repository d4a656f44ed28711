//! Keys that sign cloudlink's own access tokens, sealed.

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    Column, Store, StoreError,
    audit::{NewAudit, put_audit},
    column,
};
use crate::domain::audit::{Action, Origin};

const PKCS8: Column = column!("signing_keys", "pkcs8");

/// When the keys that a new one replaces stop being believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retirement {
    /// From then on.
    At(OffsetDateTime),
    /// At once: they are erased.
    Erased,
}

/// A signing key as it is stored.
pub struct SigningKeyRow {
    /// Its id in token headers.
    pub kid: String,
    /// The private key.
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// When it was made; the newest that does not retire signs.
    pub created_at: OffsetDateTime,
    /// From when on what it signed is refused.
    pub retires_at: Option<OffsetDateTime>,
}

/// When a signing key was made and when it ends.
#[derive(Debug, Clone)]
pub struct SigningKeyDates {
    /// Its id in token headers.
    pub kid: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// From when on what it signed is refused; nothing: it signs.
    pub retires_at: Option<OffsetDateTime>,
}

impl Store {
    /// Keeps a key, unless one that signs is there already: of replicas that start at once one is first.
    pub async fn put_first_signing_key(
        &self,
        kid: &str,
        pkcs8: &[u8],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let sealed = self.seal(PKCS8, kid, pkcs8);
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("-- lock_signing_keys\nlock table signing_keys in share row exclusive mode")
            .execute(&mut *transaction)
            .await?;
        sqlx::query!(
            "-- put_first_signing_key
            insert into signing_keys (kid, pkcs8, created_at)
            select $1, $2, $3 where not exists (select 1 from signing_keys where retires_at is null)",
            kid,
            sealed,
            now
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Puts a new key in the place of those that sign, in one transaction. Rotations take turns; a key that is on its
    /// way out already keeps its earlier end.
    pub async fn rotate_signing_key(
        &self,
        kid: &str,
        pkcs8: &[u8],
        retirement: Retirement,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let sealed = self.seal(PKCS8, kid, pkcs8);
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("-- lock_signing_keys\nlock table signing_keys in share row exclusive mode")
            .execute(&mut *transaction)
            .await?;
        match retirement {
            Retirement::At(at) => sqlx::query!(
                "-- retire_signing_keys\nupdate signing_keys set retires_at = $1 where retires_at is null",
                at
            )
            .execute(&mut *transaction)
            .await?,
            Retirement::Erased => {
                sqlx::query!("-- erase_signing_keys\ndelete from signing_keys")
                    .execute(&mut *transaction)
                    .await?
            }
        };
        sqlx::query!(
            "-- rotate_signing_key\ninsert into signing_keys (kid, pkcs8, created_at) values ($1, $2, $3)",
            kid,
            sealed,
            now
        )
        .execute(&mut *transaction)
        .await?;
        let done = NewAudit { by, action: Action::SigningKeyRotated, subject: Some(kid) };
        put_audit(&mut *transaction, &done, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Erases keys that have retired.
    pub async fn forget_signing_keys(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        sqlx::query!("-- forget_signing_keys\ndelete from signing_keys where retires_at <= $1", now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The ages of the keys whose tokens are accepted at `now`, newest first. None is opened.
    pub async fn list_signing_key_dates(
        &self,
        now: OffsetDateTime,
    ) -> Result<Vec<SigningKeyDates>, StoreError> {
        let rows = sqlx::query_as!(
            SigningKeyDates,
            "-- list_signing_key_dates
            select kid, created_at, retires_at from signing_keys
            where retires_at is null or retires_at > $1 order by created_at desc, kid limit 1000",
            now
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// Keys whose tokens are accepted at `now`, newest first.
    pub async fn list_signing_keys(&self, now: OffsetDateTime) -> Result<Vec<SigningKeyRow>, StoreError> {
        let rows = sqlx::query!(
            "-- list_signing_keys
            select kid, pkcs8, created_at, retires_at from signing_keys
            where retires_at is null or retires_at > $1 order by created_at desc, kid",
            now
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let pkcs8 = self.open(PKCS8, &row.kid, &row.pkcs8)?;
                Ok(SigningKeyRow {
                    kid: row.kid,
                    pkcs8,
                    created_at: row.created_at,
                    retires_at: row.retires_at,
                })
            })
            .collect()
    }
}
