//! Leases of refreshes: who may ask a provider with a grant's refresh token, until when.
//!
//! A lease is written before the provider is asked: it is the intent. It carries a number, the fence, that guards
//! every end of the refresh, and moves `refresh_at` to its own end, so that a refresh whose replica died is found by
//! the same index as anything else that is due.

use std::collections::BTreeMap;

use sqlx::types::Json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Store, StoreError,
    grants::TOKENS,
    parse_column,
    slots::{CONFIGURATION, OVERRIDES},
    states::delivery,
};
use crate::domain::{
    delivery::Delivery,
    ids::{DeviceId, KeyHash, PluginId, SlotAddress, SlotName, Version},
    refresh::Lifetime,
    slot::{SlotConfiguration, SlotStatus},
    tokens::TokenSet,
};

/// How long a lease lasts: more than an exchange may take (30 s) and the wait for a database that is away (20 s).
pub const REFRESH_LEASE: Duration = Duration::seconds(60);

/// The right to ask the provider once, and to store what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshLease {
    /// The slot.
    pub address: SlotAddress,
    /// The number that guards the end.
    pub fence: i64,
    /// The version of the slot's configuration that it was taken with.
    pub configuration_version: Version,
}

/// All that a refresh needs, as it was when it was leased.
#[derive(Debug)]
pub struct LeasedRefresh {
    /// The right to make it.
    pub lease: RefreshLease,
    /// The slot's plugin.
    pub plugin: PluginId,
    /// The slot's configuration.
    pub configuration: SlotConfiguration,
    /// The tokens to refresh.
    pub tokens: TokenSet,
    /// From when to when they are good.
    pub lifetime: Lifetime,
    /// Attempts in a row that brought nothing, one whose replica died included.
    pub failures: u32,
    /// Who was asked the last time, where that is known.
    pub host: Option<String>,
}

/// What was leased: the refresh, or the lease alone where what was stored can't be read.
pub type Leased = Result<LeasedRefresh, (RefreshLease, StoreError)>;

/// A slot, as far as who asks for its token must know it.
#[derive(Debug)]
pub struct SlotGrant {
    /// Whether it is linked.
    pub status: SlotStatus,
    /// How its tokens leave.
    pub delivery: Delivery,
    /// Its tokens, where the broker holds them.
    pub grant: Option<Grant>,
}

/// A slot's tokens and how their refreshing stands.
#[derive(Debug)]
pub struct Grant {
    /// The tokens.
    pub tokens: TokenSet,
    /// From when to when they are good.
    pub lifetime: Lifetime,
    /// The slot's version that carries them.
    pub tokens_version: Version,
    /// The number of the last lease.
    pub fence: i64,
    /// Whether somebody asks the provider now.
    pub leased: bool,
    /// When a refresh last brought tokens.
    pub refreshed_at: Option<OffsetDateTime>,
    /// Attempts in a row that brought nothing.
    pub failures: i32,
    /// When the last attempt was decided upon.
    pub decided_at: OffsetDateTime,
    /// Nobody asks before.
    pub hold_until: Option<OffsetDateTime>,
    /// When somebody looks at it next.
    pub refresh_at: Option<OffsetDateTime>,
    /// Who is asked, where that is known.
    pub host: Option<String>,
}

macro_rules! lease_refreshes {
    ($name:literal, $chosen:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            SealedRefresh,
            "-- " + $name + "
            with chosen as (" + $chosen + "),
            leased as (
                update grants g set refresh_fence = nextval('refresh_fences'), refresh_lease_until = $2,
                    refresh_at = $2, refresh_set_at = $1, refresh_hold_until = null,
                    refresh_failures = g.refresh_failures + case when g.refresh_lease_until is null then 0 else 1 end,
                    refresh_trouble = case when g.refresh_lease_until is null then g.refresh_trouble
                        else coalesce(g.refresh_trouble, 'provider') end
                from chosen where g.device = chosen.device and g.slot = chosen.slot
                returning g.device, g.slot, g.refresh_fence, g.tokens, g.obtained_at, g.expires_at, g.refresh_failures,
                    g.refresh_host)
            select leased.device, leased.slot, leased.refresh_fence as fence, leased.tokens, leased.obtained_at,
                leased.expires_at, leased.refresh_failures as failures, leased.refresh_host as host, s.plugin, s.configuration, s.overrides,
                s.variables as \"variables: Json<BTreeMap<String, String>>\", s.seal_to, s.configuration_version
            from leased join slots s on s.device = leased.device and s.name = leased.slot",
            $($argument),*
        )
    };
}

impl Store {
    /// Leases what is due, the longest due first, `most` at most; nothing at the hosts in `busy`, where an
    /// empty name stands for hosts that are not known yet. Replicas that do
    /// so at once get different ones.
    pub async fn lease_due_refreshes(
        &self,
        busy: &[String],
        most: u16,
        now: OffsetDateTime,
    ) -> Result<Vec<Leased>, StoreError> {
        let rows = lease_refreshes!(
            "lease_due_refreshes",
            "select device, slot from grants
                where refresh_at <= $1 and coalesce(refresh_host, '') <> all($3)
                order by refresh_at limit $4 for update skip locked",
            now,
            now + REFRESH_LEASE,
            busy,
            i64::from(most)
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| self.open_refresh(row)).collect()
    }

    /// Leases the refresh of one slot, due or not. Nothing, where somebody else is at it, or has been since the fence
    /// was `seen`, the provider asks for a rest, or there are no tokens.
    pub async fn lease_refresh(
        &self,
        address: &SlotAddress,
        seen: i64,
        now: OffsetDateTime,
    ) -> Result<Option<Leased>, StoreError> {
        let row = lease_refreshes!(
            "lease_refresh",
            "select device, slot from grants
                where device = $3 and slot = $4 and refresh_fence = $5 and (refresh_hold_until is null or refresh_hold_until <= $1)
                  and (refresh_lease_until is null or refresh_lease_until <= $1)
                for update",
            now,
            now + REFRESH_LEASE,
            address.device.0,
            address.slot.as_str(),
            seen
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| self.open_refresh(row)).transpose()
    }

    /// A slot's status and, where the broker holds them, its tokens with how their refreshing stands.
    pub async fn find_grant(
        &self,
        address: &SlotAddress,
        now: OffsetDateTime,
    ) -> Result<Option<SlotGrant>, StoreError> {
        let row = sqlx::query!(
            r#"-- find_grant
            select s.status, s.tokens_version, g.tokens as "tokens?", g.obtained_at as "obtained_at?", g.expires_at,
                g.refresh_fence as "fence?", g.refresh_lease_until, g.refreshed_at, g.refresh_failures as "failures?",
                g.refresh_set_at as "set_at?", g.refresh_hold_until, g.refresh_at, g.refresh_host,
                s.seal_to, k.spki as "recipient?"
            from slots s left join grants g on g.device = s.device and g.slot = s.name
                left join trusted_keys k on k.device = s.device and k.key_hash = s.seal_to
            where s.device = $1 and s.name = $2"#,
            address.device.0,
            address.slot.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let status = parse_column("slots.status", &row.status)?;
        let delivery = delivery(row.seal_to.as_deref(), row.recipient.as_deref())?;
        let (Some(sealed), Some(obtained_at), Some(fence), Some(failures), Some(decided_at)) =
            (row.tokens, row.obtained_at, row.fence, row.failures, row.set_at)
        else {
            return Ok(Some(SlotGrant { status, delivery, grant: None }));
        };
        let tokens = self.open_tokens(&address.to_string(), &sealed)?;
        let leased = row.refresh_lease_until.is_some_and(|until| until > now);
        let grant = Grant {
            tokens,
            lifetime: Lifetime { obtained_at, expires_at: row.expires_at },
            tokens_version: Version(row.tokens_version),
            fence,
            leased,
            refreshed_at: row.refreshed_at,
            failures,
            decided_at,
            hold_until: row.refresh_hold_until,
            refresh_at: row.refresh_at,
            host: row.refresh_host,
        };
        Ok(Some(SlotGrant { status, delivery, grant: Some(grant) }))
    }

    fn open_refresh(&self, row: SealedRefresh) -> Result<Leased, StoreError> {
        // Who can't be named can't be put off either; it is looked at again when its lease ends.
        let slot: SlotName = parse_column("grants.slot", &row.slot)?;
        let lease = RefreshLease {
            address: SlotAddress { device: DeviceId(row.device), slot },
            fence: row.fence,
            configuration_version: Version(row.configuration_version),
        };
        Ok(self.open_leased(&lease, row).map_err(|error| (lease, error)))
    }

    fn open_leased(&self, lease: &RefreshLease, row: SealedRefresh) -> Result<LeasedRefresh, StoreError> {
        let place = lease.address.to_string();
        Ok(LeasedRefresh {
            plugin: parse_column("slots.plugin", &row.plugin)?,
            configuration: SlotConfiguration {
                copy: self.open_document(CONFIGURATION, &place, &row.configuration)?,
                overrides: self.open_document(OVERRIDES, &place, &row.overrides)?,
                variables: row.variables.0,
                seal_to: row.seal_to.map(KeyHash),
            },
            tokens: self.open_tokens(&place, &row.tokens)?,
            lifetime: Lifetime { obtained_at: row.obtained_at, expires_at: row.expires_at },
            failures: u32::try_from(row.failures).unwrap_or_default(),
            host: row.host,
            lease: lease.clone(),
        })
    }

    fn open_tokens(&self, place: &str, sealed: &[u8]) -> Result<TokenSet, StoreError> {
        let plaintext = self.open(TOKENS, place, sealed)?;
        TokenSet::from_plaintext(&plaintext).map_err(|_| StoreError::Row { column: TOKENS.name })
    }
}

struct SealedRefresh {
    device: Uuid,
    slot: String,
    fence: i64,
    tokens: Vec<u8>,
    obtained_at: OffsetDateTime,
    expires_at: Option<OffsetDateTime>,
    failures: i32,
    host: Option<String>,
    plugin: String,
    configuration: Vec<u8>,
    overrides: Vec<u8>,
    variables: Json<BTreeMap<String, String>>,
    seal_to: Option<String>,
    configuration_version: i64,
}
