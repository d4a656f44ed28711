//! Keys that sign cloudlink's own access tokens, sealed.

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{Column, Store, StoreError, column};

const PKCS8: Column = column!("signing_keys", "pkcs8");

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
