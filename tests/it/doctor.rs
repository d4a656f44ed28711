//! What the doctor tells the owner of a plugin, over HTTP, with a provider that says things of itself.

use assert_cmd::Command;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Home, Provider, Service, call_with};

/// The findings of plugin `acme`, as severity, code and field.
async fn examine(service: &Service) -> Vec<(String, String, String)> {
    let found = service.owner(Method::POST, "/api/plugins/acme/doctor", None).await.expect(200);
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap_or_default().to_owned();
    let findings = found.as_array().unwrap().iter();
    for finding in found.as_array().unwrap() {
        assert!(finding["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{finding}");
    }
    findings.map(|found| (text(found, "severity"), text(found, "code"), text(found, "field"))).collect()
}

fn has(findings: &[(String, String, String)], severity: &str, code: &str, field: &str) -> bool {
    findings.iter().any(|(s, c, f)| (s.as_str(), c.as_str(), f.as_str()) == (severity, code, field))
}

async fn put(service: &Service, plugin: &str, configuration: Value) {
    let put = service.owner(Method::PUT, &format!("/api/plugins/{plugin}"), Some(configuration)).await;
    assert!(put.status < 300, "{}", put.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_disagrees_is_told_worst_first_and_no_credential_is_sent() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let issuer = provider.url.clone();
    provider.always(Answer::Json(200, json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/other"), "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"], "scopes_supported": ["read", "write", "offline_access"],
        "revocation_endpoint": format!("{issuer}/revoke"), "canary": "canary",
    })));
    put(&service, "acme", provider.configured(json!({"issuer": format!("{issuer}/"), "addRedirect": null})))
        .await;
    let findings = examine(&service).await;
    for (severity, code, field) in [
        ("error", "issuer_mismatch", "/issuer"),
        ("warning", "add_redirect_absent", "/addRedirect"),
        ("warning", "token_endpoint_mismatch", "/token_endpoint"),
        ("warning", "token_auth_unsupported", "/token_auth"),
        ("warning", "no_refresh_token", "/scope"),
        ("warning", "shared_redirect_uri", "/redirect_uri"),
        ("info", "revocation_available", "/revocation_endpoint"),
    ] {
        assert!(has(&findings, severity, code, field), "{code}: {findings:?}");
    }
    assert_eq!(findings.len(), 7, "{findings:?}");
    assert_eq!(findings[0].0, "error");
    assert_eq!(findings[6].0, "info");
    let asked = provider.requests();
    assert_eq!(asked.len(), 3, "{asked:?}");
    for request in asked {
        let told = format!("{request:?}");
        assert!(
            request.body.is_empty() && !told.contains("the-secret") && !told.contains("authorization\""),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_away_and_one_that_is_private_are_errors_of_a_200() {
    let service = Service::start().await;
    let away = json!({
        "name": "Acme", "client_id": "c", "client_secret": "s", "addRedirect": true, "redirect_uri": "own",
        "auth_endpoint": "http://127.0.0.1:1/a", "token_endpoint": "http://127.0.0.1:1/t",
    });
    put(&service, "acme", away.clone()).await;
    assert_eq!(examine(&service).await.len(), 1);
    assert!(has(&examine(&service).await, "error", "unreachable", "/auth_endpoint"));
    // Stored while private hosts were allowed, examined when they no longer are.
    let strict = service.replica_with(&[("EGRESS__ALLOW_PRIVATE", "false")]).await;
    let findings = examine(&strict).await;
    assert!(has(&findings, "error", "not_https", "/auth_endpoint"), "{findings:?}");
    assert!(has(&findings, "error", "not_https", "/token_endpoint"), "{findings:?}");
    put(
        &service,
        "acme",
        json!({
            "name": "Acme", "client_id": "c", "client_secret": "s", "addRedirect": true,
            "auth_endpoint": "https://192.168.1.1/a", "token_endpoint": "https://192.168.1.1/t",
        }),
    )
    .await;
    assert!(has(&examine(&strict).await, "error", "private_address", "/token_endpoint"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_names_the_redirect_uri_is_told_without_its_words() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    provider.always(Answer::Json(400, json!({"error": "redirect_uri canary-of-the-provider"})));
    put(&service, "acme", provider.configured(json!({"redirect_uri": "own"}))).await;
    let reply = service.owner(Method::POST, "/api/plugins/acme/doctor", None).await;
    assert!(!reply.text.contains("canary"), "{}", reply.text);
    let found = reply.expect(200);
    assert_eq!(found[0]["code"], "redirect_uri_refused");
    let detail = found[0]["detail"].as_str().unwrap();
    assert!(detail.contains("/api/cloudlink/redirect/acme"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_else_speaks_for_the_same_client_is_named() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    put(&service, "honest", provider.configuration()).await;
    put(&service, "acme", provider.configuration()).await;
    assert!(has(&examine(&service).await, "error", "awaiting_approval", "/auth_endpoint"));
    put(&service, "acme", provider.configured(json!({"redirect_uri": "own"}))).await;
    let harmless = examine(&service).await;
    assert!(harmless.iter().all(|(_, code, _)| code != "claimed_by_another"), "{harmless:?}");
    put(&service, "acme", provider.configuration()).await;
    service.owner(Method::POST, "/api/plugins/acme/approve", None).await;
    let reply = service.owner(Method::POST, "/api/plugins/acme/doctor", None).await.expect(200);
    let found = reply.as_array().unwrap().iter().find(|found| found["code"] == "claimed_by_another").unwrap();
    assert_eq!(found["severity"], "warning");
    assert!(found["detail"].as_str().unwrap().contains("honest"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_asks_and_only_ten_times_a_minute() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let token = home.token(&service).await;
    let path = "/api/plugins/acme/doctor";
    assert_eq!(call_with(&service, &token, Method::POST, path, None).await.status, 403);
    assert_eq!(service.request(Method::POST, path).send().await.unwrap().status(), 401);
    for _ in 0..10 {
        assert_eq!(service.owner(Method::POST, "/api/plugins/nobody/doctor", None).await.status, 404);
    }
    let asked = provider.requests().len();
    let refused = service.owner(Method::POST, path, None).await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(provider.requests().len(), asked, "and nobody was asked");
    service.clock.advance(time::Duration::minutes(1));
    assert_eq!(service.owner(Method::POST, path, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_examines_a_file_without_a_server_and_ends_with_1_at_an_error() {
    let (provider, folder) = (Provider::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("acme.json");
    let run = async |configuration: &Value, more: &'static [&'static str]| {
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut command = Command::cargo_bin("cloudlink").unwrap();
        command.env_clear().args(["doctor", "--file"]).arg(&file).args(more);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let sound = provider.configured(json!({"redirect_uri": "own"}));
    assert_eq!(run(&sound, &["--allow-private"]).await, (Some(0), "Nothing was found.\n".to_owned()));
    let (code, told) = run(&sound, &[]).await;
    assert_eq!(code, Some(1));
    assert!(
        told.starts_with("error    not_https\n         /auth_endpoint must begin with https://"),
        "{told}"
    );
    let (code, told) =
        run(&provider.configured(json!({"addRedirect": null})), &["--allow-private", "--json"]).await;
    let findings: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &findings[0]["code"]), (Some(0), &json!("add_redirect_absent")));
    assert!(!told.contains("the-secret"), "{told}");
}
