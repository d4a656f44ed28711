//! An OpenID provider: how it describes itself, where the browser is sent, and what is asked for an ID token.
//!
//! Pure but for what [`ProviderClient`](super::ProviderClient) sends. Who may ask which address is decided there;
//! here only that a browser is sent to a web address, and over TLS unless private providers are allowed.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use serde_json::Value;
use url::Url;

use super::{
    http::Answer,
    registration::RequestError,
    request::{TokenRequest, basic, form},
};
use crate::domain::{
    address::EgressPolicy,
    json::{self, Object},
    openid::OpenIdSettings,
    pkce::CodeChallenge,
    secret::{AccessToken, AuthorizationCode, CodeVerifier, FlowState, Nonce, SecretValue},
};

/// What a provider says about itself (OpenID Connect Discovery §3).
#[derive(Debug, Clone)]
pub struct OpenIdMetadata {
    authorization_endpoint: Url,
    token_endpoint: Url,
    /// Where its keys are.
    pub jwks_uri: Url,
    /// Where it tells more about an account.
    pub userinfo_endpoint: Option<Url>,
    /// Whether each of its redirects has an `iss` (RFC 9207 §3).
    pub names_itself: bool,
    secret_in_body: bool,
}

/// What a provider gave for a code.
pub struct OpenIdTokens {
    /// The ID token, of which nothing is believed yet.
    pub id_token: SecretValue,
    /// For its userinfo endpoint alone.
    pub access_token: Option<AccessToken>,
}

/// Why a provider's answer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenIdError {
    /// Another status than 200, or no JSON object.
    #[error("the provider's answer (status {0}) is none that is expected")]
    Answer(u16),
    /// It calls itself by another name than the one that is configured.
    #[error("the provider's configuration names another issuer than login.oidc.issuer")]
    Issuer,
    /// A member is missing, or is no address that may be used.
    #[error("the provider's {0} is missing, or is no https address")]
    Member(&'static str),
}

impl OpenIdMetadata {
    /// Reads a provider's description of itself.
    pub fn parse(
        answer: &Answer,
        settings: &OpenIdSettings,
        egress: EgressPolicy,
    ) -> Result<Self, OpenIdError> {
        let members = object(answer)?;
        if members.get("issuer").and_then(Value::as_str) != Some(settings.issuer.as_str()) {
            return Err(OpenIdError::Issuer);
        }
        let endpoint = |name: &'static str| {
            let url = members.get(name).and_then(Value::as_str).and_then(|text| Url::parse(text).ok());
            let fits = |url: &Url| match (url.scheme(), egress) {
                ("https", _) | ("http", EgressPolicy::AllowPrivate) => {
                    url.has_host() && url.fragment().is_none()
                }
                _ => false,
            };
            url.filter(fits).ok_or(OpenIdError::Member(name))
        };
        let methods = members.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        let knows = |method: &str| methods.is_some_and(|known| known.iter().any(|name| name == method));
        Ok(Self {
            authorization_endpoint: endpoint("authorization_endpoint")?,
            token_endpoint: endpoint("token_endpoint")?,
            jwks_uri: endpoint("jwks_uri")?,
            userinfo_endpoint: endpoint("userinfo_endpoint").ok(),
            names_itself: members.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            // Basic is what a provider takes that says nothing (§3).
            secret_in_body: knows("client_secret_post") && !knows("client_secret_basic"),
        })
    }

    /// Where the browser is sent (OpenID Connect Core §3.1.2.1).
    pub fn authorization_url(
        &self,
        settings: &OpenIdSettings,
        redirect_uri: &str,
        state: &FlowState,
        nonce: &Nonce,
        verifier: &CodeVerifier,
    ) -> Url {
        let scope = if settings.operators.domains.is_empty() { "openid" } else { "openid email" };
        let mut url = self.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", scope)
            .append_pair("state", state.expose())
            .append_pair("nonce", nonce.expose())
            .append_pair("code_challenge", CodeChallenge::of(verifier).as_str())
            .append_pair("code_challenge_method", "S256");
        url
    }

    /// Asks for the tokens of a code (OpenID Connect Core §3.1.3.1).
    pub fn exchange(
        &self,
        settings: &OpenIdSettings,
        redirect_uri: &str,
        code: &AuthorizationCode,
        verifier: &CodeVerifier,
    ) -> Result<TokenRequest, RequestError> {
        let mut members = vec![
            ("grant_type".to_owned(), SecretValue::new("authorization_code")),
            ("code".to_owned(), SecretValue::new(code.expose())),
            ("redirect_uri".to_owned(), SecretValue::new(redirect_uri)),
            ("code_verifier".to_owned(), SecretValue::new(verifier.expose())),
        ];
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("cloudlink/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        match &settings.client_secret {
            Some(secret) if !self.secret_in_body => {
                headers.insert(AUTHORIZATION, basic(&settings.client_id, secret.expose())?);
            }
            secret => {
                members.push(("client_id".to_owned(), SecretValue::new(settings.client_id.as_str())));
                let secret = secret.iter().map(|secret| SecretValue::new(secret.expose()));
                members.extend(secret.map(|secret| ("client_secret".to_owned(), secret)));
            }
        }
        Ok(TokenRequest { endpoint: self.token_endpoint.clone(), headers, body: form(&members) })
    }
}

impl OpenIdTokens {
    /// Reads what the token endpoint answered (OpenID Connect Core §3.1.3.3).
    pub fn parse(answer: &Answer) -> Result<Self, OpenIdError> {
        let members = object(answer)?;
        let text = |name| members.get(name).and_then(Value::as_str);
        Ok(Self {
            id_token: SecretValue::new(text("id_token").ok_or(OpenIdError::Member("id_token"))?),
            access_token: text("access_token").map(AccessToken::new),
        })
    }
}

/// A JSON object that came with status 200: a key set, or what is told about an account.
pub fn object(answer: &Answer) -> Result<Object, OpenIdError> {
    let refused = OpenIdError::Answer(answer.status);
    if answer.status != 200 {
        return Err(refused);
    }
    json::parse_object(&answer.body).map_err(|_| refused)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;
    use crate::domain::{openid::Operators, secret::ClientSecret};

    fn settings() -> OpenIdSettings {
        OpenIdSettings {
            issuer: "https://accounts.example".parse().unwrap(),
            client_id: "cloudlink".to_owned(),
            client_secret: Some(ClientSecret::new("s:1")),
            operators: Operators::default(),
        }
    }

    fn answer(status: u16, value: &Value) -> Answer {
        Answer { status, retry_after: None, body: Zeroizing::new(value.to_string().into_bytes()) }
    }

    fn good() -> Value {
        json!({
            "issuer": "https://accounts.example",
            "authorization_endpoint": "https://accounts.example/auth?tenant=a",
            "token_endpoint": "https://accounts.example/token",
            "jwks_uri": "https://accounts.example/jwks",
        })
    }

    fn parse(changes: &Value) -> Result<OpenIdMetadata, OpenIdError> {
        let mut value = good();
        value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        OpenIdMetadata::parse(&answer(200, &value), &settings(), EgressPolicy::PublicOnly)
    }

    #[test]
    fn a_provider_that_calls_itself_otherwise_or_lacks_something_is_not_used() {
        assert!(parse(&json!({})).is_ok());
        assert_eq!(parse(&json!({"issuer": "https://accounts.example/"})).unwrap_err(), OpenIdError::Issuer);
        for (name, bad) in [
            ("authorization_endpoint", json!("http://accounts.example/auth")),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("token_endpoint", json!(null)),
            ("jwks_uri", json!("/jwks")),
        ] {
            assert_eq!(parse(&json!({ name: bad })).unwrap_err(), OpenIdError::Member(name));
        }
        let away = OpenIdMetadata::parse(&answer(503, &good()), &settings(), EgressPolicy::PublicOnly);
        assert_eq!(away.unwrap_err(), OpenIdError::Answer(503));
    }

    #[test]
    fn e10_the_client_secret_is_in_the_header_or_in_the_body_and_never_in_both() {
        let (code, verifier) = (AuthorizationCode::new("c"), CodeVerifier::new("v"));
        let request = |changes: Value| {
            parse(&changes).unwrap().exchange(&settings(), "https://l.example/cb", &code, &verifier).unwrap()
        };
        let by_header = request(json!({}));
        assert!(by_header.headers.contains_key(AUTHORIZATION));
        assert!(!String::from_utf8_lossy(&by_header.body).contains("client_secret"));
        let by_body = request(json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]}));
        assert!(!by_body.headers.contains_key(AUTHORIZATION));
        assert!(String::from_utf8_lossy(&by_body.body).contains("client_secret=s%3A1"));
    }
}
