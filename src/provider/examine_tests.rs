use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::{
    domain::{
        address::EgressPolicy,
        plugin::{Document, parse},
    },
    provider::{
        Limits,
        fake::{FixedEntropy, Provider, ScriptedLookup, answer, read_request},
    },
};

fn configuration(changes: &Value) -> OauthConfiguration {
    let mut members = json!({
        "name": "n", "client_id": "the-client", "client_secret": "the-secret", "addRedirect": true,
        "redirect_uri": "own", "scope": "read", "token_headers": {"X-Key": "the-secret"},
    });
    members.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let document = Document::new(members.as_object().unwrap().clone());
    parse(&document, EgressPolicy::AllowPrivate).unwrap().configuration
}

/// A provider that answers by path, and keeps what it was asked.
async fn provider(pages: Vec<(&'static str, u16, String)>) -> (Provider, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (pages, kept) = (Arc::new(pages), Arc::clone(&seen));
    let provider = Provider::serving(move |mut stream| {
        let (pages, kept) = (Arc::clone(&pages), Arc::clone(&kept));
        async move {
            let request = read_request(&mut stream).await?;
            let path = request.split([' ', '?']).nth(1).unwrap().to_owned();
            kept.lock().unwrap().push(request);
            let page = pages.iter().find(|(known, ..)| *known == path);
            let (status, body) = page.map_or((404, "canary"), |(_, status, body)| (*status, body.as_str()));
            let headers = if status == 302 { "location: http://127.0.0.1:9/canary\r\n" } else { "" };
            stream.write_all(&answer(status, headers, body.as_bytes())).await
        }
    })
    .await;
    (provider, seen)
}

fn client(egress: EgressPolicy, limits: Limits) -> ProviderClient {
    let lookup = ScriptedLookup::new([&["127.0.0.1"][..]]);
    ProviderClient::with_lookup(egress, limits, b"", lookup).unwrap()
}

async fn examine(client: &ProviderClient, changes: &Value) -> Vec<Finding> {
    let redirect_uri = Url::parse("https://link.example/api/cloudlink/redirect/acme").unwrap();
    client.examine(&configuration(changes), Some(&redirect_uri), &FixedEntropy(1)).await
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, &str)> {
    findings.iter().map(|finding| (finding.code, finding.field.as_deref().unwrap_or_default())).collect()
}

fn at(port: u16) -> Value {
    json!({
        "auth_endpoint": format!("http://127.0.0.1:{port}/a"), "token_endpoint": format!("http://127.0.0.1:{port}/t"),
    })
}

#[tokio::test]
async fn metadata_is_read_and_compared_and_nothing_secret_is_sent() {
    let page = |status, body: &str| vec![("/a", status, body.to_owned())];
    let (silent, seen) = provider(page(302, "")).await;
    let client = client(EgressPolicy::AllowPrivate, Limits::default());
    assert_eq!(examine(&client, &at(silent.port())).await, []);
    let requests = seen.lock().unwrap().clone();
    assert_eq!(requests.len(), 3, "the page, and two places of metadata: {requests:?}");
    for request in &requests {
        assert!(request.starts_with("GET "), "{request}");
        let lower = request.to_ascii_lowercase();
        assert!(!lower.contains("secret") && !lower.contains("authorization:"), "{request}");
    }
    let page_request = requests.iter().find(|request| request.starts_with("GET /a?")).unwrap();
    assert!(
        page_request.contains("redirect_uri=https%3A%2F%2Flink.example%2Fapi%2Fcloudlink%2Fredirect%2Facme")
    );
}

#[tokio::test]
async fn a_disagreement_with_the_configured_issuers_metadata_is_found_in_either_place() {
    for place in ["/.well-known/oauth-authorization-server/realm", "/realm/.well-known/openid-configuration"]
    {
        let document =
            json!({"issuer": "https://q.example/realm", "code_challenge_methods_supported": ["plain"]});
        let (provider, _) =
            provider(vec![("/a", 200, String::new()), (place, 200, document.to_string())]).await;
        let mut changes = at(provider.port());
        changes["issuer"] = format!("http://127.0.0.1:{}/realm", provider.port()).into();
        let client = client(EgressPolicy::AllowPrivate, Limits::default());
        let findings = examine(&client, &changes).await;
        assert_eq!(
            codes(&findings),
            [("issuer_mismatch", "/issuer"), ("pkce_unsupported", "/pkce")],
            "{place}"
        );
    }
}

#[tokio::test]
async fn metadata_of_another_origin_is_not_believed_without_an_issuer() {
    let document = json!({"issuer": "https://evil.example", "code_challenge_methods_supported": []});
    let place = "/.well-known/openid-configuration";
    let (provider, _) = provider(vec![("/a", 200, String::new()), (place, 200, document.to_string())]).await;
    let client = client(EgressPolicy::AllowPrivate, Limits::default());
    assert_eq!(examine(&client, &at(provider.port())).await, []);
}

#[tokio::test]
async fn at_most_eight_requests_are_made_and_each_host_is_asked_once() {
    let mut providers = Vec::new();
    let mut changes = json!({});
    for member in ["auth_endpoint", "token_endpoint", "refresh_endpoint", "revocation_endpoint"] {
        let (provider, seen) = provider(Vec::new()).await;
        changes[member] = format!("http://127.0.0.1:{}/x", provider.port()).into();
        providers.push((provider, seen));
    }
    let client = client(EgressPolicy::AllowPrivate, Limits::default());
    assert_eq!(codes(&examine(&client, &changes).await), [("endpoint_not_found", "/auth_endpoint")]);
    let asked: Vec<usize> = providers.iter().map(|(_, seen)| seen.lock().unwrap().len()).collect();
    assert_eq!(asked, [3, 3, 1, 1]);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable_and_one_that_is_silent_timed_out() {
    let gone = Provider::answering(Vec::new()).await;
    let unreachable =
        json!({"auth_endpoint": "http://127.0.0.2:9/a", "token_endpoint": "http://127.0.0.2:9/t"});
    let client = |exchange| client(EgressPolicy::AllowPrivate, Limits { exchange, ..Limits::default() });
    let patient = client(Duration::from_secs(20));
    assert_eq!(codes(&examine(&patient, &unreachable).await), [("unreachable", "/auth_endpoint")]);
    assert_eq!(codes(&examine(&patient, &at(gone.port())).await), [("unreachable", "/auth_endpoint")]);
    let silent = Provider::serving(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    let hasty = client(Duration::from_secs(1));
    assert_eq!(codes(&examine(&hasty, &at(silent.port())).await), [("timed_out", "/auth_endpoint")]);
    let no_http = Provider::answering(b"SSH-2.0-canary\r\n\r\n".to_vec()).await;
    assert_eq!(codes(&examine(&patient, &at(no_http.port())).await), [("no_http", "/auth_endpoint")]);
}

#[tokio::test]
async fn e02_a_name_of_a_private_address_is_told_and_nothing_connects() {
    let provider = Provider::answering(answer(200, "", b"{}")).await;
    let port = provider.port();
    let changes = json!({
        "auth_endpoint": format!("https://p.example:{port}/a"), "token_endpoint": format!("https://q.example:{port}/t"),
        "issuer": format!("https://r.example:{port}"),
    });
    let guarded = client(EgressPolicy::PublicOnly, Limits::default());
    let findings = examine(&guarded, &changes).await;
    assert_eq!(
        codes(&findings),
        [("private_address", "/auth_endpoint"), ("private_address", "/token_endpoint")]
    );
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn a_refusal_that_names_the_redirect_uri_is_a_hint_and_its_page_stays_unread() {
    let (refusing, _) = provider(vec![("/a", 400, "Error: Redirect_URI canary".to_owned())]).await;
    let client = client(EgressPolicy::AllowPrivate, Limits::default());
    let findings = examine(&client, &at(refusing.port())).await;
    assert_eq!(codes(&findings), [("redirect_uri_refused", "/redirect_uri")]);
    assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
    let without = client.examine(&configuration(&at(refusing.port())), None, &FixedEntropy(1)).await;
    assert_eq!(without, [], "none was sent");
}

#[tokio::test]
async fn an_endpoint_that_waits_for_a_slots_value_is_not_asked() {
    let (provider, seen) = provider(vec![("/eu/t", 400, String::new())]).await;
    let port = provider.port();
    let changes = json!({
        "auth_endpoint": format!("http://127.0.0.1:{port}/{{home}}/a"),
        "token_endpoint": format!("http://127.0.0.1:{port}/{{region}}/t"),
        "variables": {"home": {}, "region": {"enum": ["us", "eu"]}},
    });
    let client = client(EgressPolicy::AllowPrivate, Limits::default());
    assert_eq!(codes(&examine(&client, &changes).await), [("not_checked", "/auth_endpoint")]);
    assert!(
        seen.lock().unwrap().iter().any(|request| request.starts_with("GET /eu/t ")),
        "the first that is allowed"
    );
}
