//! Where a configuration and an authorization server's metadata disagree.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::{
    Finding, ServerMetadata,
    Severity::{Error, Info, Warning},
    known_services::has_scope,
};
use crate::domain::plugin::{
    ClientAuthentication, EndpointTemplate, OauthConfiguration, Pkce, RedirectUriKind,
};

/// What metadata tells of a configuration whose variables have these values.
pub fn of_metadata(
    configuration: &OauthConfiguration,
    values: &BTreeMap<String, String>,
    metadata: &ServerMetadata,
) -> Vec<Finding> {
    let mut findings = issuer(configuration, metadata);
    findings.extend(endpoints(configuration, values, metadata));
    findings.extend(client_authentication(configuration, metadata));
    findings.extend(challenge(configuration, metadata));
    findings.extend(scopes(configuration, metadata));
    findings.extend(grants(configuration, metadata));
    findings.extend(shared_redirect(configuration, metadata.sends_iss, Warning));
    findings
}

/// What is to be said where no metadata was found.
pub fn without_metadata(configuration: &OauthConfiguration) -> Vec<Finding> {
    shared_redirect(configuration, false, Info).into_iter().collect()
}

fn issuer(configuration: &OauthConfiguration, metadata: &ServerMetadata) -> Vec<Finding> {
    let theirs = &metadata.issuer;
    match &configuration.issuer {
        Some(ours) if ours != theirs => {
            let detail = format!("is not the issuer that the server names: set it to {theirs}");
            vec![Finding::about(Error, "issuer_mismatch", "/issuer", detail)]
        }
        Some(_) if configuration.iss_required && !metadata.sends_iss => {
            let detail = "is on, and the server does not say that it sends iss: if it doesn't, every redirect is refused";
            vec![Finding::about(Warning, "iss_not_announced", "/iss_required", detail)]
        }
        None if metadata.sends_iss => {
            let detail = format!(
                "is absent, and the server sends iss: set issuer to {theirs} and iss_required to true"
            );
            vec![Finding::about(Warning, "issuer_absent", "/issuer", detail)]
        }
        Some(_) | None => Vec::new(),
    }
}

fn endpoints(
    configuration: &OauthConfiguration,
    values: &BTreeMap<String, String>,
    metadata: &ServerMetadata,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut compare = |member: &str, code, ours: Option<&EndpointTemplate>, theirs: Option<&Url>| {
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
        if !is_same(ours, values, theirs) {
            let detail = format!("is another address than the server names: {theirs}");
            findings.push(Finding::about(Warning, code, format!("/{member}"), detail));
        }
    };
    compare(
        "auth_endpoint",
        "authorization_endpoint_mismatch",
        Some(&configuration.auth_endpoint),
        metadata.authorization_endpoint.as_ref(),
    );
    compare(
        "token_endpoint",
        "token_endpoint_mismatch",
        Some(&configuration.token_endpoint),
        metadata.token_endpoint.as_ref(),
    );
    compare(
        "revocation_endpoint",
        "revocation_endpoint_mismatch",
        configuration.revocation_endpoint.as_ref(),
        metadata.revocation_endpoint.as_ref(),
    );
    if let (None, Some(theirs)) = (&configuration.revocation_endpoint, &metadata.revocation_endpoint) {
        let detail = format!("is absent: with {theirs} unlinking would end the tokens at the provider too");
        findings.push(Finding::about(Info, "revocation_available", "/revocation_endpoint", detail));
    }
    findings
}

/// Whether both are one address; a query is the author's own affair, and so is what needs a value.
fn is_same(ours: &EndpointTemplate, values: &BTreeMap<String, String>, theirs: &Url) -> bool {
    let filled = ours.placeholders().iter().all(|name| values.contains_key(*name));
    let Ok(mut ours) = ours.resolve(values, crate::domain::address::EgressPolicy::AllowPrivate) else {
        return true;
    };
    let mut theirs = theirs.clone();
    for url in [&mut ours, &mut theirs] {
        url.set_query(None);
        url.set_fragment(None);
    }
    !filled || ours == theirs
}

fn client_authentication(configuration: &OauthConfiguration, metadata: &ServerMetadata) -> Option<Finding> {
    let known = metadata.token_auth_methods.as_ref()?;
    let (ours, name) = match configuration.token_auth {
        ClientAuthentication::Post(_) => ("post", "client_secret_post"),
        ClientAuthentication::Basic(_) => ("basic", "client_secret_basic"),
        ClientAuthentication::None => ("none", "none"),
        ClientAuthentication::PrivateKeyJwt(_) => ("private_key_jwt", "private_key_jwt"),
    };
    if known.contains(name) {
        return None;
    }
    let others = [
        ("post", "client_secret_post"),
        ("basic", "client_secret_basic"),
        ("none", "none"),
        ("private_key_jwt", "private_key_jwt"),
    ];
    let offered: Vec<_> =
        others.iter().filter(|(_, name)| known.contains(*name)).map(|(word, _)| *word).collect();
    let detail = if offered.is_empty() {
        format!("is {ours}, which the server does not offer, nor any other that cloudlink knows")
    } else {
        format!("is {ours}, and the server offers: {}", offered.join(", "))
    };
    Some(Finding::about(Warning, "token_auth_unsupported", "/token_auth", detail))
}

fn challenge(configuration: &OauthConfiguration, metadata: &ServerMetadata) -> Option<Finding> {
    let known = metadata.code_challenge_methods.as_ref()?;
    match (configuration.pkce, known.contains("S256")) {
        (Pkce::S256, false) => {
            let detail =
                "is on, and the server does not offer S256: if it refuses the request, set pkce to false";
            Some(Finding::about(Warning, "pkce_unsupported", "/pkce", detail))
        }
        (Pkce::Off, true) => {
            let detail = "is off, and the server offers S256: set it to true";
            Some(Finding::about(Warning, "pkce_available", "/pkce", detail))
        }
        (Pkce::S256, true) | (Pkce::Off, false) => None,
    }
}

fn scopes(configuration: &OauthConfiguration, metadata: &ServerMetadata) -> Vec<Finding> {
    let Some(known) = &metadata.scopes else { return Vec::new() };
    let asked = configuration.scope.as_deref().unwrap_or_default();
    let pieces: BTreeSet<&str> =
        asked.split([' ', ',', '+', ';']).filter(|piece| !piece.is_empty()).collect();
    let mut findings = Vec::new();
    let unknown: Vec<&str> = pieces.iter().filter(|piece| !known.contains(**piece)).copied().collect();
    if !known.contains(asked) && !unknown.is_empty() {
        let detail = format!(
            "holds what the server's list of scopes does not ({}): check the spelling. Servers need not list all",
            unknown.join(", ")
        );
        findings.push(Finding::about(Info, "scope_unlisted", "/scope", detail));
    }
    if known.contains("offline_access") && !has_scope(Some(asked), "offline_access") {
        let detail = "lacks offline_access, with which the server gives a refresh token: without one people link again \
                      each time a token ends";
        findings.push(Finding::about(Warning, "no_refresh_token", "/scope", detail));
    }
    findings
}

fn grants(configuration: &OauthConfiguration, metadata: &ServerMetadata) -> Vec<Finding> {
    let Some(known) = &metadata.grant_types else { return Vec::new() };
    let mut findings = Vec::new();
    if !known.contains("authorization_code") && !configuration.token_parameters.contains_key("grant_type") {
        let detail = "the server does not offer the grant authorization_code: it may be the wrong server";
        findings.push(Finding::general(Warning, "grant_unsupported", detail));
    }
    if !known.contains("refresh_token") {
        let detail = "the server does not offer refreshing: people link again each time a token ends";
        findings.push(Finding::general(Warning, "no_refresh_token", detail));
    }
    findings
}

fn shared_redirect(
    configuration: &OauthConfiguration,
    sends_iss: bool,
    severity: super::Severity,
) -> Option<Finding> {
    (configuration.redirect_uri == RedirectUriKind::Shared && !sends_iss).then(|| {
        let detail = "is the shared one at a provider that is not known to send iss: with \"own\" no other plugin's \
                      provider can pass its codes off as this one's. Register the own redirect URI first";
        Finding::about(severity, "shared_redirect_uri", "/redirect_uri", detail)
    })
}

#[cfg(test)]
#[path = "metadata_findings_tests.rs"]
mod tests;
