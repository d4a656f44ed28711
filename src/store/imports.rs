//! Tokens that a plugin hands over.

use time::OffsetDateTime;

use super::{
    Store, StoreError,
    grants::TOKENS,
    slots::{handle_hash, subject},
};
use crate::domain::{
    audit::{Action, Origin},
    ids::{SlotAddress, Version},
    secret::RefreshHandle,
    tokens::TokenSet,
};

/// What became of tokens that were handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutTokens {
    /// The slot's new version.
    Linked(Version),
    /// The slot's configuration is another by now, or it is gone: read it again.
    Conflict,
}

impl Store {
    /// Links a slot with tokens that its plugin had, or, with none, because its plugin keeps them: one statement,
    /// guarded by the version of the configuration that the tokens are for. They are told as tokens and not as a consent,
    /// even where a consent or its end was not acknowledged; a refresh of the tokens before can't end any more.
    /// `obtained_at` is the tokens' beginning, as far as anybody knows.
    pub async fn put_tokens(
        &self,
        address: &SlotAddress,
        seen: Version,
        tokens: Option<&TokenSet>,
        obtained_at: OffsetDateTime,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<PutTokens, StoreError> {
        let sealed = tokens.map(|tokens| self.seal(TOKENS, &address.to_string(), &tokens.to_plaintext()));
        let version = sqlx::query_scalar!(
            "-- put_tokens
            with linked as (
                update slots set status = 'linked', reason = null, version = version + 1, tokens_version = version + 1,
                    link_version = least(link_version, acked_version)
                where device = $1 and name = $2 and configuration_version = $3
                returning device, name, version),
            kept as (
                insert into grants (device, slot, tokens, scope, expires_at, obtained_at, refresh_at, refresh_set_at)
                select device, name, $4::bytea, $5, $6, $12, $7, $7 from linked where $4::bytea is not null
                on conflict (device, slot) do update set tokens = excluded.tokens, scope = excluded.scope,
                    expires_at = excluded.expires_at, obtained_at = excluded.obtained_at,
                    refresh_at = excluded.refresh_at, refresh_set_at = excluded.refresh_set_at,
                    refresh_fence = excluded.refresh_fence, refresh_lease_until = null, refresh_failures = 0,
                    refresh_trouble = null, refresh_hold_until = null, refreshed_at = null),
            erased as (
                delete from grants g using linked
                where g.device = linked.device and g.slot = linked.name and $4::bytea is null),
            audited as (
                insert into audit (at, actor, address, action, subject) select $7, $8, $9, $10, $11 from linked)
            select version from linked",
            address.device.0,
            address.slot.as_str(),
            seen.0,
            sealed,
            tokens.and_then(TokenSet::scope),
            tokens.and_then(TokenSet::expires_at),
            now,
            by.actor.to_string(),
            by.address(),
            Action::TokensImported.as_str(),
            subject(address),
            obtained_at
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(version.map_or(PutTokens::Conflict, |version| PutTokens::Linked(Version(version))))
    }

    /// Whether this is what some slot's plugin holds in place of a refresh token.
    pub async fn is_handle(&self, handle: &RefreshHandle) -> Result<bool, StoreError> {
        let known = sqlx::query_scalar!(
            "-- is_handle\nselect exists (select 1 from slots where handle_hash = $1) as \"known!\"",
            handle_hash(handle).to_vec()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(known)
    }
}
