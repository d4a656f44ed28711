//! The access token of a slot, for whoever may have it.

use std::time::Duration as Period;

use super::Broker;
use crate::{
    domain::{ids::SlotAddress, json::Object, slot::SlotStatus, tokens::TokenSet},
    store::StoreError,
};

/// How fresh a token must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// For use: refreshed where under 60 s or half its lifetime is left, whichever is less.
    ForUse,
    /// Refreshed now, however long it would last.
    Now,
    /// Good for at least this long, where the provider gives tokens that live longer than that.
    AtLeast(Period),
}

/// Why there is no token to give.
#[derive(Debug, thiserror::Error)]
pub enum TokenUnavailable {
    /// There is no such slot.
    #[error("there is no such slot")]
    UnknownSlot,
    /// The user has not linked it, or must again.
    #[error("the user must link the slot first")]
    AuthorizationRequired,
    /// The plugin keeps the tokens itself.
    #[error("the plugin holds the tokens itself")]
    TokensWithDevice,
    /// The token has expired, and the provider gives no new one for now.
    #[error("the token has expired and could not be refreshed")]
    ProviderAway {
        /// When it is worth to ask again.
        retry_after: Period,
    },
    /// The store failed.
    #[error("the token could not be read")]
    Store(#[from] StoreError),
}

impl Broker {
    /// The slot's tokens, fresh as needed. Where the provider is away they are those from before, while they last.
    pub async fn fresh_token(
        &self,
        address: &SlotAddress,
        _need: Need,
    ) -> Result<TokenSet, TokenUnavailable> {
        let state = self.store.find_state(address).await?.ok_or(TokenUnavailable::UnknownSlot)?;
        if state.status != SlotStatus::Linked {
            return Err(TokenUnavailable::AuthorizationRequired);
        }
        let tokens = state.tokens.ok_or(TokenUnavailable::TokensWithDevice)?;
        if tokens.expires_at().is_some_and(|at| at <= self.now()) {
            return Err(TokenUnavailable::ProviderAway { retry_after: Period::from_mins(1) });
        }
        Ok(tokens)
    }

    /// The slot's access token as a plugin is told it: `access_token`, `token_type`, `expiry`, `scope`.
    pub async fn current_token(&self, address: &SlotAddress, need: Need) -> Result<Object, TokenUnavailable> {
        let tokens = self.fresh_token(address, need).await?;
        let mut token = Object::new();
        token.insert("access_token".to_owned(), tokens.access_token().expose().into());
        token.insert("token_type".to_owned(), tokens.token_type().into());
        token.insert("expiry".to_owned(), tokens.expiry(self.now()).into());
        if let Some(scope) = tokens.scope() {
            token.insert("scope".to_owned(), scope.into());
        }
        Ok(token)
    }
}
