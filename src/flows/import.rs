//! Taking over tokens that a plugin already had, so that nobody has to link what is linked.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use url::Url;

use super::{Broker, waiters::TooManyWait};
use crate::{
    domain::{
        audit::Origin,
        ids::SlotAddress,
        imported::Imported,
        json::Object,
        plugin::{self, Custody, FieldError},
        refresh::Lifetime,
        secret::{RefreshHandle, RefreshToken},
        slot::{SlotState, has_form_of_handle},
        tokens::TokenSet,
    },
    provider::{RefreshFailure, Registration, merge},
    store::{PutTokens, StoreError},
};

/// Attempts before it is given up: each failed one means that somebody else changed the slot.
const ATTEMPTS: usize = 8;

/// Why tokens were not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no such slot.
    #[error("there is no such slot")]
    UnknownSlot,
    /// Members that don't fit.
    #[error("the token object has members that don't fit")]
    Invalid(Vec<FieldError>),
    /// The refresh token is a handle of the broker's own: who has it holds no tokens.
    #[error("the refresh token is a handle")]
    OwnHandle,
    /// There is a refresh token alone, and the provider gives no access token for it now.
    #[error("the provider is away")]
    ProviderAway {
        /// When it is worth to ask again.
        retry_after: std::time::Duration,
    },
    /// There is a refresh token alone, and as many wait for providers as may.
    #[error(transparent)]
    TooManyWait(#[from] TooManyWait),
    /// Others changed the slot all the time.
    #[error("the slot is being changed by others")]
    Contended,
    /// The store failed.
    #[error("the tokens could not be stored")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Takes over a token object: the slot is linked with it. Under device custody it is linked, and nothing is kept:
    /// its plugin has the tokens.
    pub async fn import_tokens(
        &self,
        address: &SlotAddress,
        members: Object,
        by: &Origin,
    ) -> Result<(), ImportError> {
        let state = self.store.find_state(address).await?.ok_or(ImportError::UnknownSlot)?;
        let imported = Imported::read(members, self.now()).map_err(ImportError::Invalid)?;
        self.refuse_handle(&imported).await?;
        if state.custody == Custody::Device {
            return self.link_with(state, None, by).await;
        }
        match imported {
            Imported::Tokens(tokens) => self.link_with(state, Some(tokens), by).await,
            Imported::RefreshTokenAlone { token, members } => {
                let _place = self.waiters.enter_for_slot(address)?;
                // Good once, perhaps: it is not spent again for a slot that changed meanwhile.
                let tokens = self.first_tokens(&state, &token, members).await?;
                match self.put_tokens(&state, Some(&tokens), self.now(), by).await? {
                    PutTokens::Linked(_) => {
                        self.bus.knock(address);
                        Ok(())
                    }
                    PutTokens::Conflict => Err(ImportError::Contended),
                }
            }
        }
    }

    async fn refuse_handle(&self, imported: &Imported) -> Result<(), ImportError> {
        let token = match imported {
            Imported::Tokens(tokens) => tokens.refresh_token(),
            Imported::RefreshTokenAlone { token, .. } => Some(token.clone()),
        };
        let Some(token) = token else { return Ok(()) };
        let known = self.store.is_handle(&RefreshHandle::new(token.expose())).await?;
        // One that has ended is of no more use.
        if known || has_form_of_handle(token.expose()) { Err(ImportError::OwnHandle) } else { Ok(()) }
    }

    async fn link_with(
        &self,
        mut state: SlotState,
        tokens: Option<TokenSet>,
        by: &Origin,
    ) -> Result<(), ImportError> {
        for _ in 0..ATTEMPTS {
            let (custody, now) = (state.custody, self.now());
            let expires_at = tokens.as_ref().and_then(TokenSet::expires_at);
            let lifetime = Lifetime::of_unknown_age(expires_at, now);
            let put = self.put_tokens(&state, tokens.as_ref(), lifetime.obtained_at, by).await?;
            if let PutTokens::Linked(_) = put {
                if lifetime.is_fit_for_use(now) {
                    self.bus.knock(&state.address);
                } else {
                    self.refresh_first(&state.address);
                }
                return Ok(());
            }
            state = self.store.find_state(&state.address).await?.ok_or(ImportError::UnknownSlot)?;
            if state.custody != custody {
                return Err(ImportError::Contended);
            }
        }
        Err(ImportError::Contended)
    }

    async fn put_tokens(
        &self,
        state: &SlotState,
        tokens: Option<&TokenSet>,
        obtained_at: OffsetDateTime,
        by: &Origin,
    ) -> Result<PutTokens, StoreError> {
        let (address, seen) = (&state.address, state.configuration_version);
        let put = self.store.put_tokens(address, seen, tokens, obtained_at, by, self.now()).await?;
        if let PutTokens::Linked(version) = put {
            tracing::info!(slot = %address, %version, "tokens taken over");
        }
        Ok(put)
    }

    /// Tokens that are over, or nearly so, are refreshed before their plugin is told, if they can be: its own library
    /// may wait for ever for one that lives so short.
    fn refresh_first(&self, address: &SlotAddress) {
        let (broker, address) = (self.clone(), address.clone());
        let refreshing = async move {
            if let Err(error) = broker.fresh_token(&address, super::Need::ForUse).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(slot = %address, error, "imported tokens are not refreshed yet");
            }
            broker.bus.knock(&address);
        };
        self.exchanges.spawn_on(refreshing, &self.runtime);
    }

    /// Trades a refresh token that came alone for tokens.
    async fn first_tokens(
        &self,
        state: &SlotState,
        token: &RefreshToken,
        members: Object,
    ) -> Result<TokenSet, ImportError> {
        let configuration = plugin::parse(&state.configuration.effective(), self.settings.egress)
            .map_err(ImportError::Invalid)?
            .configuration;
        let variables =
            configuration.variables(&state.configuration.variables).map_err(ImportError::Invalid)?;
        let redirect_uri = self.settings.public_url.redirect_uri(configuration.redirect_uri, &state.plugin);
        let redirect_uri = Url::parse(&redirect_uri).map_err(|_| refused())?;
        let callback: BTreeMap<String, String> = members
            .iter()
            .filter(|(name, _)| configuration.callback_parameters.contains_key(*name))
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let registration = Registration {
            configuration: &configuration,
            variables: &variables,
            callback: &callback,
            redirect_uri: &redirect_uri,
            egress: self.settings.egress,
        };
        let now = self.now();
        let scope = members.get("scope").and_then(|scope| scope.as_str());
        let answer = match registration.refresh(Some(token), scope, now, self.entropy()) {
            Ok(request) => self.provider.exchange(request, &configuration, &callback, now).await,
            Err(error) => Err(error.into()),
        };
        let fresh = answer.map_err(|error| {
            let failure = RefreshFailure::of(&error, true);
            let cause = &error as &dyn std::error::Error;
            tracing::warn!(slot = %state.address, ?failure, error = cause, "an imported refresh token brought nothing");
            match failure {
                RefreshFailure::GrantGone | RefreshFailure::Misconfigured => refused(),
                RefreshFailure::ProviderAway { retry_after } => ImportError::ProviderAway {
                    retry_after: retry_after.unwrap_or(std::time::Duration::from_secs(30)),
                },
            }
        })?;
        completed(members, &fresh).ok_or_else(refused)
    }
}

/// What came, with what the provider has given now on top.
fn completed(mut members: Object, fresh: &TokenSet) -> Option<TokenSet> {
    members.insert("access_token".to_owned(), fresh.access_token().expose().into());
    let given = TokenSet::new(members, None).ok()?;
    merge(&given, fresh).ok()
}

fn refused() -> ImportError {
    ImportError::Invalid(vec![FieldError {
        field: "/refresh_token".to_owned(),
        detail: "brings no access token: the provider refuses it, or the slot's client".to_owned(),
    }])
}
