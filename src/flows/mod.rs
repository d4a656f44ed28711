//! What cloudlink does, verb by verb. Each reads top to bottom; none knows HTTP or SQL.
//!
//! No network call happens while a transaction is open: what talks to a provider takes the provider's client,
//! what changes state calls one store function, and no function does both at once. After each change of a
//! slot the bus is knocked at; that is only faster than the relay's poll, never necessary.

mod access;
mod account_link;
mod calm;
mod confirm;
mod connect;
mod consent;
mod doctor;
mod enrol;
mod exchange;
mod import;
mod install;
mod login;
mod openid;
mod openid_provider;
mod overrides;
mod plugins;
mod reading;
mod reap;
mod redirect;
mod refresh;
mod refresh_end;
mod refresh_grant;
mod refresher;
mod resealing;
mod revoke;
mod rotation;
mod sign_in;
mod sign_in_decisions;
mod sign_in_grants;
mod sweep;
mod throttle;
mod token_proof;
mod tokens;
mod unlink;
mod waiters;
mod webhook_admission;
mod webhooks;

use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

pub use self::{
    access::{AccessControl, AccessError, GrantError, Issued, PrepareError},
    account_link::{
        AccountLinkNews, AccountLinkPage, AccountLinkQuestion, AccountLinkStarted, AccountLinkWait,
        AccountRefreshError, StartAccountLinkError,
    },
    confirm::ConfirmError,
    connect::{ConnectError, Connection},
    consent::{Consent, ConsentPage, Decided},
    enrol::{AddKeyError, Admission, ENROLMENT_CODE_LIFE, EnrolError},
    import::ImportError,
    install::{InstallError, Installed},
    login::{Entitlement, LoginError, PasswordChangeError, PasswordError},
    openid::{OpenIdAnswer, OpenIdStart, Returned},
    overrides::OverrideError,
    plugins::{PluginView, PutPluginError},
    reading::{AuditPage, Installation, Listed, Overview, VariableView},
    reap::{Reap, reap},
    redirect::{CallbackPath, Redirected, Refusal},
    refresh_grant::RefreshGrantError,
    refresher::keep_tokens_fresh,
    resealing::{KeyStatus, ResealError, Resealed, Resealing, key_status, reseal},
    rotation::{Retire, rotate_signing_key},
    sign_in::{DeviceAuthorization, SignInPage, SignInQuestion, StartSignInError, Terminal},
    sign_in_decisions::{Identity, SignInError, SignInOutcome},
    sign_in_grants::{GivenBack, RevokeError, SignInGrantError},
    sweep::{keep_access_fresh, sweep},
    throttle::{MOST_NETWORKS, Throttle},
    token_proof::TokenProof,
    tokens::{Need, TokenUnavailable},
    waiters::{TooManyWait, WaiterLimits},
    webhook_admission::{AdmittedWebhook, WebhookCall, WebhookHead, WebhookRates, WebhookRefusal},
    webhooks::WebhookError,
};
use self::{openid_provider::OpenIdCache, waiters::Waiters};
// What verbs answer with: whoever calls them needs no room below this one.
use crate::{
    bus::Bus,
    domain::{
        account_link::AccountLinkSettings,
        address::EgressPolicy,
        binding::ConsentBinding,
        clock::{Clock, Entropy},
        enrolment::EnrolmentPolicy,
        metric::HostLabels,
        openid::OpenIdSettings,
        public_url::PublicUrl,
        secret::Password,
    },
    provider::{Breaker, ProviderClient},
    store::Store,
    vault::{password::PasswordHasher, ring::KeyRing},
};
pub use crate::{
    store::{
        AccountLinkRow, AuditRow, Counts, DeviceRow, FlowRow, NamedSlot, PasswordReach, PutPlugin, RemoveKey,
        SealedCount, SigningKeyDates, SlotRow, StoreError, TrustedKeyRow, Unlinked, WaitingFlow,
    },
    vault::{
        access_token::{AccessClaims, Credential, Subject},
        password::{HashingError, HashingLoad},
        trusted::TrustedKey,
    },
};

/// The broker: everything a verb needs. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    /// The database.
    pub store: Store,
    /// Who may call.
    pub access: AccessControl,
    pub(crate) ring: Arc<KeyRing>,
    bus: Bus,
    provider: Arc<ProviderClient>,
    passwords: PasswordHasher,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settings: Arc<BrokerSettings>,
    exchanges: TaskTracker,
    breaker: Arc<Breaker>,
    hosts: Arc<HostLabels>,
    openid: Arc<OpenIdCache>,
    waiters: Waiters,
    runtime: Handle,
}

/// What the operator decides about flows.
#[derive(Debug)]
pub struct BrokerSettings {
    /// Where the world finds this service.
    pub public_url: PublicUrl,
    /// What outgoing requests may reach.
    pub egress: EgressPolicy,
    /// Whether a code proves that who consented is who asked.
    pub consent_binding: ConsentBinding,
    /// Life of a flow until its callback, at most ten minutes.
    pub flow_ttl: Duration,
    /// Flows of one device that may be under way.
    pub flows_per_device: u32,
    /// Whether configurations without PKCE may start flows.
    pub pkce_policy: PkcePolicy,
    /// The owner's login; without one the owner can't call.
    pub owner: Option<Owner>,
    /// Whether anyone may enrol a device.
    pub enrolment: EnrolmentPolicy,
    /// How long before their end tokens are refreshed, where a plugin does not say.
    pub refresh_margin: Duration,
    /// Refreshes that this process makes at once by itself.
    pub refresh_concurrency: u16,
    /// Callers that may wait for providers at once.
    pub waiters: WaiterLimits,
    /// How long the audit record is kept.
    pub audit_retention: Duration,
    /// Life of an access token.
    pub access_token_life: Duration,
    /// Home Assistant as a client, where that is switched on.
    pub account_link: Option<AccountLinkSettings>,
    /// The OpenID provider whose accounts are operators', if there is one.
    pub openid: Option<OpenIdSettings>,
}

/// What is done with configurations that switch PKCE off (A07).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PkcePolicy {
    /// They are accepted, with a warning.
    Optional,
    /// They can't start flows.
    Required,
}

/// The owner's login.
#[derive(Debug)]
pub struct Owner {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Password,
}

/// The parts a broker is made of.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The key ring.
    pub ring: Arc<KeyRing>,
    /// Knocks.
    pub bus: Bus,
    /// The client for providers.
    pub provider: ProviderClient,
    /// Hashes passwords, a bounded number at once.
    pub passwords: PasswordHasher,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What the operator decided.
    pub settings: BrokerSettings,
    /// Where exchanges run: it must outlive the threads that serve requests.
    pub runtime: Handle,
}

impl Broker {
    /// Puts a broker together.
    pub fn new(parts: Parts) -> Self {
        let settings = Arc::new(parts.settings);
        Self {
            waiters: Waiters::new(settings.waiters),
            access: AccessControl::new(Arc::clone(&settings)),
            store: parts.store,
            ring: parts.ring,
            bus: parts.bus,
            provider: Arc::new(parts.provider),
            passwords: parts.passwords,
            clock: parts.clock,
            entropy: parts.entropy,
            settings,
            exchanges: TaskTracker::new(),
            breaker: Arc::default(),
            hosts: Arc::default(),
            openid: Arc::default(),
            runtime: parts.runtime,
        }
    }

    /// What the operator decided.
    pub fn settings(&self) -> &BrokerSettings {
        &self.settings
    }

    /// The present, as this broker sees it.
    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// Randomness, as this broker draws it.
    pub fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    /// Passwords that are being hashed, and how many there may be.
    pub fn password_hashes(&self) -> HashingLoad {
        self.passwords.load()
    }

    /// Exchanges, refreshes and revocations that this process is at.
    pub fn exchanges_under_way(&self) -> usize {
        self.exchanges.len()
    }

    /// Callers that wait for providers now.
    pub fn waiters(&self) -> usize {
        self.waiters.count()
    }

    /// Waits until every exchange and refresh under way has ended: nobody's tokens are lost by a restart.
    pub async fn finish_exchanges(&self) {
        self.exchanges.close();
        self.exchanges.wait().await;
    }
}
