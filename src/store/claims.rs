//! Which plugin speaks for which authorization server: the evidence behind a quarantine (the flow, 3).

use sqlx::PgExecutor;

use super::{Store, StoreError, parse_column};
use crate::domain::{ids::PluginId, plugin::Claim};

/// What one plugin claims.
struct Claimed {
    plugin: String,
    claim: Claim,
    number: i64,
}

/// Claims that could conflict with `auth_origin`: of the same origin, or with a name where a host label stands.
async fn list_claims(
    executor: impl PgExecutor<'_>,
    other_than: &PluginId,
    auth_origin: &str,
) -> Result<Vec<Claimed>, StoreError> {
    let rows = sqlx::query!(
        "-- list_claims
        select id, auth_origin, token_origin, client_id, claim_number from plugins
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
            plugin: row.id,
            claim: Claim {
                auth_origin: row.auth_origin,
                token_origin: row.token_origin,
                client_id: row.client_id,
            },
            number: row.claim_number,
        })
        .collect())
}

/// Whether another plugin claims what `claim` says, and did so before the claim `since` where that is given.
pub(super) async fn is_claimed(
    executor: impl PgExecutor<'_>,
    plugin: &PluginId,
    claim: &Claim,
    since: Option<i64>,
) -> Result<bool, StoreError> {
    let claims = list_claims(executor, plugin, &claim.auth_origin).await?;
    let older = |number: i64| since.is_none_or(|since| number < since);
    Ok(claims.iter().any(|other| older(other.number) && claim.conflicts_with(&other.claim)))
}

impl Store {
    /// Whether another plugin claims what `claim` says, and did so before the claim `since` where that is given.
    pub async fn is_claimed_by_another(
        &self,
        plugin: &PluginId,
        claim: &Claim,
        since: Option<i64>,
    ) -> Result<bool, StoreError> {
        is_claimed(&self.pool, plugin, claim, since).await
    }
    /// The plugins that are not quarantined and whose claims stand against this one, by id.
    pub async fn list_rivals(&self, plugin: &PluginId, claim: &Claim) -> Result<Vec<PluginId>, StoreError> {
        let claims = list_claims(&self.pool, plugin, &claim.auth_origin).await?;
        let against = claims.into_iter().filter(|other| claim.conflicts_with(&other.claim));
        let mut rivals: Vec<PluginId> =
            against.map(|other| parse_column("plugins.id", &other.plugin)).collect::<Result<_, _>>()?;
        rivals.sort();
        Ok(rivals)
    }
}
