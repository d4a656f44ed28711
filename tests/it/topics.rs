//! Topics decide: what a token may hear and say is in its two lists, and nowhere else.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Home, Provider, Relay, Service, call_with};

/// A home with two slots, and a token for one of them.
async fn stage() -> (Service, Home, String) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await.with_slot("cooling");
    home.install(&service, "acme", json!({})).await.expect(201);
    let narrow = home.slot_token(&service, "cooling").await;
    (service, home, narrow)
}

async fn slots(service: &Service, home: &Home, token: &str, query: &str) -> Vec<Value> {
    let path = format!("/api/devices/{}/slots{query}", home.device);
    let list = call_with(service, token, Method::GET, &path, None).await.expect(200);
    list.as_array().unwrap().iter().map(|slot| slot["slot"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slots_that_a_token_may_publish_to_are_listed() {
    let (service, home, narrow) = stage().await;
    let whole = home.token(&service).await;
    assert_eq!(slots(&service, &home, &whole, "?writable=true").await, ["cooling", "heating"]);
    assert_eq!(slots(&service, &home, &narrow, "?writable=true").await, ["cooling"]);
    assert_eq!(slots(&service, &home, &whole, "?writable=false").await, ["cooling", "heating"]);
    let path = format!("/api/devices/{}/slots?writable=perhaps", home.device);
    let refused = call_with(&service, &whole, Method::GET, &path, None).await;
    assert_eq!((refused.status, &refused.json["code"]), (400, &json!("bad_query")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_slot_hears_acks_and_changes_that_slot_alone() {
    let (service, _home, narrow) = stage().await;
    let mut relay = Relay::attach(&service, &narrow).await;
    let first = relay.next().await;
    assert_eq!((&first["slot"], &first["event"]), (&json!("cooling"), &json!("customns")));
    let settings =
        |slot: &str, id: i64| json!({"type": "settings", "slot": slot, "id": id, "patch": {"scope": "x"}});
    relay.send(&settings("heating", 1)).await;
    let foreign = relay.next().await;
    relay.send(&settings("nowhere", 2)).await;
    let unknown = relay.next().await;
    for reply in [&foreign, &unknown] {
        assert_eq!((&reply["ok"], &reply["code"]), (&json!(false), &json!("not_found")), "{reply}");
    }
    assert_eq!(foreign["detail"], unknown["detail"]);
    relay.send(&settings("cooling", 3)).await;
    assert_eq!(relay.event("customns", Some("oauth")).await["data"]["scope"], "x");

    let polled = call_with(&service, &narrow, Method::GET, "/api/cloudlink/events?state=all", None).await;
    let heard = polled.expect(200)["events"].as_array().unwrap().clone();
    assert!(!heard.is_empty() && heard.iter().all(|event| event["slot"] == "cooling"), "{heard:?}");
    let ack = |slot: &str| json!({"slot": slot, "version": 1});
    let acked =
        async |slot| call_with(&service, &narrow, Method::POST, "/api/ack", Some(ack(slot))).await.status;
    assert_eq!((acked("cooling").await, acked("heating").await, acked("nowhere").await), (204, 404, 404));
}
