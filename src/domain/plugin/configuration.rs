//! What a configuration means, member by member (the contract's two tables).

use std::collections::{BTreeMap, BTreeSet};

use super::{endpoint::EndpointTemplate, pattern::Pattern};
use crate::domain::{
    flow::UnknownWord,
    secret::{ClientSecret, PrivateKeyPem, SecretValue},
};

/// Extra members of a request, in the order of their names.
pub type Parameters = BTreeMap<String, SecretValue>;

/// A plugin's OAuth configuration, valid as a whole. Made by [`super::parse`] only.
#[derive(Debug, Clone)]
pub struct OauthConfiguration {
    /// What people call the service.
    pub name: String,
    /// The client identifier at the provider (RFC 6749 §2.2).
    pub client_id: String,
    /// How the client authenticates at the token endpoint, with the credential that it needs.
    pub token_auth: ClientAuthentication,
    /// Where the browser is sent (RFC 6749 §3.1).
    pub auth_endpoint: EndpointTemplate,
    /// Where the code is exchanged (RFC 6749 §3.2).
    pub token_endpoint: EndpointTemplate,
    /// Where tokens are refreshed; the token endpoint unless given.
    pub refresh_endpoint: Option<EndpointTemplate>,
    /// Where tokens are revoked on unlink (RFC 7009).
    pub revocation_endpoint: Option<EndpointTemplate>,
    /// One opaque string, encoded once. Never empty.
    pub scope: Option<String>,
    /// `scope` also in token requests.
    pub add_scope: bool,
    /// `redirect_uri` also in token requests.
    pub add_redirect: bool,
    /// Extra members of the authorization request.
    pub parameters: Parameters,
    /// Extra members of token requests.
    pub token_parameters: Parameters,
    /// Extra members of refresh requests; `token_parameters` unless given.
    pub refresh_parameters: Option<Parameters>,
    /// How token requests are written.
    pub token_format: TokenFormat,
    /// Whether a code challenge is sent.
    pub pkce: Pkce,
    /// Values asked per slot, used as `{name}`.
    pub variables: BTreeMap<String, Variable>,
    /// Extra query members of the redirect that are passed on; those with a pattern may stand in `token_endpoint`.
    pub callback_parameters: BTreeMap<String, Option<Pattern>>,
    /// Renamed members.
    pub parameter_names: ParameterNames,
    /// Where the provider's answer keeps a member: our name → path.
    pub response_fields: BTreeMap<String, FieldPath>,
    /// Lifetime of an access token whose answer names none, seconds.
    pub default_expires_in: Option<u32>,
    /// Refresh this many seconds before expiry.
    pub refresh_margin: Option<u32>,
    /// Extra headers of token requests, by lower-case name.
    pub token_headers: BTreeMap<String, SecretValue>,
    /// The provider's issuer identifier, compared as a plain string (RFC 9207).
    pub issuer: Option<String>,
    /// Whether a callback without `iss` is refused.
    pub iss_required: bool,
    /// Which of the two redirect URIs is sent.
    pub redirect_uri: RedirectUriKind,
    /// Who keeps the tokens.
    pub custody: Custody,
}

/// Client authentication at the token endpoint (RFC 6749 §2.3, RFC 7523 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_id` and `client_secret` in the body.
    Post(ClientSecret),
    /// HTTP Basic, both form-url-encoded first (RFC 6749 §2.3.1).
    Basic(ClientSecret),
    /// A public client: `client_id` in the body.
    None,
    /// A signed assertion.
    PrivateKeyJwt(PrivateKeyPem),
}

/// How token requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFormat {
    /// `application/x-www-form-urlencoded`, the standard.
    Form,
    /// `application/json`.
    Json,
}

/// Proof key for code exchange (RFC 7636).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pkce {
    /// An S256 challenge is sent.
    S256,
    /// None is sent, for a provider that rejects it.
    Off,
}

/// The two redirect URIs every plugin has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedirectUriKind {
    /// `PUBLIC/api/cloudlink/redirect`, for registrations that exist already.
    Shared,
    /// `PUBLIC/api/cloudlink/redirect/{plugin}`.
    Own,
}

/// Who keeps the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Custody {
    /// The broker keeps and refreshes them.
    Broker,
    /// The plugin does; the broker erases them once acknowledged.
    Device,
}

impl Custody {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Device => "device",
        }
    }
}

impl std::str::FromStr for Custody {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "broker" => Ok(Self::Broker),
            "device" => Ok(Self::Device),
            _ => Err(UnknownWord),
        }
    }
}

/// A value asked per slot.
#[derive(Debug, Clone)]
pub struct Variable {
    /// What the home owner is asked for.
    pub title: Option<String>,
    /// What a value must look like, as a whole.
    pub pattern: Option<Pattern>,
    /// Used where the slot gives none.
    pub default: Option<String>,
    /// The only values allowed, where not empty.
    pub allowed: BTreeSet<String>,
}

/// Renamed members: standard name → the provider's, or `None` to leave it out.
#[derive(Debug, Clone, Default)]
pub struct ParameterNames {
    /// Of the authorization request.
    pub authorization: BTreeMap<String, Option<String>>,
    /// Of token requests.
    pub token: BTreeMap<String, Option<String>>,
    /// Of the callback's query: `code`, `error` or `iss` → the provider's name. Never `state`.
    pub callback: BTreeMap<String, String>,
}

impl ParameterNames {
    /// What the provider calls `member` in its callback.
    pub fn in_callback<'a>(&'a self, member: &'a str) -> &'a str {
        self.callback.get(member).map_or(member, String::as_str)
    }
}

/// A dotted path into a JSON object: `authed_user.access_token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(pub Vec<String>);
