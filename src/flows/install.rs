//! Installing a plugin into a slot: the slot gets a copy of the configuration, and credentials of its own.

use std::collections::BTreeMap;

use super::Broker;
use crate::{
    domain::{
        address::EgressPolicy,
        audit::Origin,
        ids::{PluginId, SlotAddress},
        plugin::{self, Document, EndpointTemplate, FieldError, OauthConfiguration},
        slot::{SlotCredentials, SlotState},
    },
    store::{NewSlot, PutSlot, Reconfiguration, StoreError, TokensAfterChange},
};

/// Attempts at a change before it is given up: each failed one means that somebody else changed the slot.
const ATTEMPTS: usize = 8;

/// What became of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// The slot is new.
    Created,
    /// The slot was there; it has the newest copy now.
    Replaced,
}

/// Why a plugin was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is no such device.
    #[error("there is no such device")]
    UnknownDevice,
    /// There is no such plugin.
    #[error("there is no such plugin")]
    UnknownPlugin,
    /// Variables that don't fit, or overrides that don't fit the new configuration.
    #[error("the installation has members that don't fit")]
    Invalid(Vec<FieldError>),
    /// The device has as many slots as it may.
    #[error("the device has too many slots")]
    TooManySlots,
    /// Others changed the slot all the time.
    #[error("the slot is being changed by others")]
    Contended,
    /// The store failed.
    #[error("the slot could not be stored")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Installs a plugin into a slot, or copies its configuration anew, keeping the overrides, and the variables too
    /// where none are given.
    pub async fn install(
        &self,
        address: &SlotAddress,
        plugin: &PluginId,
        variables: Option<BTreeMap<String, String>>,
        by: &Origin,
    ) -> Result<Installed, InstallError> {
        self.store.find_device(address.device).await?.ok_or(InstallError::UnknownDevice)?;
        let row = self.store.find_plugin(plugin).await?.ok_or(InstallError::UnknownPlugin)?;
        for _ in 0..ATTEMPTS {
            let present = self.store.find_state(address).await?;
            let put = match &present {
                None => {
                    let variables = variables.clone().unwrap_or_default();
                    self.create(address, plugin, &row.configuration, &variables, by).await?
                }
                Some(state) => {
                    self.copy_anew(state, plugin, &row.configuration, variables.as_ref(), by).await?
                }
            };
            match (put, &present) {
                (PutSlot::Done, None) => return Ok(Installed::Created),
                (PutSlot::Done, Some(_)) => return Ok(Installed::Replaced),
                (PutSlot::NoRoom, _) => return Err(InstallError::TooManySlots),
                (PutSlot::Conflict, _) => {}
            }
        }
        Err(InstallError::Contended)
    }

    async fn create(
        &self,
        address: &SlotAddress,
        plugin: &PluginId,
        copy: &Document,
        variables: &BTreeMap<String, String>,
        by: &Origin,
    ) -> Result<PutSlot, InstallError> {
        let custody = self.parse_effective(copy, variables).map_err(InstallError::Invalid)?.custody;
        let credentials = self.draw_credentials();
        let new = NewSlot { address, plugin, copy, variables, custody, credentials: &credentials };
        let put = self.store.create_slot(&new, by, self.now()).await?;
        if put == PutSlot::Done {
            self.bus.knock(address);
        }
        Ok(put)
    }

    async fn copy_anew(
        &self,
        state: &SlotState,
        plugin: &PluginId,
        copy: &Document,
        given: Option<&BTreeMap<String, String>>,
        by: &Origin,
    ) -> Result<PutSlot, InstallError> {
        let overrides = &state.configuration.overrides;
        let newer = plugin::parse(&copy.merged_with(overrides), self.settings.egress)
            .map_err(InstallError::Invalid)?
            .configuration;
        let variables = &given.cloned().unwrap_or_else(|| kept_variables(state, plugin, &newer));
        newer.variables(variables).map_err(InstallError::Invalid)?;
        let unchanged = state.plugin == *plugin
            && state.configuration.copy.members() == copy.members()
            && state.configuration.variables == *variables;
        if unchanged {
            return Ok(PutSlot::Done);
        }
        let tokens = token_fate(state, plugin, &newer, variables, self.settings.egress);
        let credentials = self.draw_credentials();
        let (address, custody) = (&state.address, newer.custody);
        let new = NewSlot { address, plugin, copy, variables, custody, credentials: &credentials };
        let why = Reconfiguration::Installed(by);
        let put = self.store.reconfigure_slot(&new, overrides, state, tokens, why, self.now()).await?;
        if put == PutSlot::Done {
            self.bus.knock(&state.address);
            self.revoke_after(tokens);
        }
        Ok(put)
    }

    /// Removes a slot with its tokens. Whether there was one.
    pub async fn remove_slot(&self, address: &SlotAddress, by: &Origin) -> Result<bool, StoreError> {
        let removed = self.store.delete_slot(address, by, self.now()).await?;
        self.bus.knock(address);
        if removed {
            self.revoke_soon();
        }
        Ok(removed)
    }

    /// What a slot's effective configuration means, its variables included.
    pub(super) fn parse_effective(
        &self,
        effective: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<OauthConfiguration, Vec<FieldError>> {
        let parsed = plugin::parse(effective, self.settings.egress)?;
        parsed.configuration.variables(variables)?;
        Ok(parsed.configuration)
    }

    pub(super) fn draw_credentials(&self) -> SlotCredentials {
        SlotCredentials::draw(self.entropy())
    }
}

/// What a slot has for those variables that the newer configuration of its plugin still asks for.
fn kept_variables(
    state: &SlotState,
    plugin: &PluginId,
    newer: &OauthConfiguration,
) -> BTreeMap<String, String> {
    let stored = state.configuration.variables.iter().filter(|_| state.plugin == *plugin);
    let asked = stored.filter(|(name, _)| newer.variables.contains_key(*name));
    asked.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Tokens stay only where the newer configuration is of the same plugin, for the same client at the same hosts.
pub(super) fn token_fate(
    state: &SlotState,
    plugin: &PluginId,
    newer: &OauthConfiguration,
    newer_variables: &BTreeMap<String, String>,
    egress: EgressPolicy,
) -> TokensAfterChange {
    let older = plugin::parse(&state.configuration.effective(), egress);
    let same = older.is_ok_and(|older| {
        state.plugin == *plugin
            && TokenReach::of(&older.configuration, &state.configuration.variables)
                == TokenReach::of(newer, newer_variables)
    });
    match same {
        true if state.custody == newer.custody => TokensAfterChange::Keep,
        true => TokensAfterChange::ChangeHands,
        false => TokensAfterChange::Erase,
    }
}

/// Where a slot's tokens, and the client's secret with them, are ever sent.
#[derive(PartialEq, Eq)]
struct TokenReach {
    client_id: String,
    token: String,
    refresh: Option<String>,
    revocation: Option<String>,
}

impl TokenReach {
    fn of(configuration: &OauthConfiguration, given: &BTreeMap<String, String>) -> Self {
        // Defaults belong to the configuration: with values that don't fit it, it reaches another place.
        let variables = configuration.variables(given).unwrap_or_default();
        let origin = |endpoint: &EndpointTemplate| endpoint.origin(&variables);
        Self {
            client_id: configuration.client_id.clone(),
            token: origin(&configuration.token_endpoint),
            refresh: configuration.refresh_endpoint.as_ref().map(origin),
            revocation: configuration.revocation_endpoint.as_ref().map(origin),
        }
    }
}
