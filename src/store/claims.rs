//! Which plugin speaks for which authorization server: the evidence behind a quarantine (the flow, 3).

use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::{Store, StoreError};
use crate::domain::{ids::PluginId, plugin::Claim};

/// What one plugin claims.
struct Claimed {
    claim: Claim,
    claimed_at: OffsetDateTime,
}

/// Claims that could conflict with `auth_origin`: of the same origin, or with a name where a host label stands.
async fn list_claims(
    executor: impl PgExecutor<'_>,
    other_than: &PluginId,
    auth_origin: &str,
) -> Result<Vec<Claimed>, StoreError> {
    let rows = sqlx::query!(
        "-- list_claims
        select auth_origin, token_origin, client_id, claimed_at from plugins
        where not quarantined and id <> $1
          and (auth_origin = $2 or strpos(auth_origin, '{') > 0 or strpos($2, '{') > 0)",
        other_than.as_str(),
        auth_origin
    )
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            claim: Claim {
                auth_origin: row.auth_origin,
                token_origin: row.token_origin,
                client_id: row.client_id,
            },
            claimed_at: row.claimed_at,
        })
        .collect())
}

/// Whether any other plugin claims what `claim` says.
pub(super) async fn is_claimed(
    executor: impl PgExecutor<'_>,
    plugin: &PluginId,
    claim: &Claim,
) -> Result<bool, StoreError> {
    let claims = list_claims(executor, plugin, &claim.auth_origin).await?;
    Ok(claims.iter().any(|other| claim.conflicts_with(&other.claim)))
}

impl Store {
    /// Whether another plugin claims what `claim` says, and did so before `since` where that is given.
    pub async fn is_claimed_by_another(
        &self,
        plugin: &PluginId,
        claim: &Claim,
        since: Option<OffsetDateTime>,
    ) -> Result<bool, StoreError> {
        let claims = list_claims(&self.pool, plugin, &claim.auth_origin).await?;
        let older = |at: OffsetDateTime| since.is_none_or(|since| at < since);
        Ok(claims.iter().any(|other| older(other.claimed_at) && claim.conflicts_with(&other.claim)))
    }
}
