//! Starting an attempt: a service by the name of its integration, and the plugin behind it as it is at that moment.

use std::collections::BTreeMap;

use time::Duration;

use super::AccountLinkWait;
use crate::{
    domain::{
        account_link::{AccountLinkService, ServiceDomain},
        binding::ClientNetwork,
        ids::AccountLinkId,
        plugin::{self, OauthConfiguration, Pkce, RedirectUriKind},
    },
    flows::{Broker, PkcePolicy},
    store::{FlowConfiguration, NewAccountLink, PluginRow, StoreError},
};

/// Attempts that may be under way at once, on all replicas together.
const MOST: u32 = 2000;

/// An attempt that was started.
pub struct AccountLinkStarted {
    /// The attempt.
    pub id: AccountLinkId,
    /// Where its person goes.
    pub authorize_url: String,
    /// How long it lives.
    pub expires_in: Duration,
    /// Who waits for it.
    pub wait: AccountLinkWait,
}

/// Why no attempt was started.
#[derive(Debug, thiserror::Error)]
pub enum StartAccountLinkError {
    /// There is no such service, or its plugin can't be used this way.
    #[error("there is no such service")]
    Unsupported,
    /// The service is there and can't be used now: the operator has something to do, or there is too much under way.
    #[error("the service can't be linked now")]
    Unavailable,
    /// The store failed.
    #[error("the attempt could not be started")]
    Store(#[from] StoreError),
}

/// The plugin behind a service, fit for use.
pub(super) struct ServicePlugin {
    pub(super) row: PluginRow,
    pub(super) configuration: OauthConfiguration,
    /// The defaults of its variables: nobody is asked for values.
    pub(super) variables: BTreeMap<String, String>,
}

impl Broker {
    /// The services that are offered. Read from the settings alone: it answers while the database is away.
    pub fn account_link_services(&self) -> Option<&BTreeMap<ServiceDomain, AccountLinkService>> {
        self.settings.account_link.as_ref().map(|settings| &settings.services)
    }

    /// Starts an attempt for the integration `domain`; `network` is where its client is.
    pub async fn start_account_link(
        &self,
        domain: &ServiceDomain,
        network: ClientNetwork,
    ) -> Result<AccountLinkStarted, StartAccountLinkError> {
        let service = self.account_link_service(domain).ok_or(StartAccountLinkError::Unsupported)?;
        let ServicePlugin { row, configuration, variables } = self.service_plugin(domain, service).await?;
        self.check_fit_to_start(domain, &row, &configuration, &variables).await?;
        let now = self.now();
        let id = AccountLinkId::draw(self.entropy());
        // Before the attempt is there, so that nothing is missed.
        let wait = AccountLinkWait::of(id, &self.bus);
        let kind = configuration.redirect_uri;
        let new = NewAccountLink {
            id,
            service: domain,
            plugin: &row.id,
            plugin_name: &configuration.name,
            configuration: &FlowConfiguration { document: row.configuration, variables },
            redirect_uri: &self.settings.public_url.redirect_uri(kind, &row.id),
            redirect_kind: kind,
            client_network: network,
            expires_at: now + self.settings.flow_ttl,
        };
        if !self.store.start_account_link(&new, MOST, now).await? {
            tracing::warn!(service = %domain, "too many attempts of account link are under way");
            return Err(StartAccountLinkError::Unavailable);
        }
        tracing::info!(service = %domain, attempt = %id, "account link started");
        let path = format!("/account-link/{}", self.ring.account_link_handle(id).expose());
        let authorize_url = self.settings.public_url.join(&path);
        Ok(AccountLinkStarted { id, authorize_url, expires_in: self.settings.flow_ttl, wait })
    }

    pub(super) fn account_link_service(&self, domain: &ServiceDomain) -> Option<&AccountLinkService> {
        self.account_link_services()?.get(domain)
    }

    /// The plugin that a service names. What is wrong with it is the operator's to know: it goes to the log.
    pub(super) async fn service_plugin(
        &self,
        domain: &ServiceDomain,
        service: &AccountLinkService,
    ) -> Result<ServicePlugin, StartAccountLinkError> {
        let plugin = &service.plugin;
        let Some(row) = self.store.find_plugin(plugin).await? else {
            tracing::warn!(service = %domain, %plugin, "account_link.services names a plugin that the store has not");
            return Err(StartAccountLinkError::Unavailable);
        };
        let Ok(parsed) = plugin::parse(&row.configuration, self.settings.egress) else {
            tracing::warn!(service = %domain, %plugin, "the configuration of account link's plugin is not valid");
            return Err(StartAccountLinkError::Unavailable);
        };
        let Ok(variables) = parsed.configuration.variables(&BTreeMap::new()) else {
            tracing::warn!(
                service = %domain, %plugin,
                "account link can't use this plugin: it has variables without a default, and nobody is asked for them"
            );
            return Err(StartAccountLinkError::Unsupported);
        };
        Ok(ServicePlugin { row, configuration: parsed.configuration, variables })
    }

    /// The rules that hold for flows (the flow, 3; A07).
    async fn check_fit_to_start(
        &self,
        domain: &ServiceDomain,
        row: &PluginRow,
        configuration: &OauthConfiguration,
        variables: &BTreeMap<String, String>,
    ) -> Result<(), StartAccountLinkError> {
        let plugin = &row.id;
        if configuration.pkce == Pkce::Off && self.settings.pkce_policy == PkcePolicy::Required {
            tracing::warn!(service = %domain, %plugin, "account link's plugin switches PKCE off, and flow.require_pkce is set");
            return Err(StartAccountLinkError::Unavailable);
        }
        let claim = configuration.claim(variables);
        if configuration.redirect_uri == RedirectUriKind::Shared
            && row.approved_at.is_none()
            && self.store.is_claimed_by_another(plugin, &claim, Some(row.claim_number)).await?
        {
            tracing::warn!(
                service = %domain, %plugin,
                "account link's plugin waits for the owner's approval: another plugin speaks for its provider"
            );
            return Err(StartAccountLinkError::Unavailable);
        }
        Ok(())
    }
}
