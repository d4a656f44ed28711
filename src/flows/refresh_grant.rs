//! The broker's own token endpoint, for plugins' stock OAuth libraries (RFC 6749 §6).
//!
//! Under broker custody a plugin holds a handle in place of a refresh token. The handle names the slot, the client
//! credentials prove that its plugin asks, and the answer is what the broker holds, refreshed first where little of
//! it is left. Under device custody the plugin has the real refresh token: it is passed on, with the client secret
//! that never leaves, and nothing is kept.

use std::{collections::BTreeMap, time::Duration};

use url::Url;

use super::{Broker, Need, TokenUnavailable, waiters::TooManyWait};
use crate::{
    domain::{
        json::Object,
        plugin::{self, Custody},
        secret::{RefreshHandle, RefreshToken},
        slot::{ClientCredentials, SlotState, SlotStatus, has_form_of_handle},
        tokens::TokenSet,
    },
    provider::{ExchangeError, RefreshFailure, Registration},
    store::StoreError,
};

/// How long a token that is given out should last: libraries refresh a minute before its end.
const ENOUGH: Duration = Duration::from_secs(61);
/// When to ask again, where a provider that is away does not say.
const PROVIDER_AWAY: Duration = Duration::from_secs(30);

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum RefreshGrantError {
    /// There is no such client, or its secret is wrong.
    #[error("the client id or secret is wrong")]
    Client,
    /// What was given is no refresh token of a slot that is linked.
    #[error("the refresh token is unknown, or has ended")]
    Grant,
    /// The provider refuses the client or its configuration; the grant may be good.
    #[error("the provider refuses the slot's client or configuration")]
    Misconfigured,
    /// The key that the slot's tokens are sealed to is not trusted any more; whoever holds the credentials may be a thief.
    #[error("the slot's tokens are withheld")]
    Withheld,
    /// The provider is away; the grant stands.
    #[error("the provider is away")]
    ProviderAway {
        /// When it is worth to ask again.
        retry_after: Duration,
    },
    /// As many wait for the provider as may; the grant stands.
    #[error(transparent)]
    TooManyWait(#[from] TooManyWait),
    /// The store failed.
    #[error("the slot could not be read")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Answers a refresh (RFC 6749 §5.1). `spellings` is what the client may have meant by its credentials: the halves
    /// of Basic are to be form-encoded (§2.3.1), and many libraries don't.
    pub async fn refresh_grant(
        &self,
        spellings: &[ClientCredentials],
        token: &RefreshToken,
    ) -> Result<Object, RefreshGrantError> {
        let known = |state: &SlotState| spellings.iter().any(|client| state.is_client(client));
        let handle = RefreshHandle::new(token.expose());
        match self.store.find_state_by_handle(&handle).await? {
            Some(state) if !known(&state) => Err(RefreshGrantError::Client),
            Some(state) if state.custody == Custody::Broker => self.held_tokens(&state).await,
            // It keeps its tokens itself by now, and was sent them.
            Some(_) => Err(RefreshGrantError::Grant),
            None if has_form_of_handle(token.expose()) => Err(RefreshGrantError::Grant),
            None => {
                for client in spellings {
                    if let Some(state) = self.store.find_state_by_client(&client.id).await?
                        && known(&state)
                    {
                        return self.pass_on(&state, token).await;
                    }
                }
                Err(RefreshGrantError::Client)
            }
        }
    }

    /// What the broker holds: these members and no others.
    async fn held_tokens(&self, state: &SlotState) -> Result<Object, RefreshGrantError> {
        let tokens = self.fresh_token(&state.address, Need::AtLeast(ENOUGH)).await?;
        let effective = state.configuration.effective();
        // Left out by the provider, it is the one that was asked for (RFC 6749 §5.1).
        let asked = effective.members().get("scope").and_then(|scope| scope.as_str());
        let mut answer = Object::new();
        answer.insert("access_token".to_owned(), tokens.access_token().expose().into());
        answer.insert("token_type".to_owned(), tokens.token_type().into());
        answer.insert("expires_in".to_owned(), tokens.expires_in(self.now()).into());
        answer.insert("refresh_token".to_owned(), state.credentials.handle.expose().into());
        if let Some(scope) = tokens.scope().or(asked).filter(|scope| !scope.is_empty()) {
            answer.insert("scope".to_owned(), scope.into());
        }
        Ok(answer)
    }

    /// One request to the provider with the plugin's own refresh token; the provider's answer. Nothing is kept.
    async fn pass_on(&self, state: &SlotState, token: &RefreshToken) -> Result<Object, RefreshGrantError> {
        if state.custody != Custody::Device || state.status != SlotStatus::Linked {
            return Err(RefreshGrantError::Grant);
        }
        let slot = &state.address;
        let _place = self.waiters.enter_for_slot(slot)?;
        let parsed = plugin::parse(&state.configuration.effective(), self.settings.egress)
            .map_err(|_| RefreshGrantError::Misconfigured)?;
        let configuration = parsed.configuration;
        let variables = configuration
            .variables(&state.configuration.variables)
            .map_err(|_| RefreshGrantError::Misconfigured)?;
        let redirect_uri = self.settings.public_url.redirect_uri(configuration.redirect_uri, &state.plugin);
        let redirect_uri = Url::parse(&redirect_uri).map_err(|_| RefreshGrantError::Misconfigured)?;
        let callback = BTreeMap::new();
        let registration = Registration {
            configuration: &configuration,
            variables: &variables,
            callback: &callback,
            redirect_uri: &redirect_uri,
            egress: self.settings.egress,
        };
        let tokens = self.refresh_with(&registration, token).await.map_err(|error| {
            let failure = RefreshFailure::of(&error, true);
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%slot, ?failure, error, "a refresh that was passed on failed");
            RefreshGrantError::from(failure)
        })?;
        let mut members = tokens.as_received(self.now());
        // Libraries store the answer as it is; what the provider left out stays as it was.
        members.entry("refresh_token").or_insert_with(|| token.expose().into());
        members.entry("token_type").or_insert_with(|| tokens.token_type().into());
        Ok(members)
    }

    /// One refresh request with a refresh token that somebody else keeps.
    pub(super) async fn refresh_with(
        &self,
        registration: &Registration<'_>,
        token: &RefreshToken,
    ) -> Result<TokenSet, ExchangeError> {
        let now = self.now();
        let request = registration.refresh(Some(token), None, now, self.entropy())?;
        self.provider.exchange(request, registration.configuration, registration.callback, now).await
    }
}

impl From<TokenUnavailable> for RefreshGrantError {
    fn from(error: TokenUnavailable) -> Self {
        match error {
            TokenUnavailable::UnknownSlot
            | TokenUnavailable::AuthorizationRequired
            | TokenUnavailable::TokensWithDevice => Self::Grant,
            TokenUnavailable::Withheld | TokenUnavailable::NotEncrypted(_) => Self::Withheld,
            TokenUnavailable::ProviderAway { retry_after } => Self::ProviderAway { retry_after },
            TokenUnavailable::TooManyWait(too_many) => Self::TooManyWait(too_many),
            TokenUnavailable::Store(cause) => Self::Store(cause),
        }
    }
}

impl From<RefreshFailure> for RefreshGrantError {
    fn from(failure: RefreshFailure) -> Self {
        match failure {
            RefreshFailure::GrantGone => Self::Grant,
            RefreshFailure::Misconfigured => Self::Misconfigured,
            RefreshFailure::ProviderAway { retry_after } => {
                Self::ProviderAway { retry_after: retry_after.unwrap_or(PROVIDER_AWAY) }
            }
        }
    }
}
