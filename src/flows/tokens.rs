//! The access token of a slot, for a plugin that asks.

use super::Broker;
use crate::{
    domain::{ids::SlotAddress, json::Object, slot::SlotStatus},
    store::StoreError,
};

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
    /// The token has expired.
    #[error("the token has expired and could not be refreshed")]
    Expired,
    /// The store failed.
    #[error("the token could not be read")]
    Store(#[from] StoreError),
}

impl Broker {
    /// The slot's access token: `access_token`, `token_type`, `expiry`, `scope`.
    pub async fn current_token(&self, address: &SlotAddress) -> Result<Object, TokenUnavailable> {
        let state = self.store.find_state(address).await?.ok_or(TokenUnavailable::UnknownSlot)?;
        if state.status != SlotStatus::Linked {
            return Err(TokenUnavailable::AuthorizationRequired);
        }
        let tokens = state.tokens.ok_or(TokenUnavailable::TokensWithDevice)?;
        let now = self.now();
        if tokens.expires_at().is_some_and(|at| at <= now) {
            return Err(TokenUnavailable::Expired);
        }
        let mut token = Object::new();
        token.insert("access_token".to_owned(), tokens.access_token().expose().into());
        token.insert("token_type".to_owned(), tokens.token_type().into());
        token.insert("expiry".to_owned(), tokens.expiry(now).into());
        if let Some(scope) = tokens.scope() {
            token.insert("scope".to_owned(), scope.into());
        }
        Ok(token)
    }
}
