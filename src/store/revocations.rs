//! Which access tokens are void before they expire.
//!
//! A token carries the number of its device's newest revocation at its issue; those with a higher number void it.
//! Tokens that were given back one by one (RFC 7009) are kept by their `jti`.

use std::collections::HashSet;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::{
    audit::{Action, Origin},
    ids::{DeviceId, KeyHash},
};

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

    /// Voids one token, by its `jti`.
    pub async fn revoke_token(
        &self,
        id: Uuid,
        by: &Origin,
        now: OffsetDateTime,
        forget_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- revoke_token
            with revoked as (
                insert into revoked_tokens (id, forget_at) values ($1, $2) on conflict (id) do nothing returning id)
            insert into audit (at, actor, address, action) select $3, $4, $5, $6 from revoked",
            id,
            forget_at,
            now,
            by.actor.to_string(),
            by.address(),
            Action::TokenRevoked.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The `jti` of all tokens that were voided one by one and have not expired.
    pub async fn list_revoked_tokens(&self, now: OffsetDateTime) -> Result<HashSet<Uuid>, StoreError> {
        let ids = sqlx::query_scalar!(
            "-- list_revoked_tokens\nselect id from revoked_tokens where forget_at >= $1",
            now
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().collect())
    }
}
