//! Spent assertions (RFC 7523 §3): a `jti` is taken once, on whichever replica.

use time::OffsetDateTime;

use super::{Store, StoreError};
use crate::domain::ids::{DeviceId, KeyHash};

/// What became of a `jti`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JtiUse {
    /// First use; the key it was signed with is still trusted.
    Fresh {
        /// The number of the device's newest revocation: what is issued now outlives it.
        newest_revocation: i64,
    },
    /// It was used before, or the key is no longer trusted.
    Refused,
}

impl Store {
    /// Spends a `jti` (its hash) and notes the use of the key, in one statement. Nothing is spent for a key that
    /// was removed meanwhile.
    pub async fn spend_assertion(
        &self,
        device: DeviceId,
        key_hash: &KeyHash,
        jti_hash: &[u8; 32],
        now: OffsetDateTime,
        forget_at: OffsetDateTime,
    ) -> Result<JtiUse, StoreError> {
        let newest = sqlx::query_scalar!(
            "-- spend_assertion
            with spent as (
                insert into assertion_ids (id_hash, forget_at)
                select $3, $5 from trusted_keys where device = $1 and key_hash = $2
                on conflict (id_hash) do nothing
                returning id_hash)
            update trusted_keys set last_used_at = $4
            from spent where device = $1 and key_hash = $2
            returning (select coalesce(max(number), 0) from revocations where device = $1) as \"newest!\"",
            device.0,
            key_hash.0,
            jti_hash.as_slice(),
            now,
            forget_at
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(newest.map_or(JtiUse::Refused, |newest_revocation| JtiUse::Fresh { newest_revocation }))
    }

    /// Forgets what can no longer be presented: spent assertions and revocations of tokens that have expired.
    pub async fn forget_spent(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        sqlx::query!(
            "-- forget_spent
            with spent as (delete from assertion_ids where forget_at < $1)
            delete from revocations where forget_at < $1",
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
