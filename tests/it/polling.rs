//! Plugins that hold no socket open: the long poll and its acknowledgements.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{Home, Provider, Service, frames::events_in_words, home::call_with};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_is_answered_at_once_and_again() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let polled = async |query: &str| events_in_words(&home.poll(&service, query).await.expect(200));
    assert_eq!(polled("").await, ["heating 1 customns/oauth"]);
    assert_eq!(polled("wait=60").await, ["heating 1 customns/oauth"]);
    home.link(&service).await;
    assert_eq!(polled("wait=0").await, ["heating 0 customns/oauth", "heating 2 oauth"]);
    assert_eq!(home.ack(&service, "heating", 1).await, 204);
    assert_eq!(polled("wait=0").await, ["heating 2 oauth"]);

    let mut relay = home.relay(&service).await;
    let polled_whole = home.poll(&service, "wait=0").await.expect(200)["events"][0].clone();
    let mut pushed = relay.event("oauth", None).await;
    pushed["data"]["expires_in"] = polled_whole["data"]["expires_in"].clone();
    assert_eq!(polled_whole, pushed, "the same objects");

    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    let nothing = home.poll(&service, "wait=0").await;
    assert_eq!((nothing.status, nothing.text.as_str()), (204, ""));
    assert_eq!(polled("state=all").await, ["heating 2 customns/oauth", "heating 2 customns/oauthTokens"]);
    assert_eq!(polled("state=all&wait=60").await.len(), 2, "at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_waits_as_long_as_it_says_and_an_event_ends_it() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    assert_eq!(home.ack(&service, "heating", 1).await, 204);
    let started = Instant::now();
    assert_eq!(home.poll(&service, "wait=1").await.status, 204);
    assert!(started.elapsed() >= Duration::from_secs(1));

    // Whoever calls here gives up after twenty seconds.
    let (answer, _) = tokio::join!(home.poll(&service, "wait=60"), home.link(&service));
    assert_eq!(events_in_words(&answer.expect(200)), ["heating 2 oauth"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slots_token_polls_its_slot_alone() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await.with_slot("cooling");
    home.install(&service, "acme", json!({})).await.expect(201);
    let narrow = home.slot_token(&service, "heating").await;
    let poll = async |query: &str| {
        call_with(&service, &narrow, Method::GET, &format!("/api/cloudlink/events?{query}"), None).await
    };
    assert_eq!(events_in_words(&poll("").await.expect(200)), ["heating 1 customns/oauth"]);
    let ack = async |slot: &str| {
        let body = Some(json!({"slot": slot, "version": 1}));
        call_with(&service, &narrow, Method::POST, "/api/ack", body).await.status
    };
    assert_eq!([ack("cooling").await, ack("nowhere").await, ack("heating").await], [404, 404, 204]);
    assert_eq!(poll("").await.status, 204);
    assert_eq!(events_in_words(&poll("state=all").await.expect(200)), ["heating 1 customns/oauth"]);
    assert_eq!(home.show(&service).await["acked_version"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_or_an_ack_that_makes_no_sense_is_refused() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    for (query, code) in [
        ("wait=61", "bad_wait"),
        ("wait=-1", "bad_wait"),
        ("wait=1.5", "bad_wait"),
        ("wait=a", "bad_wait"),
        ("state=new", "bad_state"),
    ] {
        assert_eq!(home.poll(&service, query).await.expect(400)["code"], code, "{query}");
    }
    assert_eq!(home.poll(&service, "wait=1&wait=2").await.status, 400, "J06");
    let token = home.token(&service).await;
    for body in [
        json!({}),
        json!({"slot": "a", "version": "1"}),
        json!({"slot": "a", "version": 1.5}),
        json!({"slot": 1, "version": 1}),
    ] {
        let answer = call_with(&service, &token, Method::POST, "/api/ack", Some(body)).await.expect(422);
        assert!(answer["errors"][0]["field"].is_string());
    }
}
