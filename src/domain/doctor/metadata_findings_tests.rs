use serde_json::{Value, json};

use super::*;
use crate::domain::{
    address::EgressPolicy,
    doctor::Severity,
    plugin::{Document, parse},
};

fn configuration(changes: &Value) -> OauthConfiguration {
    let mut members = json!({
        "name": "n", "client_id": "c", "client_secret": "s", "addRedirect": true, "redirect_uri": "own",
        "auth_endpoint": "https://p.example/a", "token_endpoint": "https://p.example/t", "scope": "read",
    });
    members.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let document = Document::new(members.as_object().unwrap().clone());
    parse(&document, EgressPolicy::PublicOnly).unwrap().configuration
}

fn metadata(changes: &Value) -> ServerMetadata {
    let mut document = json!({
        "issuer": "https://p.example", "authorization_endpoint": "https://p.example/a",
        "token_endpoint": "https://p.example/t",
    });
    document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    ServerMetadata::parse(document.as_object().unwrap()).unwrap()
}

fn findings(ours: &Value, theirs: &Value) -> Vec<Finding> {
    of_metadata(&configuration(ours), &BTreeMap::new(), &metadata(theirs))
}

/// The severity, code and field of the only finding.
#[track_caller]
fn only(ours: &Value, theirs: &Value) -> (Severity, &'static str, String, String) {
    let mut findings = findings(ours, theirs);
    let found = findings.pop().expect("a finding");
    assert_eq!(findings, [], "one finding");
    (found.severity, found.code, found.field.unwrap_or_default(), found.detail)
}

#[track_caller]
fn is(ours: &Value, theirs: &Value, severity: Severity, code: &str, field: &str) {
    let found = only(ours, theirs);
    assert_eq!((found.0, found.1, found.2.as_str()), (severity, code, field), "{}", found.3);
}

#[track_caller]
fn none(ours: &Value, theirs: &Value) {
    assert_eq!(findings(ours, theirs), []);
}

#[test]
fn where_both_agree_nothing_is_found() {
    none(&json!({}), &json!({}));
    none(
        &json!({"issuer": "https://p.example", "iss_required": true, "revocation_endpoint": "https://p.example/r",
                "scope": "read offline_access", "auth_endpoint": "https://p.example/a?tenant=1"}),
        &json!({"authorization_response_iss_parameter_supported": true, "revocation_endpoint": "https://p.example/r",
                "scopes_supported": ["read", "offline_access"], "code_challenge_methods_supported": ["plain", "S256"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_post"]}),
    );
}

#[test]
fn another_issuer_is_an_error_since_every_redirect_would_be_refused() {
    is(&json!({"issuer": "https://p.example/"}), &json!({}), Error, "issuer_mismatch", "/issuer");
    let (.., detail) = only(&json!({"issuer": "https://q.example"}), &json!({}));
    assert!(detail.contains("https://p.example"), "{detail}");
}

#[test]
fn an_iss_that_is_sent_should_be_compared_and_one_that_is_not_should_not_be_required() {
    let sends = json!({"authorization_response_iss_parameter_supported": true});
    is(&json!({}), &sends, Warning, "issuer_absent", "/issuer");
    none(&json!({"issuer": "https://p.example"}), &sends);
    let required = json!({"issuer": "https://p.example", "iss_required": true});
    is(&required, &json!({}), Warning, "iss_not_announced", "/iss_required");
    none(&required, &sends);
}

#[test]
fn endpoints_that_differ_are_told_with_the_servers_own() {
    for (member, theirs, code) in [
        ("auth_endpoint", "authorization_endpoint", "authorization_endpoint_mismatch"),
        ("token_endpoint", "token_endpoint", "token_endpoint_mismatch"),
    ] {
        let changes = json!({ theirs: "https://p.example/other" });
        is(&json!({}), &changes, Warning, code, &format!("/{member}"));
        assert!(only(&json!({}), &changes).3.contains("https://p.example/other"));
    }
    let revocation = json!({"revocation_endpoint": "https://p.example/r"});
    is(&json!({}), &revocation, Info, "revocation_available", "/revocation_endpoint");
    let other = json!({"revocation_endpoint": "https://p.example/other"});
    is(&other, &revocation, Warning, "revocation_endpoint_mismatch", "/revocation_endpoint");
}

#[test]
fn an_endpoint_is_compared_with_its_variables_filled_in_and_not_without_them() {
    let ours = json!({"auth_endpoint": "https://p.example/{home}/a", "variables": {"home": {}}});
    none(&ours, &json!({}));
    let values = BTreeMap::from([("home".to_owned(), "h".to_owned())]);
    let compare = |theirs: &str| {
        of_metadata(&configuration(&ours), &values, &metadata(&json!({ "authorization_endpoint": theirs })))
    };
    assert_eq!(compare("https://p.example/h/a"), []);
    assert_eq!(compare("https://p.example/a").len(), 1);
}

#[test]
fn client_authentication_that_is_not_offered_is_told_with_what_is() {
    let methods = |list: &[&str]| json!({ "token_endpoint_auth_methods_supported": list });
    let basic = methods(&["client_secret_basic", "none"]);
    is(&json!({}), &basic, Warning, "token_auth_unsupported", "/token_auth");
    assert!(only(&json!({}), &basic).3.ends_with("basic, none"));
    none(&json!({"token_auth": "basic"}), &basic);
    none(&json!({"token_auth": "none"}), &basic);
    none(&json!({}), &methods(&["client_secret_post"]));
    is(&json!({}), &methods(&["<script>"]), Warning, "token_auth_unsupported", "/token_auth");
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    let signed = json!({"token_auth": "private_key_jwt", "private_key": key});
    is(&signed, &basic, Warning, "token_auth_unsupported", "/token_auth");
    none(&signed, &methods(&["private_key_jwt"]));
}

#[test]
fn pkce_follows_what_the_server_offers() {
    let methods = |list: &[&str]| json!({ "code_challenge_methods_supported": list });
    is(&json!({}), &methods(&["plain"]), Warning, "pkce_unsupported", "/pkce");
    is(&json!({"pkce": false}), &methods(&["S256"]), Warning, "pkce_available", "/pkce");
    none(&json!({"pkce": false}), &methods(&["plain"]));
    none(&json!({}), &json!({}));
}

#[test]
fn scopes_are_compared_and_offline_access_is_missed() {
    let listed = |list: &[&str]| json!({ "scopes_supported": list });
    is(&json!({"scope": "read raed"}), &listed(&["read"]), Info, "scope_unlisted", "/scope");
    none(&json!({"scope": "a,b"}), &listed(&["a", "b"]));
    none(&json!({"scope": "a;b"}), &listed(&["a;b"]));
    is(&json!({}), &listed(&["read", "offline_access"]), Warning, "no_refresh_token", "/scope");
    none(&json!({"scope": "read,offline_access"}), &listed(&["read", "offline_access"]));
}

#[test]
fn grants_that_are_not_offered_are_told() {
    let grants = |list: &[&str]| json!({ "grant_types_supported": list });
    is(&json!({}), &grants(&["authorization_code"]), Warning, "no_refresh_token", "");
    is(&json!({}), &grants(&["refresh_token"]), Warning, "grant_unsupported", "");
    none(&json!({"token_parameters": {"grant_type": "own"}}), &grants(&["refresh_token"]));
}

#[test]
fn the_shared_redirect_uri_is_advised_against_where_no_iss_is_sent() {
    let shared = json!({"redirect_uri": "shared"});
    is(&shared, &json!({}), Warning, "shared_redirect_uri", "/redirect_uri");
    let unknown = without_metadata(&configuration(&shared));
    assert_eq!(
        unknown.iter().map(|found| (found.severity, found.code)).collect::<Vec<_>>(),
        [(Info, "shared_redirect_uri")]
    );
    assert_eq!(without_metadata(&configuration(&json!({}))), []);
    let sends = json!({"authorization_response_iss_parameter_supported": true});
    none(&json!({"redirect_uri": "shared", "issuer": "https://p.example"}), &sends);
}

#[test]
fn e08_no_word_of_the_metadata_is_shown_but_urls() {
    let hostile = json!({
        "issuer": "https://p.example/i", "scopes_supported": ["canary"], "grant_types_supported": ["canary"],
        "token_endpoint_auth_methods_supported": ["canary"], "code_challenge_methods_supported": ["canary"],
        "authorization_endpoint": "canary", "revocation_endpoint": "javascript:canary", "canary": "canary",
    });
    let findings = findings(&json!({"issuer": "https://p.example"}), &hostile);
    assert!(findings.len() >= 5, "{findings:?}");
    assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
}
