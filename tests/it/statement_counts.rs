//! What a call costs the database, counted on the wire.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Browser, DatabaseLink, Home, Provider, Recipient, Relay, Service, call_with, until};

/// A service whose statements are counted, and a home that is linked.
async fn stage() -> (DatabaseLink, Service, Home) {
    let (origin, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&origin, &provider).await;
    home.link(&origin).await;
    let link = DatabaseLink::to(&origin).await;
    let alone = [("DATABASE__URL", link.url.as_str()), ("REFRESH__CONCURRENCY", "0")];
    let service = origin.replica_with(&alone).await;
    assert!(!link.statements.take().is_empty(), "the start is heard");
    (link, service, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_check_costs_no_query() {
    let (link, service, home) = stage().await;
    let token = home.token(&service).await;
    assert_eq!(link.statements.take(), ["list_trusted_keys", "spend_assertion"], "asking for one");

    // Who calls is known and may not: refused before anything is looked up.
    let refused = (0..50).map(|_| call_with(&service, &token, Method::GET, "/api/plugins", None));
    assert!(join_all(refused).await.iter().all(|reply| reply.status == 403));
    let forged = format!("{token}x");
    let strangers = (0..50).map(|_| call_with(&service, &forged, Method::GET, "/api/plugins", None));
    assert!(join_all(strangers).await.iter().all(|reply| reply.status == 401));
    assert_eq!(link.statements.take(), [""; 0]);

    let ack = json!({"slot": home.slot, "version": 1});
    assert_eq!(call_with(&service, &token, Method::POST, "/api/ack", Some(ack)).await.status, 204);
    assert_eq!(link.statements.take(), ["ack"], "what it came for, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_handshake_costs_one_query_whatever_the_number_of_slots() {
    let (link, service, home) = stage().await;
    let key = Recipient::p256(&service, &home).await;
    home.patch(&service, json!({"seal_to": key.key_hash})).await.expect(200);
    let home = home.with_slot("cooling");
    home.install(&service, "acme", json!({})).await.expect(201);
    let token = home.token(&service).await;
    link.statements.take();
    let mut relay = Relay::attach(&service, &token).await;
    let mut told = vec![relay.next().await, relay.next().await, relay.next().await];
    told.retain(|frame| frame["event"] == "customns" || frame["event"] == "oauth");
    assert_eq!(told.len(), 3, "two configurations and a consent: {told:?}");
    let consent = told.iter().find(|frame| frame["event"] == "oauth").unwrap();
    assert!(consent["data"]["jwe"].is_string(), "sealed, at no further cost: {consent}");
    assert_eq!(link.statements.take(), ["list_states"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_costs_five_transactions_that_write_and_five_reads() {
    let (link, service, home) = stage().await;
    let token = home.token(&service).await;
    let mut relay = Relay::attach(&service, &token).await;
    let told = relay.event("oauth", None).await;
    relay.ack(&told).await;
    until("the ack", async || link.statements.take().contains(&"ack".to_owned()).then_some(())).await;

    let path = home.at("/connect");
    let connection = call_with(&service, &token, Method::POST, &path, Some(json!({}))).await.expect(201);
    assert_eq!(link.statements.take(), ["find_slot_to_link", "start_flow"], "connect");

    let mut browser = Browser::default();
    let sent = browser.consent(&service, connection["connect_url"].as_str().unwrap()).await;
    assert_eq!(link.statements.take(), ["find_flow", "find_flow", "continue_flow"], "the page, and Continue");

    assert_eq!(browser.callback(&service, &sent, &[("code", "a-code")]).await.status, 303);
    let told = relay.event("oauth", None).await;
    relay.ack(&told).await;
    let mut ran = Vec::new();
    until("the ack", async || {
        ran.extend(link.statements.take());
        ran.contains(&"ack".to_owned()).then_some(())
    })
    .await;
    // A knock is a statement of its own, on another connection, beside what the relay reads.
    let knocks = ran.extract_if(.., |name| name == "notify").count();
    assert_eq!(knocks, 1);
    assert_eq!(
        ran,
        ["find_flow_by_state", "redeem_flow", "store_consent", "find_states", "ack"],
        "the callback, the event, its acknowledgement"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_with_one_query() {
    let (link, service, home) = stage().await;
    let token = home.token(&service).await;
    link.statements.take();
    let path = home.at("/token");
    call_with(&service, &token, Method::GET, &path, None).await.expect(200);
    assert_eq!(link.statements.take(), ["find_grant"]);
}
