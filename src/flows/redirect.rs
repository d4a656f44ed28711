//! The callback: a browser comes back from the provider.
//!
//! Checks in this order: state, browser, expiry, path, `iss`. Nothing burns a flow before its own browser was
//! seen. Of many equal callbacks one redeems the flow and makes the token request, in a task of its own, so that
//! a browser that goes away loses nothing.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::timeout;
use url::Url;

use super::{Broker, consent::return_to, exchange::ExchangeTask};
use crate::{
    domain::{
        callback::{AuthorizationError, Callback, CallbackError, CallbackQuery, Granted},
        flow::{FlowError, FlowStatus},
        ids::{FlowId, PluginId},
        metric,
        plugin::{OauthConfiguration, RedirectUriKind},
        secret::{BrowserCookie, ConnectHandle, FlowState},
    },
    store::{Burn, FlowRow, Redeemed, StoreError},
};

/// How long a browser waits for an exchange: more than its request to the provider may take.
const BROWSER_PATIENCE: Duration = Duration::from_secs(40);

/// On which of the two redirect URIs a callback came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackPath {
    /// The shared one.
    Shared,
    /// A plugin's own.
    Own(PluginId),
    /// Below the shared one, where no plugin can be: nobody's.
    Nobodys,
}

/// Where the browser goes now.
#[derive(Debug)]
pub enum Redirected {
    /// To the flow's page, which shows its end.
    Page(ConnectHandle),
    /// To the plugin's return URL.
    Return(Url),
    /// Nowhere: a page of its own says why, 400 or 410.
    Refused(Refusal),
}

/// Why a callback was refused. No token request was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not a callback.
    Malformed(CallbackError),
    /// No flow waits for this state.
    UnknownState,
    /// The flow was started in another browser.
    OtherBrowser,
    /// The flow ran out.
    Expired,
    /// It came on the wrong path, or from another issuer: the flow is burnt.
    Mixup,
}

impl Broker {
    /// Takes a callback to its flow's end.
    pub async fn redirect(
        &self,
        path: &CallbackPath,
        query: &CallbackQuery,
        browser: Option<&BrowserCookie>,
    ) -> Result<Redirected, StoreError> {
        match self.check_callback(path, query, browser).await? {
            Checked::Refused(refusal) => Ok(Redirected::Refused(refusal)),
            Checked::Over(row) => Ok(self.end_of(&row)),
            Checked::Answered { row, state, callback: Callback::Refused { error, .. }, .. } => {
                self.burn(&row, &state, refused(error)).await?;
                self.current_end(&Destination::of(&row)).await
            }
            Checked::Answered { row, state, configuration, callback: Callback::Granted(granted) } => {
                self.redeem(*row, &state, *configuration, granted).await
            }
        }
    }

    async fn check_callback(
        &self,
        path: &CallbackPath,
        query: &CallbackQuery,
        browser: Option<&BrowserCookie>,
    ) -> Result<Checked, StoreError> {
        let state = match query.state() {
            Ok(state) => state,
            Err(error) => return Ok(Checked::Refused(Refusal::Malformed(error))),
        };
        let Some(row) = self.store.find_flow_by_state(&state, self.now()).await? else {
            return Ok(Checked::Refused(Refusal::UnknownState));
        };
        if !browser.is_some_and(|browser| row.is_bound_to(browser)) {
            return Ok(Checked::Refused(Refusal::OtherBrowser));
        }
        match row.status {
            FlowStatus::Authorizing => {}
            FlowStatus::Expired => return Ok(Checked::Refused(Refusal::Expired)),
            FlowStatus::Pending
            | FlowStatus::Exchanging
            | FlowStatus::Confirm
            | FlowStatus::Linked
            | FlowStatus::Denied
            | FlowStatus::Failed => return Ok(Checked::Over(Box::new(row))),
        }
        if *path != expected_path(row.redirect_kind, &row.plugin) {
            self.burn(&row, &state, MIXUP).await?;
            return Ok(Checked::Refused(Refusal::Mixup));
        }
        let Some(configuration) = self.fixed_configuration(&row) else {
            self.burn(&row, &state, failed(FlowError::ExchangeFailed)).await?;
            return Ok(Checked::Over(Box::new(row)));
        };
        let callback = match query.answer(&configuration) {
            Ok(callback) => callback,
            Err(error) => return Ok(Checked::Refused(Refusal::Malformed(error))),
        };
        if !self.is_from_issuer(&row.configuration.variables, &configuration, callback.iss()) {
            self.burn(&row, &state, MIXUP).await?;
            return Ok(Checked::Refused(Refusal::Mixup));
        }
        if let Callback::Granted(granted) = &callback
            && configuration.callback_values(&granted.parameters).is_err()
        {
            self.burn(&row, &state, failed(FlowError::ExchangeFailed)).await?;
            return Ok(Checked::Refused(Refusal::Mixup));
        }
        Ok(Checked::Answered { row: Box::new(row), state, configuration: Box::new(configuration), callback })
    }

    /// RFC 9207 §2.4, by plain string comparison. Without a configured issuer the origin of an `iss` must at least
    /// be the one that was asked.
    pub(super) fn is_from_issuer(
        &self,
        variables: &BTreeMap<String, String>,
        configuration: &OauthConfiguration,
        iss: Option<&str>,
    ) -> bool {
        match (iss, &configuration.issuer) {
            (None, _) => !configuration.iss_required,
            (Some(iss), Some(issuer)) => iss == issuer,
            (Some(iss), None) => {
                let asked = configuration.auth_endpoint.resolve(variables, self.settings.egress);
                match (Url::parse(iss), asked) {
                    (Ok(iss), Ok(asked)) => iss.origin() == asked.origin(),
                    _ => false,
                }
            }
        }
    }

    async fn redeem(
        &self,
        row: FlowRow,
        state: &FlowState,
        configuration: OauthConfiguration,
        granted: Granted,
    ) -> Result<Redirected, StoreError> {
        let (destination, address) = (Destination::of(&row), row.address.clone());
        let redeemed = self.store.redeem_flow(row.id, state, &granted.to_plaintext(), self.now()).await?;
        if redeemed == Redeemed::Yes
            && let Some(task) = ExchangeTask::first(row, configuration, granted)
        {
            // A panic there was logged where it happened; the sweep takes the flow up. One that waits for the database
            // goes on without the browser, which sees the end when it comes again.
            let place = self.waiters.enter_for_slot(&address);
            let exchanging = self.start_exchange(task);
            // Where too many wait, its page tells the browser how it ends.
            if place.is_ok() {
                let _ = timeout(BROWSER_PATIENCE, exchanging).await;
            }
        }
        self.current_end(&destination).await
    }

    async fn burn(&self, row: &FlowRow, state: &FlowState, burn: Burn) -> Result<(), StoreError> {
        if self.store.burn_flow(row.id, state, burn, self.now()).await? == Redeemed::Yes {
            metrics::counter!(metric::FLOWS, "end" => burn.error.as_str()).increment(1);
            tracing::info!(flow = %row.id, slot = %row.address, error = %burn.error, "flow ended");
        }
        Ok(())
    }

    async fn current_end(&self, destination: &Destination) -> Result<Redirected, StoreError> {
        let flow = match *destination {
            Destination::Page(flow) => return Ok(Redirected::Page(self.ring.connect_handle(flow))),
            Destination::Plugin(flow) => flow,
        };
        Ok(match self.store.find_flow(flow, self.now()).await? {
            Some(row) => self.end_of(&row),
            // The slot was deleted meanwhile, and the flow with it.
            None => Redirected::Refused(Refusal::UnknownState),
        })
    }

    fn end_of(&self, row: &FlowRow) -> Redirected {
        match return_to(row) {
            Some(url) => Redirected::Return(url),
            None => Redirected::Page(self.ring.connect_handle(row.id)),
        }
    }
}

const MIXUP: Burn = failed(FlowError::IssuerMismatch);

const fn failed(error: FlowError) -> Burn {
    Burn { status: FlowStatus::Failed, error }
}

/// On which path a callback must come.
pub(super) fn expected_path(kind: RedirectUriKind, plugin: &PluginId) -> CallbackPath {
    match kind {
        RedirectUriKind::Shared => CallbackPath::Shared,
        RedirectUriKind::Own => CallbackPath::Own(plugin.clone()),
    }
}

/// How a provider's refusal ends a flow.
pub(super) fn refused(error: AuthorizationError) -> Burn {
    match error {
        AuthorizationError::AccessDenied => {
            Burn { status: FlowStatus::Denied, error: FlowError::AccessDenied }
        }
        AuthorizationError::Unavailable => failed(FlowError::ProviderUnavailable),
        AuthorizationError::Other => failed(FlowError::ExchangeFailed),
    }
}

/// Where a flow's browser goes after its callback.
enum Destination {
    /// To the flow's page, however it ended.
    Page(FlowId),
    /// Back to its plugin, which is told how it ended.
    Plugin(FlowId),
}

impl Destination {
    fn of(row: &FlowRow) -> Self {
        if row.return_url.is_some() { Self::Plugin(row.id) } else { Self::Page(row.id) }
    }
}

enum Checked {
    Refused(Refusal),
    Over(Box<FlowRow>),
    Answered {
        row: Box<FlowRow>,
        state: FlowState,
        configuration: Box<OauthConfiguration>,
        callback: Callback,
    },
}
