//! The audit record: each thing that was done is there once, with who did it from where, and no secret.

use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use crate::harness::{Account, Browser, Home, PASSWORD, Provider, Service, call_with, until};

const HOME: &str = "198.51.100.1";
const PHONE: &str = "203.0.113.7";

async fn audit(service: &Service, query: &str) -> Vec<Value> {
    let entries = service.owner(Method::GET, &format!("/api/audit{query}"), None).await.expect(200);
    entries.as_array().unwrap().clone()
}

async fn newest(service: &Service) -> Value {
    audit(service, "?limit=1").await[0].clone()
}

/// `action` of all entries, oldest first.
async fn actions(service: &Service) -> Vec<String> {
    let entries = audit(service, "?limit=200").await;
    entries.iter().rev().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

fn phone() -> Browser {
    Browser { headers: vec![("x-forwarded-for", PHONE.to_owned())], ..Browser::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_and_devices_do_is_recorded_once_each() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let account = Account { service: &service, network: HOME };
    account.owner_token().await;
    account.call(Method::POST, "/api/login", json!({"user": "owner", "pass": "canary-1"})).await;
    service.owner(Method::POST, "/api/enrolment-codes", None).await.expect(201);
    account.login(&home.device, "canary-2 is a long one").await;
    let token = account.token(&home.device, PASSWORD).await;
    let mut newer = provider.configuration();
    newer["scope"] = json!("more");
    service.owner(Method::PUT, "/api/plugins/acme", Some(newer)).await;
    home.install(&service, "acme", json!({})).await.expect(200);
    home.call(&service, Method::DELETE, &home.at(""), None).await;
    let path = format!("/api/devices/{}", home.device);
    let key = format!("{path}/keys/{}", home.key_hash.replace('/', "%2F"));
    call_with(&service, &token, Method::DELETE, &key, None).await;
    let change = json!({"old_password": PASSWORD, "new_password": "canary-3 is a long one"});
    call_with(&service, &token, Method::PUT, &format!("{path}/password"), Some(change)).await;
    service.owner(Method::POST, "/api/plugins/acme/approve", None).await;
    service.owner(Method::DELETE, "/api/plugins/acme", None).await;
    service.owner(Method::DELETE, &path, None).await;
    service.broker().rotate_signing_key(cloudlink::flows::Retire::Now).await.unwrap();

    assert_eq!(
        actions(&service).await,
        [
            "device.enrolled",
            "key.added",
            "plugin.put",
            "slot.installed",
            "owner.login",
            "owner.login_failed",
            "enrolment_code.made",
            "device.login_failed",
            "device.login",
            "plugin.put",
            "slot.installed",
            "slot.removed",
            "key.removed",
            "password.changed",
            "tokens.revoked",
            "plugin.approved",
            "plugin.deleted",
            "device.removed",
            "signing_key.rotated",
        ]
    );
    let entries = audit(&service, "").await;
    let of = |action: &str| entries.iter().find(|entry| entry["action"] == action).unwrap();
    let device = json!(format!("device:{}", home.device));
    assert_eq!((&of("key.removed")["actor"], &of("key.removed")["subject"]), (&device, &device));
    assert_eq!(of("key.removed")["detail"], home.key_hash);
    assert_eq!(of("device.login_failed")["actor"], "anyone");
    assert_eq!(of("slot.removed")["subject"], format!("slot:{}/{}", home.device, home.slot));
    assert_eq!(
        (&of("plugin.put")["actor"], &of("plugin.put")["subject"]),
        (&json!("owner"), &json!("plugin:acme"))
    );
    assert_eq!(of("signing_key.rotated")["actor"], "operator");
    assert!(!json!(entries).to_string().contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flows_end_is_recorded_with_the_browsers_network() {
    let settings = [("SERVER__TRUSTED_PROXIES", "127.0.0.1"), ("CONSENT__BINDING", "page")];
    let (service, provider) = (Service::with(&settings).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let slot = json!(format!("slot:{}/{}", home.device, home.slot));

    let mut browser = phone();
    let url = home.connect(&service).await["connect_url"].as_str().unwrap().to_owned();
    let page = browser.open(&service, &url).await;
    browser.decide(&service, &url, &page, "cancel").await;
    let entry = newest(&service).await;
    assert_eq!((&entry["action"], &entry["address"]), (&json!("flow.cancelled"), &json!(PHONE)));
    assert_eq!((&entry["actor"], &entry["subject"]), (&json!("browser"), &slot));

    for (query, action, detail) in [
        ([("error", "access_denied")], "flow.denied", json!("access_denied")),
        ([("error", "server_error")], "flow.failed", json!("provider_unavailable")),
        ([("code", "the-code")], "flow.linked", Value::Null),
    ] {
        let url = home.connect(&service).await["connect_url"].as_str().unwrap().to_owned();
        let sent = browser.consent(&service, &url).await;
        browser.callback(&service, &sent, &query).await;
        let entry = newest(&service).await;
        assert_eq!((&entry["action"], &entry["detail"]), (&json!(action), &detail));
        assert_eq!((&entry["address"], &entry["subject"]), (&json!(PHONE), &slot), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_read_in_pages_newest_first_by_the_owner_alone() {
    let service = Service::start().await;
    for _ in 0..3 {
        service.owner(Method::POST, "/api/enrolment-codes", None).await.expect(201);
    }
    let first = audit(&service, "?limit=2").await;
    let ids: Vec<i64> = first.iter().map(|entry| entry["id"].as_i64().unwrap()).collect();
    assert!(ids.len() == 2 && ids[0] > ids[1], "{ids:?}");
    let rest = audit(&service, &format!("?limit=200&before={}", ids[1])).await;
    assert_eq!(rest.len(), 1);
    assert!(rest[0]["id"].as_i64().unwrap() < ids[1]);
    for bad in ["limit=0", "limit=201", "limit=x", "before=x", "limit=1&limit=2"] {
        let refused = service.owner(Method::GET, &format!("/api/audit?{bad}"), None).await;
        assert_eq!(refused.status, 400, "{bad}");
    }
    let home = Home::bare(&service).await;
    assert_eq!(home.call(&service, Method::GET, "/api/audit", None).await.status, 403);
    let account = Account { service: &service, network: HOME };
    assert_eq!(account.call(Method::GET, "/api/audit", json!({})).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_the_owner_is_recorded_also_where_it_came_with_a_call() {
    let service = Service::start().await;
    let wrong = service.request(Method::GET, "/api/devices").basic_auth("owner", Some("canary"));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let entry = newest(&service).await;
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("owner.login_failed"), &json!("anyone")));
    assert_eq!(entry["address"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_forgets_after_its_retention() {
    let service = Service::with(&[("AUDIT__RETENTION_DAYS", "30")]).await;
    service.owner(Method::POST, "/api/enrolment-codes", None).await.expect(201);
    service.clock.advance(Duration::days(29));
    service.broker().forget_what_is_over().await.unwrap();
    assert_eq!(actions(&service).await, ["enrolment_code.made"]);
    service.clock.advance(Duration::days(1) + Duration::SECOND);
    service.broker().forget_what_is_over().await.unwrap();
    until("the entry to be gone", async || audit(&service, "").await.is_empty().then_some(())).await;
}
