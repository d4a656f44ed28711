//! For tests: the requests that a configuration leads to, in the words in which they leave. State, verifier,
//! code, entropy and time are fixed.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::Value;
use time::{OffsetDateTime, macros::datetime};
use url::Url;

use super::{Registration, Revocable, TokenRequest, fake::FixedEntropy};
use crate::domain::{
    address::EgressPolicy,
    ids::PluginId,
    plugin::{Document, OauthConfiguration, parse},
    public_url::PublicUrl,
    secret::{AuthorizationCode, CodeVerifier, FlowState, RefreshToken},
};

pub(super) const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

/// What a person and a callback bring along.
#[derive(Default)]
pub(super) struct Given<'a> {
    pub(super) plugin: &'a str,
    pub(super) variables: &'a [(String, String)],
    pub(super) callback: &'a [(String, String)],
    pub(super) without_refresh_token: bool,
}

/// The requests, each with what it is: where it goes, then headers and members, one a line.
pub(super) type Requests = Vec<(&'static str, Vec<String>)>;

pub(super) fn parsed(members: &Value) -> OauthConfiguration {
    let document = Document::new(members.as_object().unwrap().clone());
    parse(&document, EgressPolicy::PublicOnly).unwrap_or_else(|errors| panic!("{errors:?}")).configuration
}

/// All that a configuration has sent: authorization, exchange, refresh and, where there is one, revocation.
pub(super) fn requests(configuration: &OauthConfiguration, given: &Given<'_>) -> Requests {
    let map = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
    let variables = configuration.variables(&map(given.variables)).unwrap();
    let callback = map(given.callback);
    let public: PublicUrl = "https://link.example".parse().unwrap();
    let plugin: PluginId = given.plugin.parse().unwrap();
    let redirect_uri = Url::parse(&public.redirect_uri(configuration.redirect_uri, &plugin)).unwrap();
    let registration = Registration {
        configuration,
        variables: &variables,
        callback: &callback,
        redirect_uri: &redirect_uri,
        egress: EgressPolicy::PublicOnly,
    };
    let (state, verifier) = (FlowState::new("the-state"), CodeVerifier::new("the-verifier"));
    let (code, token) = (AuthorizationCode::new("the-code"), RefreshToken::new("the-refresh-token"));
    let entropy = FixedEntropy(7);
    let url = registration.authorization_url(&state, Some(&verifier)).unwrap();
    let exchange = registration.exchange(&code, Some(&verifier), NOW, &entropy).unwrap();
    let refreshable = (!given.without_refresh_token).then_some(&token);
    let refresh = registration.refresh(refreshable, None, NOW, &entropy).unwrap();
    let revocation = registration.revocation(Revocable::RefreshToken(&token), NOW, &entropy).unwrap();
    let mut requests = vec![
        ("authorization", told_url("GET", &url)),
        ("exchange", told(&exchange)),
        ("refresh", told(&refresh)),
    ];
    requests.extend(revocation.map(|request| ("revocation", told(&request))));
    requests
}

/// One text of them.
pub(super) fn text(requests: &Requests) -> String {
    let part = |(what, lines): &(&str, Vec<String>)| format!("{what}\n  {}\n", lines.join("\n  "));
    requests.iter().map(part).collect::<Vec<_>>().join("\n")
}

fn told_url(method: &str, url: &Url) -> Vec<String> {
    let text = url.as_str();
    let (address, query) = text.rsplit_once('?').unwrap_or((text, ""));
    let mut lines = vec![format!("{method} {address}")];
    lines.extend(query.split('&').filter(|pair| !pair.is_empty()).map(|pair| format!("?{pair}")));
    lines
}

fn told(request: &TokenRequest) -> Vec<String> {
    let mut lines = told_url("POST", &request.endpoint);
    lines.extend(headers(&request.headers));
    let body = std::str::from_utf8(&request.body).unwrap();
    if let Ok(json) = serde_json::from_str::<Value>(body) {
        lines.extend(json.as_object().unwrap().iter().map(|(name, value)| format!("{name}: {value}")));
    } else {
        lines.extend(body.split('&').map(member));
    }
    lines
}

fn headers(headers: &HeaderMap) -> Vec<String> {
    let value = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, text)| match value(text).strip_prefix("Basic ") {
            Some(pair) if *name == AUTHORIZATION => {
                let pair = String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap();
                format!("{name}: Basic base64({pair})")
            }
            Some(_) | None => {
                format!("{name}: {}", value(text).replace(env!("CARGO_PKG_VERSION"), "VERSION"))
            }
        })
        .collect();
    lines.sort();
    lines
}

/// A pair of a form as it is, but for an assertion, which is shown opened.
fn member(pair: &str) -> String {
    let Some(jwt) = pair.strip_prefix("client_assertion=") else { return pair.to_owned() };
    let opened = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let parts: Vec<&str> = jwt.split('.').collect();
    assert_eq!(parts.len(), 3);
    format!("client_assertion={}.{}", opened(parts[0]), opened(parts[1]))
}
