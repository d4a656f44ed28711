//! Requests to the token endpoint: exchange (RFC 6749 §4.1.3), refresh (§6), revocation (RFC 7009).
//!
//! Pure builders. Guarantees that a client secret stands in the body or in the `Authorization` header,
//! never in both and never in a URL (§2.3), and that nothing secret shows in `Debug`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use time::OffsetDateTime;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{
    assertion::{ASSERTION_TYPE, Assertion},
    members::{Customisation, assemble},
    registration::{Registration, RequestError},
};
use crate::domain::{
    clock::Entropy,
    plugin::{ClientAuthentication, Parameters, Pkce, TokenFormat, render},
    secret::{AccessToken, AuthorizationCode, CodeVerifier, RefreshToken, SecretValue},
};

const FIXED: [&str; 4] = ["code", "redirect_uri", "refresh_token", "code_verifier"];

/// Headers that frame the message: they are the client's own.
const FRAMING: [HeaderName; 8] =
    [ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE];

type Members = Vec<(&'static str, SecretValue)>;

/// A `POST` that is ready to be sent.
pub struct TokenRequest {
    pub(super) endpoint: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl TokenRequest {
    /// Who is asked: the host, and its port where that is not the usual one.
    pub(super) fn authority(&self) -> String {
        authority(&self.endpoint)
    }

    /// The host that is asked, for metrics and logs.
    pub fn host(&self) -> &str {
        self.endpoint.host_str().unwrap_or_default()
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").field("host", &self.host()).finish_non_exhaustive()
    }
}

/// A token to be revoked.
#[derive(Debug, Clone, Copy)]
pub enum Revocable<'a> {
    /// The refresh token; most providers end the whole grant with it.
    RefreshToken(&'a RefreshToken),
    /// The access token, where there is no refresh token.
    AccessToken(&'a AccessToken),
}

impl Registration<'_> {
    /// Asks for tokens with an authorization code. `verifier` is required unless the configuration turns
    /// PKCE off, and ignored if it does. `now` and `entropy` date and name an assertion.
    pub fn exchange(
        &self,
        code: &AuthorizationCode,
        verifier: Option<&CodeVerifier>,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Result<TokenRequest, RequestError> {
        let configuration = self.configuration;
        let mut standard = vec![
            ("grant_type", SecretValue::new("authorization_code")),
            ("code", SecretValue::new(code.expose())),
        ];
        if configuration.pkce == Pkce::S256 {
            let verifier = verifier.ok_or(RequestError::Verifier)?;
            standard.push(("code_verifier", SecretValue::new(verifier.expose())));
        }
        self.add_redirect_and_scope(&mut standard, configuration.scope.clone());
        let extra = self.rendered(&configuration.token_parameters);
        self.token_request(self.token_endpoint()?, standard, extra, now, entropy)
    }

    /// Asks for new tokens. `granted` is the scope of the grant: where it is narrower than the configured
    /// one, no more is asked for (RFC 6749 §6). `token` may be absent only where `refresh_parameters` set a
    /// `grant_type` of their own.
    pub fn refresh(
        &self,
        token: Option<&RefreshToken>,
        granted: Option<&str>,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Result<TokenRequest, RequestError> {
        let configuration = self.configuration;
        let own = configuration.refresh_parameters.as_ref();
        let mut extra = self.rendered(own.unwrap_or(&configuration.token_parameters));
        if own.is_none() {
            // The default takes over all but the grant type: that of an exchange refreshes nothing.
            extra.retain(|(name, _)| name != "grant_type");
        }
        let mut standard = vec![("grant_type", SecretValue::new("refresh_token"))];
        match token {
            Some(token) => standard.push(("refresh_token", SecretValue::new(token.expose()))),
            None if extra.iter().any(|(name, _)| name == "grant_type") => {}
            None => return Err(RequestError::RefreshToken),
        }
        let scope = configuration.scope.as_deref().map(|scope| narrowed(scope, granted));
        self.add_redirect_and_scope(&mut standard, scope);
        self.token_request(self.refresh_endpoint()?, standard, extra, now, entropy)
    }

    /// Which host a refresh asks, with this slot's values; and its port where that is not the usual one.
    pub fn refresh_host(&self) -> Result<String, RequestError> {
        Ok(authority(&self.refresh_endpoint()?))
    }

    fn refresh_endpoint(&self) -> Result<Url, RequestError> {
        match &self.configuration.refresh_endpoint {
            Some(template) => self.endpoint("refresh_endpoint", template),
            None => self.token_endpoint(),
        }
    }

    /// Whether [`Registration::refresh`] can ask with `token`: with a refresh token, or without one where
    /// `refresh_parameters` set a `grant_type` of their own.
    pub fn is_refreshable(&self, token: Option<&RefreshToken>) -> bool {
        let own = self.configuration.refresh_parameters.as_ref();
        token.is_some() || own.is_some_and(|own| own.contains_key("grant_type"))
    }

    /// Asks for a token's end (RFC 7009 §2.1), always as a form. `None`: the provider has no such endpoint.
    pub fn revocation(
        &self,
        token: Revocable<'_>,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Result<Option<TokenRequest>, RequestError> {
        let Some(template) = &self.configuration.revocation_endpoint else { return Ok(None) };
        let endpoint = self.endpoint("revocation_endpoint", template)?;
        let (token, hint) = match token {
            Revocable::RefreshToken(token) => (token.expose(), "refresh_token"),
            Revocable::AccessToken(token) => (token.expose(), "access_token"),
        };
        let mut standard =
            vec![("token", SecretValue::new(token)), ("token_type_hint", SecretValue::new(hint))];
        let authorization = self.authenticate(&endpoint, &mut standard, now, entropy)?;
        let members = self.assembled(standard, Vec::new());
        self.written(endpoint, authorization, &members, TokenFormat::Form).map(Some)
    }

    fn add_redirect_and_scope(&self, standard: &mut Members, scope: Option<String>) {
        if self.configuration.add_redirect {
            standard.push(("redirect_uri", SecretValue::new(self.redirect_uri.as_str())));
        }
        if let Some(scope) = scope.filter(|_| self.configuration.add_scope) {
            standard.push(("scope", SecretValue::new(scope)));
        }
    }

    fn token_request(
        &self,
        endpoint: Url,
        mut standard: Members,
        extra: Vec<(String, SecretValue)>,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Result<TokenRequest, RequestError> {
        let authorization = self.authenticate(&endpoint, &mut standard, now, entropy)?;
        let members = self.assembled(standard, extra);
        self.written(endpoint, authorization, &members, self.configuration.token_format)
    }

    /// Adds the client's credential to the members, or gives the header that carries it.
    fn authenticate(
        &self,
        endpoint: &Url,
        standard: &mut Members,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Result<Option<HeaderValue>, RequestError> {
        let configuration = self.configuration;
        let client_id = configuration.client_id.as_str();
        match &configuration.token_auth {
            ClientAuthentication::Basic(secret) => return basic(client_id, secret.expose()).map(Some),
            ClientAuthentication::None => standard.push(("client_id", SecretValue::new(client_id))),
            ClientAuthentication::Post(secret) => {
                standard.push(("client_id", SecretValue::new(client_id)));
                standard.push(("client_secret", SecretValue::new(secret.expose())));
            }
            ClientAuthentication::PrivateKeyJwt(key) => {
                let audience = configuration.issuer.as_deref().unwrap_or(endpoint.as_str());
                let assertion = Assertion { client_id, audience, now, entropy }.sign(key)?;
                standard.push(("client_id", SecretValue::new(client_id)));
                standard.push(("client_assertion_type", SecretValue::new(ASSERTION_TYPE)));
                standard.push(("client_assertion", assertion));
            }
        }
        Ok(None)
    }

    fn rendered(&self, parameters: &Parameters) -> Vec<(String, SecretValue)> {
        parameters.iter().map(|(name, value)| (name.clone(), render(value, self.variables))).collect()
    }

    fn assembled(&self, standard: Members, extra: Vec<(String, SecretValue)>) -> Vec<(String, SecretValue)> {
        let names = &self.configuration.parameter_names.token;
        assemble(standard, Customisation { extra, fixed: &FIXED, names })
    }

    fn written(
        &self,
        endpoint: Url,
        authorization: Option<HeaderValue>,
        members: &[(String, SecretValue)],
        format: TokenFormat,
    ) -> Result<TokenRequest, RequestError> {
        let (content_type, body) = match format {
            TokenFormat::Form => ("application/x-www-form-urlencoded", form(members)),
            TokenFormat::Json => ("application/json", json(members)?),
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("cloudlink/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        for (name, value) in &self.configuration.token_headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| RequestError::Header)?;
            if FRAMING.contains(&name) {
                return Err(RequestError::Header);
            }
            headers.insert(name, sensitive(render(value, self.variables).expose())?);
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        Ok(TokenRequest { endpoint, headers, body })
    }
}

pub(super) fn authority(endpoint: &Url) -> String {
    let host = endpoint.host_str().unwrap_or_default();
    endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// RFC 6749 §2.3.1: both halves form-url-encoded before they are joined.
pub(super) fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, RequestError> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret)));
    sensitive(&Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
}

fn sensitive(value: &str) -> Result<HeaderValue, RequestError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| RequestError::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn form(members: &[(String, SecretValue)]) -> Zeroizing<Vec<u8>> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in members {
        form.append_pair(name, value.expose());
    }
    Zeroizing::new(form.finish().into_bytes())
}

fn json(members: &[(String, SecretValue)]) -> Result<Zeroizing<Vec<u8>>, RequestError> {
    let object: BTreeMap<_, _> = members.iter().map(|(name, value)| (name, value.expose())).collect();
    serde_json::to_vec(&object).map(Zeroizing::new).map_err(RequestError::Json)
}

/// The configured scope without what was not granted, in the configured spelling; whole where the grant
/// says nothing that we understand (F06).
fn narrowed(configured: &str, granted: Option<&str>) -> String {
    let separator = |c: char| c.is_whitespace() || c == ',';
    let pieces = |scope: &'_ str| -> BTreeSet<String> {
        scope.split(separator).filter(|piece| !piece.is_empty()).map(str::to_owned).collect()
    };
    let (asked, granted) = (pieces(configured), pieces(granted.unwrap_or_default()));
    if granted.is_empty() || granted == asked || !granted.is_subset(&asked) {
        return configured.to_owned();
    }
    let between = configured.find(separator).and_then(|at| configured.get(at..)?.chars().next());
    let kept: Vec<&str> = configured.split(separator).filter(|piece| granted.contains(*piece)).collect();
    kept.join(&between.map(String::from).unwrap_or_default())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
