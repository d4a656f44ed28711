//! The database goes away, the clock jumps, the process is told to stop: nobody loses a consent or an event.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{
    Answer, Browser, DatabaseLink, Home, Process, Provider, Reply, Service, call_with, until,
};

async fn readiness(service: &Service) -> Reply {
    Reply::of(service.request(Method::GET, "/readyz")).await
}

async fn missing(service: &Service, part: &str) {
    until(&format!("{part} to be missing"), async || {
        let reply = readiness(service).await;
        (reply.status == 503 && reply.json["missing"] == json!([part])).then_some(())
    })
    .await;
}

async fn ready(service: &Service) {
    until("readiness", async || (readiness(service).await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_replica_says_so_and_recovers_by_itself() {
    let (direct, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&direct, &provider).await;
    let link = DatabaseLink::to(&direct).await;
    let service = direct.replica_with(&[("DATABASE__URL", &link.url), ("RELAY__POLL_SECONDS", "1")]).await;
    let token = home.token(&service).await;
    let mut relay = home.relay(&service).await;
    relay.event("customns", Some("oauth")).await;
    let connection = home.connect(&direct).await;

    link.cut();
    missing(&service, "database").await;
    let health = Reply::of(service.request(Method::GET, "/healthz")).await;
    assert_eq!((health.status, health.text.as_str()), (200, ""));
    let (assertion, mut browser, path) =
        (home.assertion(&service, &json!({})), Browser::default(), home.at(""));
    let (api, page, grant) = tokio::join!(
        call_with(&service, &token, Method::GET, &path, None),
        browser.open(&service, connection["connect_url"].as_str().unwrap()),
        home.grant(&service, &assertion, None)
    );
    assert_eq!((api.status, &api.json["code"]), (503, &json!("database_unavailable")), "{}", api.text);
    assert_eq!((grant.status, &grant.json["error"]), (503, &json!("temporarily_unavailable")));
    assert_eq!(page.status, 503);
    assert!(page.html.contains("A little too busy"), "{}", page.html);
    for headers in [&api.headers, &page.headers, &grant.headers] {
        assert!(headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    }

    home.link(&direct).await;
    link.mend();
    let tokens = relay.event("oauth", None).await;
    assert_eq!(
        tokens["data"]["access_token"], "at-1",
        "what happened meanwhile comes over the old connection"
    );
    ready(&service).await;
    assert_eq!(home.grant(&service, &assertion, None).await.status, 200, "the assertion was not spent");
    home.link(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_while_the_database_is_away_is_stored_when_it_is_back() {
    let (direct, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&direct, &provider).await;
    let link = DatabaseLink::to(&direct).await;
    let service = direct.replica_with(&[("DATABASE__URL", &link.url)]).await;
    let (token, connection) = (home.token(&service).await, home.connect(&service).await);
    let mut browser = Browser::default();
    let sent = browser.consent(&service, connection["connect_url"].as_str().unwrap()).await;
    let tokens = json!({"access_token": "at-late", "expires_in": 3600});
    let told = Arc::new(Notify::new());
    provider.next(Answer::Held(Arc::clone(&told), 200, tokens));
    let address = sent.callback(&[("code", "a-code")]);
    let outage = async {
        provider.asked(1).await;
        link.cut();
        told.notify_one();
        // Whoever asked before, as the exchange did, has been told that the database is away when this call is.
        missing(&service, "database").await;
        let reply = call_with(&service, &token, Method::GET, &home.at(""), None).await;
        assert_eq!(reply.status, 503, "{}", reply.text);
        link.mend();
    };
    let (_, ()) = tokio::join!(browser.open(&service, &address), outage);
    until("the link", async || (home.flow(&direct, &connection).await["status"] == "linked").then_some(()))
        .await;
    assert_eq!(provider.requests().len(), 1, "the code was not spent twice");
    let page = browser.open(&service, &address).await;
    assert_eq!(page.status, 303, "the browser that comes again sees how it went");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_stop_finishes_what_it_began() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let process = Process::start(&service, &[("SERVER__DRAIN_SECONDS", "20")]).await;
    let mut relay = home.relay(&process.service).await;
    relay.event("customns", Some("oauth")).await;
    let connection = home.connect(&service).await;
    let mut browser = Browser::default();
    let sent = browser.consent(&process.service, connection["connect_url"].as_str().unwrap()).await;
    let tokens = json!({"access_token": "at-drained"});
    let told = Arc::new(Notify::new());
    provider.next(Answer::Held(Arc::clone(&told), 200, tokens));
    let stop = async {
        provider.asked(1).await;
        process.terminate();
        until("the end of readiness", async || {
            // Refused, where the listener is closed by now.
            let answer = process.service.request(Method::GET, "/readyz").send().await;
            (!answer.is_ok_and(|answer| answer.status() == 200)).then_some(())
        })
        .await;
        let goodbye = relay.next().await;
        assert_eq!((&goodbye["type"], &goodbye["reason"]), (&json!("goodbye"), &json!("draining")));
        assert!(goodbye["reconnect_after_ms"].as_u64().unwrap() > 0);
        assert_eq!(relay.next().await, json!({"close": 1012}));
        told.notify_one();
    };
    let (page, ()) = tokio::join!(browser.callback(&process.service, &sent, &[("code", "a-code")]), stop);
    assert_eq!(page.status, 303, "{}", page.html);
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(home.flow(&service, &connection).await["status"], "linked");
    assert_eq!(provider.requests().len(), 1);
    let mut relay = home.relay(&service).await;
    assert_eq!(relay.event("oauth", None).await["data"]["access_token"], "at-drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn j09_a_clock_that_jumps_a_day_back_loses_no_flow_and_drops_no_relay() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut relay = home.relay(&service).await;
    relay.event("customns", Some("oauth")).await;
    let connection = home.connect(&service).await;
    let mut browser = Browser::default();
    let sent = browser.consent(&service, connection["connect_url"].as_str().unwrap()).await;
    service.clock.advance(time::Duration::days(-1));
    service.broker().sweep_flows().await.unwrap();
    let page = browser.callback(&service, &sent, &[("code", "a-code")]).await;
    assert_eq!(page.status, 303, "{}", page.html);
    assert_eq!(home.flow(&service, &connection).await["status"], "linked");
    let tokens = relay.event("oauth", None).await;
    relay.ack(&tokens).await;
    until("the ack", async || {
        (home.show(&service).await["acked_version"] == tokens["version"]).then_some(())
    })
    .await;
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn j09_a_clock_that_jumps_a_day_ahead_ends_a_flow_cleanly_and_asks_nobody() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let connection = home.connect(&service).await;
    let mut browser = Browser::default();
    let sent = browser.consent(&service, connection["connect_url"].as_str().unwrap()).await;
    service.clock.advance(time::Duration::days(1));
    service.broker().sweep_flows().await.unwrap();
    let page = browser.callback(&service, &sent, &[("code", "a-code")]).await;
    assert_eq!(page.status, 410, "{}", page.html);
    assert!(page.html.contains("This link has expired"), "{}", page.html);
    let asked = provider.asked(2).await;
    assert_eq!(
        asked[1].form["grant_type"], "refresh_token",
        "what was linked seems to be over: it is refreshed"
    );
    service.grants_are_scheduled().await;
    assert_eq!(provider.requests().len(), 2, "no storm, and no request for the late one");
    let slot: Value = home.show(&service).await;
    assert_eq!(slot["status"], "linked", "what was linked before still is");
    service.clock.advance(time::Duration::days(-1));
    home.link(&service).await;
}
