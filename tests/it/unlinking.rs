//! An account is taken away from a slot: its tokens go at once, whoever asks, and whatever is under way.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Account, Answer, Hold, Home, PASSWORD, Provider, Service, call_with},
    races::{consent, two_replicas},
};

async fn unlink(service: &Service, home: &Home) -> u16 {
    home.call(service, Method::DELETE, &home.at("/tokens"), None).await.status
}

/// How often the record says that the slot was unlinked, and by whom last.
async fn recorded(service: &Service) -> (usize, Value) {
    let all = service.owner(Method::GET, "/api/audit?limit=200", None).await.expect(200);
    let all = all.as_array().unwrap();
    let of: Vec<_> = all.iter().filter(|entry| entry["action"] == "slot.unlinked").collect();
    (of.len(), of.first().map_or(Value::Null, |entry| entry["actor"].clone()))
}

/// Rows of `grants`.
async fn grants(service: &Service) -> i64 {
    sqlx::query_scalar("select count(*) from grants").fetch_one(&service.database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_an_unlinked_slot_has_no_tokens_and_its_plugin_is_told() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let mut relay = home.relay(&service).await;
    let linked = relay.event("oauth", None).await;
    relay.ack(&linked).await;

    assert_eq!(unlink(&service, &home).await, 204);
    let told = relay.event("unlinked", None).await;
    let version = linked["version"].as_i64().unwrap() + 1;
    assert_eq!((&told["data"], told["version"].as_i64()), (&json!({}), Some(version)));
    let slot = home.show(&service).await;
    assert_eq!((&slot["status"], &slot["version"]), (&json!("unlinked"), &json!(version)));
    assert_eq!((slot["expiry"].clone(), slot["scope"].clone()), (Value::Null, Value::Null));
    let token = home.call(&service, Method::GET, &home.at("/token"), None).await;
    assert_eq!((token.status, &token.json["code"]), (409, &json!("authorization_required")));
    assert_eq!(grants(&service).await, 0);
    assert_eq!(recorded(&service).await, (1, json!(format!("device:{}", home.device))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refresh_handle_ends_with_the_link() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut handles = Vec::new();
    for _ in 0..2 {
        home.link(&service).await;
        let mut relay = home.relay(&service).await;
        handles.push(relay.event("oauth", None).await["data"]["refresh_token"].clone());
        assert_eq!(unlink(&service, &home).await, 204);
    }
    assert_ne!(handles[0], handles[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unlinking_what_is_not_linked_changes_nothing() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let (connection, mut browser, sent) = consent(&service, &home).await;
    let before = home.show(&service).await;
    assert_eq!(unlink(&service, &home).await, 204);
    assert_eq!(home.show(&service).await, before);
    assert_eq!(recorded(&service).await.0, 0);
    browser.callback(&service, &sent, &[("code", "a-code")]).await;
    assert_eq!(home.flow(&service, &connection).await["status"], "linked", "an open flow goes on");
    for _ in 0..2 {
        assert_eq!(unlink(&service, &home).await, 204);
    }
    assert_eq!(recorded(&service).await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_and_the_devices_key_may_unlink_and_nobody_else() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, neighbour) = (Home::enrol(&service, &provider).await, Home::bare(&service).await);
    home.link(&service).await;
    let (path, version) = (home.at("/tokens"), home.show(&service).await["version"].clone());
    let account = Account { service: &service, network: "198.51.100.1" };
    let by_password = account.token(&home.device, PASSWORD).await;
    let assertion = home.assertion(&service, &json!({}));
    let other_slot = home.grant(&service, &assertion, Some("lights")).await.expect(200);
    let other_slot = other_slot["access_token"].as_str().unwrap();
    for (token, status) in
        [(by_password.as_str(), 403), (neighbour.token(&service).await.as_str(), 404), (other_slot, 404)]
    {
        assert_eq!(call_with(&service, token, Method::DELETE, &path, None).await.status, status);
    }
    assert_eq!(service.request(Method::DELETE, &path).send().await.unwrap().status().as_u16(), 401);
    assert_eq!(home.show(&service).await["version"], version);

    assert_eq!(service.owner(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(home.show(&service).await["status"], "unlinked");
    assert_eq!(recorded(&service).await, (1, json!("owner")));
    let unknown = path.replace("heating", "cellar");
    assert_eq!(service.owner(Method::DELETE, &unknown, None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_consent_that_is_being_exchanged_are_not_stored_after_an_unlink() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    home.link(&one).await;
    let (connection, mut browser, sent) = consent(&one, &home).await;
    let told = std::sync::Arc::new(tokio::sync::Notify::new());
    let tokens = json!({"access_token": "at-too-late"});
    provider.next(Answer::Held(std::sync::Arc::clone(&told), 200, tokens));
    let callback = browser.callback(&one, &sent, &[("code", "a-code")]);
    let change = async {
        provider.asked(2).await;
        let status = unlink(&other, &home).await;
        told.notify_one();
        status
    };
    let (after, status) = tokio::join!(callback, change);
    assert_eq!((after.status, status), (303, 204));
    let flow = home.flow(&one, &connection).await;
    assert_eq!(flow, json!({"status": "failed", "error": "exchange_failed"}));
    assert_eq!((home.show(&one).await["status"].clone(), grants(&one).await), (json!("unlinked"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlink_that_meets_tokens_being_stored_erases_those_too() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    home.link(&one).await;
    let (_, mut browser, sent) = consent(&one, &home).await;
    let hold = Hold::on(&one, "insert", "grants").await;
    let callback = browser.callback(&one, &sent, &[("code", "a-code")]);
    let change = async {
        hold.caught("store_consent").await;
        let unlinking = unlink(&other, &home);
        let release = async {
            hold.blocked("hold_slot").await;
            hold.release().await;
        };
        tokio::join!(unlinking, release).0
    };
    let (after, status) = tokio::join!(callback, change);
    assert_eq!((after.status, status), (303, 204));
    assert_eq!((home.show(&one).await["status"].clone(), grants(&one).await), (json!("unlinked"), 0));
}
