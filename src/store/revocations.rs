//! Which access tokens are void before they expire.

use time::OffsetDateTime;

use super::{Store, StoreError};
use crate::domain::ids::{DeviceId, KeyHash};

/// Tokens of a device issued before a time are void: those obtained with one key, or all.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// Counts up.
    pub number: i64,
    /// The device.
    pub device: DeviceId,
    /// The key, or `None` for whatever the tokens were obtained with.
    pub key_hash: Option<KeyHash>,
    /// Tokens issued up to here are void.
    pub revoked_at: OffsetDateTime,
    /// When the last of them has expired anyway.
    pub forget_at: OffsetDateTime,
}

impl Store {
    /// All revocations that still matter. Few: they last as long as an access token.
    pub async fn list_revocations(&self, now: OffsetDateTime) -> Result<Vec<Revocation>, StoreError> {
        let rows = sqlx::query!(
            "-- list_revocations
            select number, device, key_hash, revoked_at, forget_at from revocations where forget_at >= $1",
            now
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Revocation {
                number: row.number,
                device: DeviceId(row.device),
                key_hash: row.key_hash.map(KeyHash),
                revoked_at: row.revoked_at,
                forget_at: row.forget_at,
            })
            .collect())
    }
}
