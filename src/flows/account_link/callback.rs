//! The callback of an attempt, by the rules of any flow's: state, browser, time, path, `iss`; then one token request.

use time::Duration;

use crate::{
    domain::{
        account_link::{AccountLinkEnd, AccountLinkError, AccountLinkStatus},
        callback::{Callback, CallbackQuery, Granted},
        flow::FlowStatus,
        ids::AccountLinkId,
        metric,
        plugin::OauthConfiguration,
        secret::{AccountLinkHandle, BrowserCookie, FlowState},
        tokens::TokenSet,
    },
    flows::{
        Broker, CallbackPath, Refusal,
        calm::store_patiently,
        exchange::flow_error,
        redirect::{expected_path, refused},
    },
    provider::{ExchangeError, Registration},
    store::{AccountLinkRow, Redeemed, StoreError},
};

/// More than an exchange may take (30 s): who has not ended by then is dead.
const STALE_AFTER: Duration = Duration::seconds(40);
/// For a socket to take its tokens; it looks every few seconds.
const DELIVERY_TIME: Duration = Duration::minutes(1);

impl Broker {
    /// Takes a callback to the end of the attempt it belongs to: the attempt's page, or why it was refused.
    pub async fn account_link_callback(
        &self,
        path: &CallbackPath,
        query: &CallbackQuery,
        browser: Option<&BrowserCookie>,
    ) -> Result<Result<AccountLinkHandle, Refusal>, StoreError> {
        let state = match query.state() {
            Ok(state) => state,
            Err(error) => return Ok(Err(Refusal::Malformed(error))),
        };
        let Some(row) = self.store.find_account_link_by_state(&state, self.now()).await? else {
            return Ok(Err(Refusal::UnknownState));
        };
        if !browser.is_some_and(|browser| row.is_bound_to(browser)) {
            return Ok(Err(Refusal::OtherBrowser));
        }
        let page = self.ring.account_link_handle(row.id);
        match row.status {
            AccountLinkStatus::Authorizing => {}
            AccountLinkStatus::Pending
            | AccountLinkStatus::Exchanging
            | AccountLinkStatus::Granted
            | AccountLinkStatus::Delivered
            | AccountLinkStatus::Denied
            | AccountLinkStatus::Expired
            | AccountLinkStatus::Failed => return Ok(Ok(page)),
        }
        if *path != expected_path(row.redirect_kind, &row.plugin) {
            self.end_by_callback(&row, &state, MIXUP).await?;
            return Ok(Err(Refusal::Mixup));
        }
        let Some(configuration) = self.account_configuration(&row.configuration) else {
            self.end_by_callback(&row, &state, FAILED).await?;
            return Ok(Ok(page));
        };
        let callback = match query.answer(&configuration) {
            Ok(callback) => callback,
            Err(error) => return Ok(Err(Refusal::Malformed(error))),
        };
        if !self.is_from_issuer(&row.configuration.variables, &configuration, callback.iss()) {
            self.end_by_callback(&row, &state, MIXUP).await?;
            return Ok(Err(Refusal::Mixup));
        }
        match callback {
            Callback::Refused { error, .. } => {
                let burn = refused(error);
                let error = AccountLinkError::from(burn.error);
                let end = if burn.status == FlowStatus::Denied {
                    AccountLinkEnd::denied(error)
                } else {
                    AccountLinkEnd::failed(error)
                };
                self.end_by_callback(&row, &state, end).await?;
            }
            Callback::Granted(granted) if configuration.callback_values(&granted.parameters).is_err() => {
                self.end_by_callback(&row, &state, FAILED).await?;
                return Ok(Err(Refusal::Mixup));
            }
            Callback::Granted(granted) => {
                self.redeem_account_link(row, &state, configuration, granted).await?;
            }
        }
        Ok(Ok(page))
    }

    async fn end_by_callback(
        &self,
        row: &AccountLinkRow,
        state: &FlowState,
        end: AccountLinkEnd,
    ) -> Result<(), StoreError> {
        let ended = self.store.end_account_link_by_callback(row.id, state, end, self.now()).await?;
        if ended == Redeemed::Yes {
            self.account_link_ended(row.id, end.error.as_str());
        }
        Ok(())
    }

    async fn redeem_account_link(
        &self,
        row: AccountLinkRow,
        state: &FlowState,
        configuration: OauthConfiguration,
        granted: Granted,
    ) -> Result<(), StoreError> {
        if self.store.redeem_account_link(row.id, state, self.now()).await? == Redeemed::Already {
            return Ok(());
        }
        let (broker, place) = (self.clone(), self.waiters.enter_from(row.client_network));
        let exchanging = async move {
            let attempt = row.id;
            if let Err(error) = broker.exchange_account_code(row, configuration, granted).await {
                tracing::error!(%attempt, error = &error as &dyn std::error::Error, "exchange not recorded");
            }
        };
        // In a task of its own: a browser that goes away stops nothing. A panic there was logged where it happened.
        let exchanging = self.exchanges.spawn_on(exchanging, &self.runtime);
        // Where too many wait, its page tells the browser how it ends.
        if place.is_ok() {
            let _ = exchanging.await;
        }
        Ok(())
    }

    async fn exchange_account_code(
        &self,
        row: AccountLinkRow,
        configuration: OauthConfiguration,
        granted: Granted,
    ) -> Result<(), StoreError> {
        match self.request_account_tokens(&row, &configuration, &granted).await {
            Ok(tokens) => {
                let waits = || tracing::warn!(attempt = %row.id, "the exchange waits for the database");
                let grant = || self.store.grant_account_link(row.id, &tokens, self.now() + DELIVERY_TIME);
                if store_patiently(grant, waits).await? {
                    self.knock_account_link(row.id);
                } else {
                    tracing::info!(attempt = %row.id, "nobody waits for these tokens any more");
                }
            }
            Err(error) => {
                let end = AccountLinkEnd::failed(flow_error(&error).into());
                tracing::warn!(
                    attempt = %row.id, service = %row.service, end = %end.error,
                    error = &error as &dyn std::error::Error, "exchange failed"
                );
                if self.store.end_account_link(row.id, end, self.now()).await? {
                    self.account_link_ended(row.id, end.error.as_str());
                }
            }
        }
        Ok(())
    }

    async fn request_account_tokens(
        &self,
        row: &AccountLinkRow,
        configuration: &OauthConfiguration,
        granted: &Granted,
    ) -> Result<TokenSet, ExchangeError> {
        let now = self.now();
        let registration = Registration {
            callback: &granted.parameters,
            ..self.account_registration(row, configuration, &row.configuration)
        };
        let request = registration.exchange(&granted.code, row.verifier.as_ref(), now, self.entropy())?;
        self.provider.exchange(request, configuration, &granted.parameters, now).await
    }

    /// Ends what ran out of time, and exchanges whose replica died.
    pub(in crate::flows) async fn end_stale_account_links(&self) -> Result<(), StoreError> {
        let now = self.now();
        for (id, status) in self.store.end_stale_account_links(now - STALE_AFTER, now).await? {
            let end =
                if status == AccountLinkStatus::Failed { FAILED.error.as_str() } else { status.as_str() };
            self.account_link_ended(id, end);
        }
        Ok(())
    }

    pub(super) fn account_link_ended(&self, id: AccountLinkId, end: &'static str) {
        metrics::counter!(metric::ACCOUNT_LINKS, "end" => end).increment(1);
        tracing::info!(attempt = %id, end, "account link ended");
        self.knock_account_link(id);
    }

    pub(super) fn knock_account_link(&self, id: AccountLinkId) {
        if let Some(bell) = id.bell() {
            self.bus.knock(&bell);
        }
    }
}

const MIXUP: AccountLinkEnd =
    AccountLinkEnd { status: AccountLinkStatus::Failed, error: AccountLinkError::IssuerMismatch };
const FAILED: AccountLinkEnd =
    AccountLinkEnd { status: AccountLinkStatus::Failed, error: AccountLinkError::ExchangeFailed };
