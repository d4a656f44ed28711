//! The exchange's end in the database: tokens stored, staged or given up, and what a dead replica left behind.
//!
//! Whoever exchanges holds a lease: the flow is `exchanging` and counts attempts. Every end is guarded by the
//! attempt, so that a replica that was taken for dead can store nothing. Who touches both locks the slot before
//! its flow, as a reconfiguration and a deletion do, so that they never wait for each other in a ring.

use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use super::{
    Store, StoreError,
    flows::{CALLBACK, CONFIRM_CODE, FlowConfiguration, STAGED, VERIFIER},
    grants::TOKENS,
    parse_column,
    refresh_ends::NextLook,
};
use crate::domain::{
    audit::{Action, Actor},
    binding::{ClientNetwork, ConsentBinding},
    flow::FlowError,
    ids::{DeviceId, FlowId, SlotAddress, Version},
    secret::{CodeVerifier, ConfirmCode},
    tokens::TokenSet,
};

/// The right to make one token request for a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeLease {
    /// The flow.
    pub flow: FlowId,
    /// 1, or 2 after a crash.
    pub attempt: i16,
}

/// All that an exchange needs, as the flow fixed it.
#[derive(Debug)]
pub struct Exchange {
    /// The right to make it.
    pub lease: ExchangeLease,
    /// The slot to link.
    pub address: SlotAddress,
    /// What the flow fixed at the start.
    pub configuration: FlowConfiguration,
    /// The redirect URI it sent.
    pub redirect_uri: Url,
    /// The PKCE verifier.
    pub verifier: CodeVerifier,
    /// Whether a code will be asked.
    pub binding: ConsentBinding,
    /// Where the device called from.
    pub device_network: ClientNetwork,
    /// Where the browser called from.
    pub browser_network: Option<ClientNetwork>,
    /// The callback, as it was sealed.
    pub callback: zeroize::Zeroizing<Vec<u8>>,
}

/// What became of an exchange's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The slot's new version.
    Linked(Version),
    /// The lease was lost: somebody else ended the flow, or took it over.
    LeaseLost,
}

impl Store {
    /// Stores the tokens, raises the slot's version and ends the flow: one statement, all or nothing. `next`
    /// is when their refresh is due, unless the plugin keeps them; where the slot was configured since the flow began,
    /// somebody looks at once. A refresh of the tokens before can't end any more.
    pub async fn store_consent(
        &self,
        lease: ExchangeLease,
        address: &SlotAddress,
        tokens: &TokenSet,
        next: NextLook<'_>,
        now: OffsetDateTime,
    ) -> Result<Stored, StoreError> {
        let sealed = self.seal(TOKENS, &address.to_string(), &tokens.to_plaintext());
        let version = sqlx::query_scalar!(
            "-- store_consent
            with slot as (select device, name from slots where device = $3 and name = $4 for update),
            flow as (
                select f.id, f.device, f.slot, f.browser_network, f.created_at from flows f
                join slot on slot.device = f.device and slot.name = f.slot
                where f.id = $1 and f.status = 'exchanging' and f.attempt = $2 for update of f),
            linked as (
                update slots set status = 'linked', reason = null, version = version + 1,
                    tokens_version = version + 1, link_version = version + 1
                from flow where slots.device = flow.device and slots.name = flow.slot
                returning slots.device, slots.name, slots.version, slots.custody,
                    slots.configured_at <= flow.created_at as as_begun),
            kept as (
                insert into grants (device, slot, tokens, scope, expires_at, obtained_at, refresh_at, refresh_set_at,
                    refresh_host)
                select device, name, $5, $6, $7, $8,
                    case when custody <> 'broker' then null when as_begun then $11::timestamptz else $8 end, $8, $12
                from linked
                on conflict (device, slot) do update set tokens = excluded.tokens, scope = excluded.scope,
                    expires_at = excluded.expires_at, obtained_at = excluded.obtained_at,
                    refresh_at = excluded.refresh_at, refresh_set_at = excluded.refresh_set_at,
                    refresh_host = excluded.refresh_host,
                    refresh_fence = excluded.refresh_fence, refresh_lease_until = null, refresh_failures = 0,
                    refresh_trouble = null, refresh_hold_until = null, refreshed_at = null),
            audited as (
                insert into audit (at, actor, address, action, subject)
                select $8, $9, browser_network, $10, 'slot:' || flow.device || '/' || flow.slot
                from flow, linked)
            update flows set status = 'linked', linked_version = linked.version, callback = null,
                exchange_started_at = null, verifier = null, finished_at = $8
            from flow, linked where flows.id = flow.id
            returning linked.version",
            lease.flow.0,
            lease.attempt,
            address.device.0,
            address.slot.as_str(),
            sealed,
            tokens.scope(),
            tokens.expires_at(),
            now,
            Actor::Browser.to_string(),
            Action::FlowLinked.as_str(),
            next.at,
            next.host
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(version.map_or(Stored::LeaseLost, |version| Stored::Linked(Version(version))))
    }

    /// Keeps the tokens aside until the code is typed where the flow was started. What was linked before stays in
    /// use. Whether the lease still held.
    pub async fn stage_consent(
        &self,
        lease: ExchangeLease,
        tokens: &TokenSet,
        code: &ConfirmCode,
        expires_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let place = lease.flow.to_string();
        let done = sqlx::query!(
            "-- stage_consent
            update flows set status = 'confirm', staged = $3, confirm_code = $4, callback = null,
                exchange_started_at = null, verifier = null, expires_at = greatest(expires_at, $5)
            where id = $1 and status = 'exchanging' and attempt = $2",
            lease.flow.0,
            lease.attempt,
            self.seal(STAGED, &place, &tokens.to_plaintext()),
            self.seal(CONFIRM_CODE, &place, code.expose().as_bytes()),
            expires_at
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Puts the staged tokens in use: one statement, all or nothing.
    pub async fn store_confirmed(
        &self,
        id: FlowId,
        address: &SlotAddress,
        now: OffsetDateTime,
    ) -> Result<Stored, StoreError> {
        let staged = sqlx::query_scalar!(
            "-- find_staged
            select staged as \"staged!\" from flows
            where id = $1 and device = $2 and slot = $3 and status = 'confirm' and expires_at > $4",
            id.0,
            address.device.0,
            address.slot.as_str(),
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(staged) = staged else { return Ok(Stored::LeaseLost) };
        let plaintext = self.open(STAGED, &id.to_string(), &staged)?;
        let tokens =
            TokenSet::from_plaintext(&plaintext).map_err(|_| StoreError::Row { column: STAGED.name })?;
        let version = sqlx::query_scalar!(
            "-- store_confirmed
            with slot as (select device, name from slots where device = $2 and name = $3 for update),
            flow as (
                select f.id, f.device, f.slot, f.browser_network from flows f
                join slot on slot.device = f.device and slot.name = f.slot
                where f.id = $1 and f.status = 'confirm' and f.expires_at > $7 for update of f),
            linked as (
                update slots set status = 'linked', reason = null, version = version + 1,
                    tokens_version = version + 1, link_version = version + 1
                from flow where slots.device = flow.device and slots.name = flow.slot
                returning slots.device, slots.name, slots.version, slots.custody),
            kept as (
                insert into grants (device, slot, tokens, scope, expires_at, obtained_at, refresh_at, refresh_set_at)
                select device, name, $4, $5, $6, $7, case custody when 'broker' then $7::timestamptz end, $7
                from linked
                on conflict (device, slot) do update set tokens = excluded.tokens, scope = excluded.scope,
                    expires_at = excluded.expires_at, obtained_at = excluded.obtained_at,
                    refresh_at = excluded.refresh_at, refresh_set_at = excluded.refresh_set_at,
                    refresh_fence = excluded.refresh_fence, refresh_lease_until = null, refresh_failures = 0,
                    refresh_trouble = null, refresh_hold_until = null, refreshed_at = null),
            audited as (
                insert into audit (at, actor, address, action, subject)
                select $7, $8, browser_network, $9, 'slot:' || flow.device || '/' || flow.slot
                from flow, linked)
            update flows set status = 'linked', linked_version = linked.version, staged = null, confirm_code = null,
                finished_at = $7
            from flow, linked where flows.id = flow.id
            returning linked.version",
            id.0,
            address.device.0,
            address.slot.as_str(),
            self.seal(TOKENS, &address.to_string(), &tokens.to_plaintext()),
            tokens.scope(),
            tokens.expires_at(),
            now,
            Actor::Browser.to_string(),
            Action::FlowLinked.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(version.map_or(Stored::LeaseLost, |version| Stored::Linked(Version(version))))
    }

    /// Ends a flow whose exchange failed. What was linked before stays in use.
    pub async fn fail_exchange(
        &self,
        lease: ExchangeLease,
        error: FlowError,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- fail_exchange
            with ended as (
                update flows set status = 'failed', error = $3, callback = null, exchange_started_at = null,
                    verifier = null, finished_at = $4
                where id = $1 and status = 'exchanging' and attempt = $2
                returning device, slot, browser_network)
            insert into audit (at, actor, address, action, subject, detail)
            select $4, $5, browser_network, $6, 'slot:' || device || '/' || slot, $3 from ended",
            lease.flow.0,
            lease.attempt,
            error.as_str(),
            now,
            Actor::Browser.to_string(),
            Action::FlowFailed.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes over exchanges that began before `stale` and were never ended, while their code may still be good
    /// (redeemed after `code_alive`): each once, 16 at most.
    pub async fn lease_abandoned_exchanges(
        &self,
        stale: OffsetDateTime,
        code_alive: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Vec<Exchange>, StoreError> {
        let rows = sqlx::query_as!(
            SealedExchange,
            r#"-- lease_abandoned_exchanges
            update flows set attempt = attempt + 1, exchange_started_at = $3
            where id in (
                select id from flows
                where status = 'exchanging' and exchange_started_at < $1 and attempt = 1 and redeemed_at > $2
                order by exchange_started_at limit 16 for update skip locked)
            returning id, device, slot, attempt, configuration, redirect_uri, verifier as "verifier!", binding,
                device_network, browser_network, callback as "callback!""#,
            stale,
            code_alive,
            now
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| self.open_exchange(row)).collect()
    }

    /// Gives up exchanges that were left behind twice, or whose code can't be good any more. How many.
    pub async fn give_up_abandoned_exchanges(
        &self,
        stale: OffsetDateTime,
        code_alive: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "-- give_up_abandoned_exchanges
            with ended as (
                update flows set status = 'failed', error = $4, callback = null, exchange_started_at = null,
                    verifier = null, finished_at = $3
                where status = 'exchanging' and exchange_started_at < $1 and (attempt > 1 or redeemed_at <= $2)
                returning device, slot, browser_network)
            insert into audit (at, actor, address, action, subject, detail)
            select $3, $5, browser_network, $6, 'slot:' || device || '/' || slot, $4 from ended",
            stale,
            code_alive,
            now,
            FlowError::ExchangeFailed.as_str(),
            Actor::Broker.to_string(),
            Action::FlowFailed.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    fn open_exchange(&self, row: SealedExchange) -> Result<Exchange, StoreError> {
        let place = row.id.to_string();
        let networks =
            row.browser_network.map(|text| parse_column("flows.browser_network", &text)).transpose()?;
        Ok(Exchange {
            lease: ExchangeLease { flow: FlowId(row.id), attempt: row.attempt },
            address: SlotAddress {
                device: DeviceId(row.device),
                slot: parse_column("flows.slot", &row.slot)?,
            },
            configuration: self.open_flow_configuration(&place, &row.configuration)?,
            redirect_uri: parse_column("flows.redirect_uri", &row.redirect_uri)?,
            verifier: CodeVerifier::new(self.open_text(VERIFIER, &place, &row.verifier)?.as_str()),
            binding: parse_column("flows.binding", &row.binding)?,
            device_network: parse_column("flows.device_network", &row.device_network)?,
            browser_network: networks,
            callback: self.open(CALLBACK, &place, &row.callback)?,
        })
    }
}

struct SealedExchange {
    id: Uuid,
    device: Uuid,
    slot: String,
    attempt: i16,
    configuration: Vec<u8>,
    redirect_uri: String,
    verifier: Vec<u8>,
    binding: String,
    device_network: String,
    browser_network: Option<String>,
    callback: Vec<u8>,
}
