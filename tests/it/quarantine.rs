//! On the shared redirect URI nobody speaks for another's authorization server without the owner's word.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Browser, Home, Provider, Service, service::Reply};

async fn put(service: &Service, plugin: &str, configuration: &Value) -> Value {
    let reply =
        service.owner(Method::PUT, &format!("/api/plugins/{plugin}"), Some(configuration.clone())).await;
    assert!(matches!(reply.status, 200 | 201), "{}", reply.text);
    reply.json
}

/// A provider, and plugins that speak for it or claim to.
struct Rivals {
    service: Service,
    honest: Provider,
    evil: Provider,
    home: Home,
}

impl Rivals {
    async fn start() -> Self {
        let (service, honest, evil) =
            (Service::start().await, Provider::start().await, Provider::start().await);
        let home = Home::enrol(&service, &honest).await;
        Self { service, honest, evil, home }
    }

    /// A plugin that names the honest authorization endpoint, with these changes; what a `connect` answers.
    async fn connect(&self, changes: Value) -> Reply {
        let mut configuration = self.honest.configuration();
        for (member, value) in changes.as_object().unwrap() {
            configuration[member] = value.clone();
        }
        put(&self.service, "rival", &configuration).await;
        self.home.call(&self.service, Method::PUT, &self.at(""), Some(json!({"plugin": "rival"}))).await;
        self.reconnect().await
    }

    async fn reconnect(&self) -> Reply {
        self.home.call(&self.service, Method::POST, &self.at("/connect"), Some(json!({}))).await
    }

    async fn approve(&self) -> u16 {
        self.service.owner(Method::POST, "/api/plugins/rival/approve", None).await.status
    }

    fn at(&self, rest: &str) -> String {
        format!("/api/devices/{}/slots/rival{rest}", self.home.device)
    }

    fn evil_token_endpoint(&self) -> String {
        format!("{}/token", self.evil.url)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_who_claims_anothers_authorization_server_waits_for_the_owner() {
    let rivals = Rivals::start().await;
    let evil = json!({"client_id": "other", "token_endpoint": rivals.evil_token_endpoint()});
    // The same client, another token server, or both; only another client at the very same servers is no claim.
    assert_eq!(rivals.connect(json!({})).await.expect(409)["code"], "awaiting_approval");
    assert_eq!(rivals.connect(evil.clone()).await.expect(409)["code"], "awaiting_approval");
    let by_owner = rivals.service.owner(Method::POST, &rivals.at("/connect"), Some(json!({}))).await;
    assert_eq!(by_owner.status, 409);
    assert_eq!(rivals.connect(json!({"client_id": "other"})).await.status, 201);

    // Quarantined, it claims nothing: who was there first is not disturbed, and may even come back.
    let same = put(&rivals.service, "rival", &rivals.honest.configuration()).await;
    assert_eq!(same["warnings"][0]["field"], "/auth_endpoint");
    rivals.home.connect(&rivals.service).await;
    let again = put(&rivals.service, "acme", &rivals.honest.configuration()).await;
    assert_eq!(again["warnings"], json!([]));
    rivals.home.connect(&rivals.service).await;

    let mut own_uri = evil.clone();
    own_uri["redirect_uri"] = "own".into();
    assert_eq!(rivals.connect(own_uri).await.status, 201, "its own redirect URI hurts nobody");

    // An approval is for what the owner saw.
    rivals.connect(evil).await.expect(409);
    assert_eq!(rivals.approve().await, 204);
    assert_eq!(rivals.reconnect().await.status, 201);
    assert_eq!(rivals.connect(json!({})).await.status, 409);
    assert_eq!(rivals.service.owner(Method::POST, "/api/plugins/nobody/approve", None).await.status, 404);
    assert!(rivals.evil.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_a_claim_made_by_overrides_counts_like_one_in_the_store() {
    let rivals = Rivals::start().await;
    let own = format!("{}/authorize", rivals.evil.url);
    let harmless =
        json!({"client_id": "other", "auth_endpoint": own, "token_endpoint": rivals.evil_token_endpoint()});
    assert_eq!(rivals.connect(harmless).await.status, 201);
    let claim = json!({
        "client_id": "mine", "client_secret": "mine", "auth_endpoint": format!("{}/authorize", rivals.honest.url),
    });
    rivals.home.call(&rivals.service, Method::PATCH, &rivals.at("/oauth"), Some(claim)).await.expect(200);
    assert_eq!(rivals.reconnect().await.expect(409)["code"], "awaiting_approval");
    assert_eq!(rivals.approve().await, 204);
    assert_eq!(rivals.reconnect().await.status, 201);
    let mut browser = Browser::default();
    let connection = rivals.reconnect().await.expect(201);
    let sent = browser.consent(&rivals.service, connection["connect_url"].as_str().unwrap()).await;
    assert!(sent.url.as_str().starts_with(&rivals.honest.url), "{}", sent.url);
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_a_variable_that_chooses_the_authorization_server_is_judged_by_its_value() {
    let rivals = Rivals::start().await;
    let mut configuration = rivals.evil.configuration();
    configuration["auth_endpoint"] = "{server}/authorize".into();
    configuration["client_id"] = "other".into();
    configuration["variables"] =
        json!({"server": {"title": "Server", "pattern": "http://127\\.0\\.0\\.1:[0-9]+"}});
    put(&rivals.service, "rival", &configuration).await;
    for (server, status) in [(&rivals.honest, 409), (&rivals.evil, 201)] {
        let body = json!({"plugin": "rival", "variables": {"server": server.url}});
        let installed = rivals.home.call(&rivals.service, Method::PUT, &rivals.at(""), Some(body)).await;
        assert!(matches!(installed.status, 200 | 201), "{}", installed.text);
        assert_eq!(rivals.reconnect().await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_an_approved_rival_takes_nothing_from_who_was_first() {
    let rivals = Rivals::start().await;
    assert_eq!(rivals.connect(json!({"name": "Rival"})).await.status, 409);
    assert_eq!(rivals.approve().await, 204);
    let again = put(&rivals.service, "acme", &rivals.honest.configuration()).await;
    let warned =
        again["warnings"].as_array().unwrap().iter().any(|warning| warning["field"] == "/auth_endpoint");
    assert!(!warned, "{again}");
    rivals.home.connect(&rivals.service).await;
}
