//! Which access tokens are void before they expire.
//!
//! A token carries the number of its device's newest revocation at its issue; those with a higher number void it.

use time::OffsetDateTime;

use super::{Store, StoreError};
use crate::domain::ids::{DeviceId, KeyHash};

/// Which of a device's tokens are void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// All.
    Everything,
    /// Those obtained with this key.
    ByKey(KeyHash),
    /// Those obtained with a password.
    ByPassword,
}

/// Tokens of a device that were issued before it are void.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// Counts up.
    pub number: i64,
    /// The device.
    pub device: DeviceId,
    /// Which of its tokens.
    pub revoked: Revoked,
}

impl Store {
    /// All revocations that still matter. Few: they last as long as an access token.
    pub async fn list_revocations(&self, now: OffsetDateTime) -> Result<Vec<Revocation>, StoreError> {
        let rows = sqlx::query!(
            "-- list_revocations
            select number, device, key_hash, obtained_with from revocations where forget_at >= $1",
            now
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Revocation {
                number: row.number,
                device: DeviceId(row.device),
                revoked: match (row.key_hash, row.obtained_with) {
                    (Some(key), _) => Revoked::ByKey(KeyHash(key)),
                    (None, Some(_)) => Revoked::ByPassword,
                    (None, None) => Revoked::Everything,
                },
            })
            .collect())
    }
}
