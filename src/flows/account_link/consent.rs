//! The browser's part: what the page of an attempt shows, and what its person decides there.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use url::Url;

use crate::{
    domain::{
        account_link::{AccountLinkEnd, AccountLinkError, AccountLinkSettings, AccountLinkStatus},
        binding::ClientNetwork,
        plugin::{self, OauthConfiguration},
        secret::{AccountLinkHandle, BrowserCookie, CodeVerifier, FlowState},
    },
    flows::{Broker, Decided},
    provider::Registration,
    store::{AccountLinkRow, Continued, Decision, FlowConfiguration, StoreError},
};

/// Query members that a client may append to the URL it was given.
const MOST_APPENDED: usize = 32;
/// And their length together, bytes.
const LONGEST_APPENDED: usize = 4096;

/// What the page asks about.
#[derive(Debug)]
pub struct AccountLinkQuestion {
    /// What people call the plugin's service.
    pub plugin_name: String,
    /// The provider's authorization endpoint; only its host is shown.
    pub auth_endpoint: Url,
    /// The scope that is asked for.
    pub scope: Option<String>,
    /// Where Home Assistant called from.
    pub network: ClientNetwork,
    /// When.
    pub started_at: OffsetDateTime,
    /// Whether this browser's consent can't count.
    pub refused_here: bool,
}

/// What an `/account-link` URL shows to this browser now.
#[derive(Debug)]
pub enum AccountLinkPage {
    /// The question.
    Ask(Box<AccountLinkQuestion>),
    /// The attempt has gone on, in this browser.
    Progress(Box<AccountLinkRow>),
    /// It was continued in another browser, or ended there.
    OtherBrowser,
    /// It ran out before any browser continued, or its client has gone.
    Over,
    /// No such attempt.
    Unknown,
}

impl Broker {
    /// What the page shows. Changes nothing: messengers preview links.
    pub async fn show_account_link(
        &self,
        handle: &AccountLinkHandle,
        browser: Option<&BrowserCookie>,
        network: ClientNetwork,
        appended: &[(String, String)],
    ) -> Result<AccountLinkPage, StoreError> {
        let Some(row) = self.find_account_link(handle).await? else { return Ok(AccountLinkPage::Unknown) };
        let own = browser.is_some_and(|browser| row.is_bound_to(browser));
        if row.is_bound() && !own {
            return Ok(AccountLinkPage::OtherBrowser);
        }
        Ok(match row.status {
            AccountLinkStatus::Pending | AccountLinkStatus::Authorizing => {
                match self.account_question(&row, network, appended) {
                    Some(question) => AccountLinkPage::Ask(Box::new(question)),
                    None => AccountLinkPage::Unknown,
                }
            }
            _ if !own => AccountLinkPage::Over,
            AccountLinkStatus::Exchanging
            | AccountLinkStatus::Granted
            | AccountLinkStatus::Delivered
            | AccountLinkStatus::Denied
            | AccountLinkStatus::Expired
            | AccountLinkStatus::Failed => AccountLinkPage::Progress(Box::new(row)),
        })
    }

    /// Goes on to the provider with a new state, binding the attempt to the browser; or ends it, where this browser's
    /// consent can't count.
    pub async fn continue_account_link(
        &self,
        handle: &AccountLinkHandle,
        browser: &BrowserCookie,
        network: ClientNetwork,
        appended: &[(String, String)],
    ) -> Result<Decided, StoreError> {
        let Some(row) = self.find_account_link(handle).await? else { return Ok(Decided::Unknown) };
        if self.refuses_consent(&row, network) {
            let end = AccountLinkEnd::failed(AccountLinkError::DifferentNetwork);
            return self.end_by_browser(&row, (browser, network), end).await;
        }
        let fixed = with_scope(&row.configuration, appended);
        let Some(configuration) = self.account_configuration(&fixed) else { return Ok(Decided::Unusable) };
        let state = FlowState::draw(self.entropy());
        let verifier = CodeVerifier::draw(self.entropy());
        let registration = self.account_registration(&row, &configuration, &fixed);
        let Ok(url) = registration.authorization_url_with(&state, Some(&verifier), within_bounds(appended))
        else {
            return Ok(Decided::Unusable);
        };
        let decision = Decision { browser, network, state: &state, verifier: &verifier };
        Ok(match self.store.continue_account_link(row.id, &decision, &fixed, self.now()).await? {
            Continued::Yes => Decided::Authorize(url),
            Continued::TooLate => Decided::TooLate,
        })
    }

    /// Ends the attempt as its person wishes.
    pub async fn cancel_account_link(
        &self,
        handle: &AccountLinkHandle,
        browser: &BrowserCookie,
        network: ClientNetwork,
    ) -> Result<Decided, StoreError> {
        let Some(row) = self.find_account_link(handle).await? else { return Ok(Decided::Unknown) };
        let end = AccountLinkEnd::denied(AccountLinkError::Cancelled);
        self.end_by_browser(&row, (browser, network), end).await
    }

    async fn end_by_browser(
        &self,
        row: &AccountLinkRow,
        by: (&BrowserCookie, ClientNetwork),
        end: AccountLinkEnd,
    ) -> Result<Decided, StoreError> {
        Ok(match self.store.end_account_link_by_browser(row.id, by, end, self.now()).await? {
            Continued::Yes => {
                self.account_link_ended(row.id, end.error.as_str());
                Decided::Cancelled
            }
            Continued::TooLate => Decided::TooLate,
        })
    }

    async fn find_account_link(
        &self,
        handle: &AccountLinkHandle,
    ) -> Result<Option<AccountLinkRow>, StoreError> {
        match self.ring.account_link_of(handle) {
            Some(id) => self.store.find_account_link(id, self.now()).await,
            None => Ok(None),
        }
    }

    pub(super) fn account_configuration(&self, fixed: &FlowConfiguration) -> Option<OauthConfiguration> {
        plugin::parse(&fixed.document, self.settings.egress).ok().map(|parsed| parsed.configuration)
    }

    pub(super) fn account_registration<'a>(
        &self,
        row: &'a AccountLinkRow,
        configuration: &'a OauthConfiguration,
        fixed: &'a FlowConfiguration,
    ) -> Registration<'a> {
        static NOTHING: BTreeMap<String, String> = BTreeMap::new();
        Registration {
            configuration,
            variables: &fixed.variables,
            callback: &NOTHING,
            redirect_uri: &row.redirect_uri,
            egress: self.settings.egress,
        }
    }

    fn refuses_consent(&self, row: &AccountLinkRow, browser: ClientNetwork) -> bool {
        let strict = AccountLinkSettings::default();
        let settings = self.settings.account_link.as_ref().unwrap_or(&strict);
        settings.refuses(self.settings.consent_binding, row.client_network, browser)
    }

    fn account_question(
        &self,
        row: &AccountLinkRow,
        network: ClientNetwork,
        appended: &[(String, String)],
    ) -> Option<AccountLinkQuestion> {
        let fixed = with_scope(&row.configuration, appended);
        let configuration = self.account_configuration(&fixed)?;
        let endpoint = configuration.auth_endpoint.resolve(&fixed.variables, self.settings.egress).ok()?;
        Some(AccountLinkQuestion {
            plugin_name: row.plugin_name.clone(),
            auth_endpoint: endpoint,
            scope: configuration.scope,
            network: row.client_network,
            started_at: row.created_at,
            refused_here: self.refuses_consent(row, network),
        })
    }
}

/// What a client appended, or nothing of it where it is more than any integration appends.
fn within_bounds(appended: &[(String, String)]) -> &[(String, String)] {
    let length: usize = appended.iter().map(|(name, value)| name.len() + value.len()).sum();
    if appended.len() > MOST_APPENDED || length > LONGEST_APPENDED { &[] } else { appended }
}

/// The configuration with the scope that the client appended, so that page, request and exchange speak of one.
fn with_scope(fixed: &FlowConfiguration, appended: &[(String, String)]) -> FlowConfiguration {
    let scope = within_bounds(appended).iter().find(|(name, value)| name == "scope" && !value.is_empty());
    let Some((_, scope)) = scope else { return fixed.clone() };
    let mut members = fixed.document.members().clone();
    members.insert("scope".to_owned(), scope.as_str().into());
    FlowConfiguration { document: plugin::Document::new(members), variables: fixed.variables.clone() }
}
