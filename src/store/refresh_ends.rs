//! The ends of a refresh, each one statement guarded by the fence of its lease: who was taken for dead, or whose
//! slot was unlinked, linked anew or deleted meanwhile, changes nothing.
//!
//! Each locks the slot before the grant, as whatever else touches both does. Where the slot's configuration is
//! another by now, somebody looks again at once.

use time::OffsetDateTime;

use super::{Store, StoreError, grants::TOKENS, refresh_leases::RefreshLease, slots::subject};
use crate::domain::{
    audit::{Action, Actor},
    ids::Version,
    refresh::{GrantEnd, Trouble},
    tokens::TokenSet,
};

/// When to look at a grant next.
#[derive(Debug, Clone, Copy)]
pub struct NextLook<'a> {
    /// When; nothing: never.
    pub at: Option<OffsetDateTime>,
    /// Who will be asked, where that is known.
    pub host: Option<&'a str>,
}

/// What became of a refresh that brought tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// The slot's new version.
    Yes(Version),
    /// The lease was lost; nothing has changed.
    LeaseLost,
}

impl Store {
    /// Stores what a refresh brought, raises the slot's version, sets the next refresh and ends the lease: one
    /// statement, all or nothing.
    pub async fn store_refresh(
        &self,
        lease: &RefreshLease,
        tokens: &TokenSet,
        obtained_at: OffsetDateTime,
        next: NextLook<'_>,
        now: OffsetDateTime,
    ) -> Result<Refreshed, StoreError> {
        let address = &lease.address;
        let version = sqlx::query_scalar!(
            "-- store_refresh
            with slot as (
                select device, name, configuration_version from slots where device = $1 and name = $2 for update),
            kept as (
                update grants g set tokens = $4, scope = $5, expires_at = $6, obtained_at = $7, refreshed_at = $8,
                    refresh_at = case when slot.configuration_version = $11 then $9::timestamptz else $8 end,
                    refresh_set_at = $8, refresh_host = $10, refresh_lease_until = null, refresh_failures = 0,
                    refresh_trouble = null, refresh_hold_until = null
                from slot where g.device = slot.device and g.slot = slot.name and g.refresh_fence = $3
                  and g.refresh_lease_until is not null
                returning g.device, g.slot)
            update slots set version = version + 1, tokens_version = version + 1
            from kept where slots.device = kept.device and slots.name = kept.slot
            returning version",
            address.device.0,
            address.slot.as_str(),
            lease.fence,
            self.seal(TOKENS, &address.to_string(), &tokens.to_plaintext()),
            tokens.scope(),
            tokens.expires_at(),
            obtained_at,
            now,
            next.at,
            next.host,
            lease.configuration_version.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(version.map_or(Refreshed::LeaseLost, |version| Refreshed::Yes(Version(version))))
    }

    /// Ends a lease without an attempt at the provider: nothing is due yet, or the provider is left alone.
    pub async fn put_off_refresh(
        &self,
        lease: &RefreshLease,
        next: NextLook<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- put_off_refresh
            with slot as (
                select device, name, configuration_version from slots where device = $1 and name = $2 for share)
            update grants g set refresh_set_at = $4, refresh_host = $6, refresh_lease_until = null,
                refresh_at = case when slot.configuration_version = $7 then $5::timestamptz else $4 end
            from slot where g.device = slot.device and g.slot = slot.name and g.refresh_fence = $3
              and g.refresh_lease_until is not null",
            lease.address.device.0,
            lease.address.slot.as_str(),
            lease.fence,
            now,
            next.at,
            next.host,
            lease.configuration_version.0
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Ends a lease whose attempt failed; the tokens stay as they are. `hold_until`: nobody asks before. A
    /// configuration that is refused is recorded when it begins to be. Whether it does so now.
    pub async fn fail_refresh(
        &self,
        lease: &RefreshLease,
        trouble: Trouble,
        next: NextLook<'_>,
        hold_until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let begun = sqlx::query_scalar!(
            "-- fail_refresh
            with slot as (
                select device, name, configuration_version from slots where device = $1 and name = $2 for share),
            before as (
                select g.device, g.slot, g.refresh_trouble, slot.configuration_version from grants g
                join slot on slot.device = g.device and slot.name = g.slot
                where g.refresh_fence = $3 and g.refresh_lease_until is not null for update of g),
            failed as (
                update grants g set refresh_set_at = $4, refresh_host = $6, refresh_lease_until = null,
                    refresh_failures = g.refresh_failures + 1, refresh_trouble = $8,
                    refresh_at = case when before.configuration_version = $7 then $5::timestamptz else $4 end,
                    refresh_hold_until = case when before.configuration_version = $7 then $9::timestamptz end
                from before where g.device = before.device and g.slot = before.slot
                returning $8 = 'configuration' and before.refresh_trouble is distinct from $8 as begun),
            audited as (
                insert into audit (at, actor, action, subject) select $4, $10, $11, $12 from failed where begun)
            select coalesce(begun, false) as \"begun!\" from failed",
            lease.address.device.0,
            lease.address.slot.as_str(),
            lease.fence,
            now,
            next.at,
            next.host,
            lease.configuration_version.0,
            trouble.as_str(),
            hold_until,
            Actor::Broker.to_string(),
            Action::RefreshRefused.as_str(),
            subject(&lease.address)
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(begun.unwrap_or(false))
    }

    /// Ends a grant: its tokens are erased, and its user must link the slot again.
    pub async fn end_grant(
        &self,
        lease: &RefreshLease,
        why: GrantEnd,
        now: OffsetDateTime,
    ) -> Result<Refreshed, StoreError> {
        let version = sqlx::query_scalar!(
            "-- end_grant
            with slot as (select device, name from slots where device = $1 and name = $2 for update),
            gone as (
                delete from grants g using slot
                where g.device = slot.device and g.slot = slot.name and g.refresh_fence = $3
                  and g.refresh_lease_until is not null
                returning g.device, g.slot),
            audited as (
                insert into audit (at, actor, action, subject, detail) select $4, $6, $7, $8, $5 from gone)
            update slots set status = 'reauthorize', reason = $5, version = version + 1, link_version = version + 1
            from gone where slots.device = gone.device and slots.name = gone.slot
            returning version",
            lease.address.device.0,
            lease.address.slot.as_str(),
            lease.fence,
            now,
            why.as_str(),
            Actor::Broker.to_string(),
            Action::GrantEnded.as_str(),
            subject(&lease.address)
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(version.map_or(Refreshed::LeaseLost, |version| Refreshed::Yes(Version(version))))
    }
}
