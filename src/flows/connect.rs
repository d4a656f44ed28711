//! Starting a flow: the plugin asks, and gets a URL and a code for its user.

use std::collections::BTreeMap;

use time::Duration;

use super::{Broker, PkcePolicy};
use crate::{
    domain::{
        binding::ClientNetwork,
        flow::ReturnUrl,
        ids::{FlowId, SlotAddress},
        plugin::{self, Claim, OauthConfiguration, Pkce, RedirectUriKind},
        secret::{ConnectHandle, UserCode},
    },
    store::{FlowConfiguration, Limits, NewFlow, SlotToLink, Started, StoreError},
};

/// Attempts at a start before it is given up: each failed one means that the slot was configured anew.
const ATTEMPTS: usize = 8;
/// How many flows a device may start within the life of one, for each that it may have open.
const STARTS_PER_OPEN_FLOW: u32 = 10;
/// How often a flow's status may be asked for.
const INTERVAL: Duration = Duration::seconds(5);

/// A flow that was started. Its URL and code are secrets until its user has them.
#[derive(Debug)]
pub struct Connection {
    /// The flow.
    pub flow: FlowId,
    /// What its `/connect` URL carries.
    pub handle: ConnectHandle,
    /// What its user types at `/link` instead.
    pub user_code: UserCode,
    /// How long it lives.
    pub expires_in: Duration,
    /// How often its status may be asked for.
    pub interval: Duration,
}

/// Why no flow was started.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no such slot.
    #[error("there is no such slot")]
    UnknownSlot,
    /// The slot's configuration is not fit for use, for instance because a rule became stricter.
    #[error("the slot's configuration is not valid")]
    Configuration,
    /// Another plugin speaks for that authorization server: the owner must approve.
    #[error("another plugin speaks for this authorization server")]
    AwaitingApproval,
    /// The operator demands PKCE.
    #[error("the configuration switches PKCE off")]
    PkceRequired,
    /// The device has too many flows under way.
    #[error("too many flows are under way")]
    TooManyFlows,
    /// Others changed the slot all the time.
    #[error("the slot is being changed by others")]
    Contended,
    /// The store failed.
    #[error("the flow could not be started")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Starts a flow for a slot; `network` is where the caller is.
    pub async fn connect(
        &self,
        address: &SlotAddress,
        return_url: Option<&ReturnUrl>,
        network: ClientNetwork,
    ) -> Result<Connection, ConnectError> {
        for _ in 0..ATTEMPTS {
            let state = self.store.find_slot_to_link(address).await?.ok_or(ConnectError::UnknownSlot)?;
            let document = state.configuration.effective();
            let configuration = self.usable(&document)?;
            let variables = configuration
                .variables(&state.configuration.variables)
                .map_err(|_| ConnectError::Configuration)?;
            if configuration.pkce == Pkce::Off && self.settings.pkce_policy == PkcePolicy::Required {
                return Err(ConnectError::PkceRequired);
            }
            if configuration.redirect_uri == RedirectUriKind::Shared {
                self.check_claim(&state, &configuration.claim(&variables), &variables).await?;
            }
            let fixed = FlowConfiguration { document, variables };
            if let Some(connection) = self.start(&state, &configuration, fixed, return_url, network).await? {
                return Ok(connection);
            }
        }
        Err(ConnectError::Contended)
    }

    /// `None`: the slot is no longer what `state` says.
    async fn start(
        &self,
        state: &SlotToLink,
        configuration: &OauthConfiguration,
        fixed: FlowConfiguration,
        return_url: Option<&ReturnUrl>,
        network: ClientNetwork,
    ) -> Result<Option<Connection>, ConnectError> {
        let now = self.now();
        let flow = FlowId::draw(self.entropy());
        let user_code = UserCode::draw_typeable(self.entropy());
        let kind = configuration.redirect_uri;
        let new = NewFlow {
            id: flow,
            address: &state.address,
            plugin: &state.plugin,
            plugin_name: &configuration.name,
            configuration: &fixed,
            configuration_version: state.configuration_version,
            redirect_uri: &self.settings.public_url.redirect_uri(kind, &state.plugin),
            redirect_kind: kind,
            return_url,
            binding: self.settings.consent_binding,
            device_network: network,
            user_code: &user_code,
            expires_at: now + self.settings.flow_ttl,
        };
        let open = self.settings.flows_per_device;
        let recently = now - self.settings.flow_ttl;
        let limits = Limits { open, started: open.saturating_mul(STARTS_PER_OPEN_FLOW), recently };
        match self.store.start_flow(&new, limits, now).await? {
            Started::Conflict => Ok(None),
            Started::TooMany => Err(ConnectError::TooManyFlows),
            Started::Pending => {
                tracing::info!(slot = %state.address, %flow, "flow started");
                Ok(Some(Connection {
                    flow,
                    handle: self.ring.connect_handle(flow),
                    user_code,
                    expires_in: self.settings.flow_ttl,
                    interval: INTERVAL,
                }))
            }
        }
    }

    fn usable(&self, document: &plugin::Document) -> Result<OauthConfiguration, ConnectError> {
        match plugin::parse(document, self.settings.egress) {
            Ok(parsed) => Ok(parsed.configuration),
            Err(_) => Err(ConnectError::Configuration),
        }
    }

    /// On the shared redirect URI nobody speaks for another's authorization server without the owner's word
    /// (the flow, 3). An approval covers the plugin's claim as the store has it, and what a slot had made of it
    /// when the approval was given.
    async fn check_claim(
        &self,
        state: &SlotToLink,
        claim: &Claim,
        variables: &BTreeMap<String, String>,
    ) -> Result<(), ConnectError> {
        if state.uncontested.as_ref() == Some(&claim.auth_origin) {
            return Ok(());
        }
        let row = self.store.find_plugin(&state.plugin).await?;
        let own = row.as_ref().and_then(|row| {
            let parsed = plugin::parse(&row.configuration, self.settings.egress).ok()?;
            Some(parsed.configuration.claim(variables))
        });
        let as_stored = own.as_ref() == Some(claim);
        let since = row.as_ref().filter(|_| as_stored).map(|row| row.claim_number);
        if !self.store.is_claimed_by_another(&state.plugin, claim, since).await? {
            return Ok(());
        }
        let Some(approved_at) = row.and_then(|row| row.approved_at) else {
            return Err(ConnectError::AwaitingApproval);
        };
        let configured_at = self.store.find_configured_at(&state.address).await?;
        if as_stored || configured_at.is_some_and(|at| at <= approved_at) {
            Ok(())
        } else {
            Err(ConnectError::AwaitingApproval)
        }
    }
}
