//! Services that give a refresh token only to who asks for one in their own way, and say so in no metadata.

use std::collections::BTreeMap;

use super::{
    Finding,
    Severity::{Info, Warning},
};
use crate::domain::plugin::OauthConfiguration;

/// Host of `auth_endpoint`, parameter, the value that brings a refresh token.
const PARAMETERS: [(&str, &str, &str); 5] = [
    ("accounts.google.com", "access_type", "offline"),
    ("nestservices.google.com", "access_type", "offline"),
    ("www.reddit.com", "duration", "permanent"),
    ("ssl.reddit.com", "duration", "permanent"),
    ("www.dropbox.com", "token_access_type", "offline"),
];

/// Host of `auth_endpoint`, the scope that brings a refresh token.
const SCOPES: [(&str, &str); 3] = [
    ("login.microsoftonline.com", "offline_access"),
    ("auth.tesla.com", "offline_access"),
    ("api.prod.whoop.com", "offline"),
];

/// Where people are asked, without a port.
fn host(configuration: &OauthConfiguration) -> String {
    let origin = configuration.auth_endpoint.origin(&BTreeMap::new());
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    host.split(':').next().unwrap_or_default().to_owned()
}

/// Whether `scope` has `word` in it, whatever stands between words.
pub(super) fn has_scope(scope: Option<&str>, word: &str) -> bool {
    scope.is_some_and(|scope| scope.split([' ', ',', '+', ';']).any(|piece| piece == word))
}

/// What is missing for a refresh token.
pub(super) fn missing_parameters(configuration: &OauthConfiguration) -> Vec<Finding> {
    let host = host(configuration);
    let sent = |name: &str| configuration.parameters.get(name).map(|value| value.expose().to_owned());
    let mut findings = Vec::new();
    for (service, name, value) in PARAMETERS.into_iter().filter(|(service, ..)| *service == host) {
        if sent(name).as_deref() != Some(value) {
            let detail = format!(
                "{service} gives a refresh token only with {name}={value}: without it people link again each time a \
                 token ends"
            );
            findings.push(Finding::about(Warning, "no_refresh_token", format!("/parameters/{name}"), detail));
        } else if host.ends_with("google.com") && sent("prompt").as_deref() != Some("consent") {
            let detail = "Google gives a refresh token only at the first consent: with prompt=consent it does again \
                          when a person links once more";
            findings.push(Finding::about(Info, "prompt_absent", "/parameters/prompt", detail));
        }
    }
    for (service, word) in SCOPES.into_iter().filter(|(service, _)| *service == host) {
        if !has_scope(configuration.scope.as_deref(), word) {
            let detail = format!("{service} gives a refresh token only with the scope {word}: add it");
            findings.push(Finding::about(Warning, "no_refresh_token", "/scope", detail));
        }
    }
    findings
}
