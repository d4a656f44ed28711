//! A client's registration at a provider (RFC 6749 §2), as one slot uses it: the configuration with the
//! slot's own values filled in. Every request to the provider is built from one.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use crate::domain::{
    address::EgressPolicy,
    plugin::{EndpointError, EndpointTemplate, OauthConfiguration},
    tokens::TokenSet,
};

/// What requests to a provider are built from.
#[derive(Clone, Copy)]
pub struct Registration<'a> {
    /// The slot's effective configuration.
    pub configuration: &'a OauthConfiguration,
    /// The value of each of the configuration's variables, defaults included.
    pub variables: &'a BTreeMap<String, String>,
    /// What the redirect carried of `callback_parameters`; empty before the callback.
    pub callback: &'a BTreeMap<String, String>,
    /// The redirect URI of the flow, exactly as it is registered.
    pub redirect_uri: &'a Url,
    /// Which hosts an endpoint may name.
    pub egress: EgressPolicy,
}

/// Why no request can be built. Nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// An endpoint is none once the values are filled in.
    #[error("{member} is no usable URL with this slot's values")]
    Endpoint {
        /// The member of the configuration.
        member: &'static str,
        /// What is wrong with it.
        #[source]
        source: EndpointError,
    },
    /// A query member of the redirect does not match the pattern that the configuration gives it.
    #[error("a parameter of the callback does not match its pattern")]
    CallbackParameter,
    /// A header's name or value can't be written in HTTP.
    #[error("a header of token_headers can't be written: check it for line breaks")]
    Header,
    /// PKCE is on, and no verifier was given.
    #[error("there is no code verifier")]
    Verifier,
    /// A refresh that needs a refresh token, without one.
    #[error("there is no refresh token")]
    RefreshToken,
    /// The private key is neither RSA, P-256 nor Ed25519 in PKCS#8, or does not sign.
    #[error("private_key does not sign: give an RSA, P-256 or Ed25519 key in PKCS#8 PEM")]
    PrivateKey,
    /// The request could not be written as JSON.
    #[error("the request can't be written as JSON")]
    Json(#[source] serde_json::Error),
}

impl Registration<'_> {
    /// An endpoint that may use variables only.
    pub(super) fn endpoint(
        &self,
        member: &'static str,
        template: &EndpointTemplate,
    ) -> Result<Url, RequestError> {
        template
            .resolve(self.variables, self.egress)
            .map_err(|source| RequestError::Endpoint { member, source })
    }

    /// `token_endpoint`, which may use callback parameters too: those that have a pattern and match it (B11).
    pub(super) fn token_endpoint(&self) -> Result<Url, RequestError> {
        let mut values = self.variables.clone();
        for (name, pattern) in &self.configuration.callback_parameters {
            let (Some(pattern), Some(value)) = (pattern, self.callback.get(name)) else { continue };
            if !pattern.matches(value) {
                return Err(RequestError::CallbackParameter);
            }
            values.insert(name.clone(), value.clone());
        }
        self.configuration
            .token_endpoint
            .resolve(&values, self.egress)
            .map_err(|source| RequestError::Endpoint { member: "token_endpoint", source })
    }
}

/// The callback's parameters as the token object keeps them: a refresh needs them where `token_endpoint`
/// is written with one.
pub fn callback_values(configuration: &OauthConfiguration, tokens: &TokenSet) -> BTreeMap<String, String> {
    let kept = |name: &String| match tokens.members().get(name) {
        Some(Value::String(value)) => Some((name.clone(), value.clone())),
        Some(_) | None => None,
    };
    configuration.callback_parameters.keys().filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::plugin::Pattern, provider::fake::Setup};

    #[test]
    fn b11_a_callback_value_that_does_not_match_its_pattern_stops_the_request() {
        let mut setup = Setup::new();
        let pattern = Pattern::parse(r"https://accounts\.zoho\.(com|eu)").unwrap();
        setup.configuration.callback_parameters.insert("accounts-server".into(), Some(pattern));
        setup.callback.insert("accounts-server".into(), "https://evil.example".into());
        assert!(matches!(setup.registration().token_endpoint(), Err(RequestError::CallbackParameter)));
        setup.callback.insert("accounts-server".into(), "https://accounts.zoho.eu".into());
        assert!(setup.registration().token_endpoint().is_ok());
    }
}
