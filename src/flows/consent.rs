//! The connect page: what a browser is shown about a flow, and what its person decides there.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use url::Url;

use super::Broker;
use crate::{
    domain::{
        binding::ClientNetwork,
        flow::{FlowEnd, FlowStatus},
        ids::FlowId,
        metric,
        plugin::{self, OauthConfiguration},
        secret::{BrowserCookie, CodeVerifier, ConnectHandle, FlowState, UserCode},
    },
    provider::Registration,
    store::{Continued, Decision, FlowRow, StoreError},
};

/// What the connect page asks about.
#[derive(Debug)]
pub struct Consent {
    /// What people call the device.
    pub device_name: String,
    /// What people call the plugin's service.
    pub plugin_name: String,
    /// The provider's authorization endpoint; only its host is shown.
    pub auth_endpoint: Url,
    /// The scope that is asked for.
    pub scope: Option<String>,
    /// Where the flow was started from.
    pub network: ClientNetwork,
    /// When.
    pub started_at: OffsetDateTime,
}

/// What a `/connect` URL shows to this browser now.
#[derive(Debug)]
pub enum ConsentPage {
    /// The question.
    Ask(Box<Consent>),
    /// The flow has gone on, in this browser.
    Progress(Box<FlowRow>),
    /// The flow has ended, in this browser, and its plugin wants the browser back.
    Return(Url),
    /// It was continued in another browser, or ended there.
    OtherBrowser,
    /// It ran out before any browser continued.
    Expired,
    /// No such flow.
    Unknown,
}

/// What a decision led to.
#[derive(Debug)]
pub enum Decided {
    /// On to the provider.
    Authorize(Url),
    /// Cancelled: the result page.
    Cancelled,
    /// The flow is another browser's, has gone on or is over: the page says which.
    TooLate,
    /// The flow's provider can't be sent to: its configuration became unusable.
    Unusable,
    /// No such flow.
    Unknown,
}

impl Broker {
    /// What the connect page shows. Changes nothing: messengers preview links.
    pub async fn show_consent(
        &self,
        handle: &ConnectHandle,
        browser: Option<&BrowserCookie>,
    ) -> Result<ConsentPage, StoreError> {
        let Some(row) = self.find_by_handle(handle).await? else { return Ok(ConsentPage::Unknown) };
        let own = browser.is_some_and(|browser| row.is_bound_to(browser));
        if row.is_bound() && !own {
            return Ok(ConsentPage::OtherBrowser);
        }
        Ok(match row.status {
            FlowStatus::Pending | FlowStatus::Authorizing => match self.consent(&row) {
                Some(consent) => ConsentPage::Ask(Box::new(consent)),
                None => ConsentPage::Unknown,
            },
            FlowStatus::Expired if !own => ConsentPage::Expired,
            FlowStatus::Linked | FlowStatus::Denied | FlowStatus::Failed => match return_to(&row) {
                Some(url) => ConsentPage::Return(url),
                None => ConsentPage::Progress(Box::new(row)),
            },
            FlowStatus::Exchanging | FlowStatus::Confirm | FlowStatus::Expired => {
                ConsentPage::Progress(Box::new(row))
            }
        })
    }

    /// Goes on to the provider with a new state, binding the flow to the browser.
    pub async fn continue_to_provider(
        &self,
        handle: &ConnectHandle,
        browser: &BrowserCookie,
        network: ClientNetwork,
    ) -> Result<Decided, StoreError> {
        let Some(row) = self.find_by_handle(handle).await? else { return Ok(Decided::Unknown) };
        let Some(configuration) = self.fixed_configuration(&row) else { return Ok(Decided::Unusable) };
        let state = FlowState::draw(self.entropy());
        let verifier = CodeVerifier::draw(self.entropy());
        let registration = Registration {
            configuration: &configuration,
            variables: &row.configuration.variables,
            callback: &BTreeMap::new(),
            redirect_uri: &row.redirect_uri,
            egress: self.settings.egress,
        };
        let Ok(url) = registration.authorization_url(&state, Some(&verifier)) else {
            return Ok(Decided::Unusable);
        };
        let decision = Decision { browser, network, state: &state, verifier: &verifier };
        Ok(match self.store.continue_flow(row.id, &decision, self.now()).await? {
            Continued::Yes => Decided::Authorize(url),
            Continued::TooLate => Decided::TooLate,
        })
    }

    /// Ends the flow as its person wishes.
    pub async fn cancel(
        &self,
        handle: &ConnectHandle,
        browser: &BrowserCookie,
        network: ClientNetwork,
    ) -> Result<Decided, StoreError> {
        let Some(flow) = self.ring.flow_of(handle) else { return Ok(Decided::Unknown) };
        Ok(match self.store.cancel_flow(flow, browser, network, self.now()).await? {
            Continued::Yes => {
                metrics::counter!(metric::FLOWS, "end" => "cancelled").increment(1);
                tracing::info!(%flow, "flow cancelled");
                Decided::Cancelled
            }
            Continued::TooLate => Decided::TooLate,
        })
    }

    /// The `/connect` handle of the flow that waits for this user code.
    pub async fn find_by_user_code(&self, code: &UserCode) -> Result<Option<ConnectHandle>, StoreError> {
        let flow = self.store.find_pending_by_user_code(code, self.now()).await?;
        Ok(flow.map(|flow| self.ring.connect_handle(flow)))
    }

    /// The `/connect` handle of a flow.
    pub fn handle_of(&self, flow: FlowId) -> ConnectHandle {
        self.ring.connect_handle(flow)
    }

    /// The CSRF token of a form shown to this browser.
    pub fn csrf(&self, browser: &BrowserCookie, form: &str) -> String {
        self.ring.browser_csrf(browser, form)
    }

    /// Whether a form with this CSRF token was shown to this browser.
    pub fn is_csrf(&self, browser: &BrowserCookie, form: &str, given: &str) -> bool {
        self.ring.is_browser_csrf(browser, form, given)
    }

    /// The configuration that a flow fixed at its start, read again.
    pub(super) fn fixed_configuration(&self, row: &FlowRow) -> Option<OauthConfiguration> {
        plugin::parse(&row.configuration.document, self.settings.egress)
            .ok()
            .map(|parsed| parsed.configuration)
    }

    async fn find_by_handle(&self, handle: &ConnectHandle) -> Result<Option<FlowRow>, StoreError> {
        match self.ring.flow_of(handle) {
            Some(flow) => self.store.find_flow(flow, self.now()).await,
            None => Ok(None),
        }
    }

    fn consent(&self, row: &FlowRow) -> Option<Consent> {
        let configuration = self.fixed_configuration(row)?;
        let endpoint =
            configuration.auth_endpoint.resolve(&row.configuration.variables, self.settings.egress).ok()?;
        Some(Consent {
            device_name: row.device_name.clone(),
            plugin_name: row.plugin_name.clone(),
            auth_endpoint: endpoint,
            scope: configuration.scope,
            network: row.device_network,
            started_at: row.created_at,
        })
    }
}

/// Where the browser goes now that the flow has ended, if the plugin wants it back.
pub(super) fn return_to(row: &FlowRow) -> Option<Url> {
    let end = FlowEnd::of(row.status, row.error)?;
    row.return_url.as_ref().map(|url| url.with_end(end))
}
