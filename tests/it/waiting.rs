//! Providers that let wait: so many callers wait for a slot, a device, a network and in all; one more does not.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;
use tokio::sync::Notify;

use crate::{
    bounds::{metrics, value},
    harness::{
        Answer, Attempt, Home, Process, Provider, Reply, Service, account_link, call_with, refresh, until,
        with_json, within,
    },
    token_endpoint::Library,
};

/// One caller may wait for a slot, two for a device, eight in all. Nothing is refreshed but on demand.
const NARROW: &[(&str, &str)] = &[("SERVER__MAX_REQUESTS", "16"), ("REFRESH__CONCURRENCY", "0")];
const AFTER_THE_END: Duration = Duration::seconds(3601);

/// The provider's next answer: held back until this is notified.
fn held(provider: &Provider, access_token: &str) -> Arc<Notify> {
    let told = Arc::new(Notify::new());
    let tokens = json!({"access_token": access_token, "refresh_token": "rt-later", "expires_in": 3600});
    provider.next(Answer::Held(Arc::clone(&told), 200, tokens));
    told
}

fn told_to_come_back(reply: &Reply) -> Value {
    assert_eq!(reply.status, 429, "{}", reply.text);
    assert_eq!(reply.headers["retry-after"].as_bytes(), b"5");
    reply.json.get("code").or(reply.json.get("error")).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_provider_hangs_takes_its_places_and_leaves_all_others_to_everybody() {
    let (service, provider, well) =
        (Service::start().await, Provider::start().await, Provider::start().await);
    let process = Process::start(&service, &[("SERVER__MAX_REQUESTS", "64")]).await;
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let neighbour = Home::bare(&service).await;
    neighbour.install_store(&service, "well", well.configuration()).await;
    neighbour.link(&service).await;
    let told = held(&provider, "at-2");
    let token = home.slot_token(&process.service, "heating").await;
    let (token, path) = (token.as_str(), home.at("/refresh"));
    // Twice as many as may be handled at once, four of which wait; never more than that at once.
    let mut asking = FuturesUnordered::new();
    for _ in 0..2 {
        while asking.len() < 64 {
            asking.push(call_with(&process.service, token, Method::POST, &path, None));
        }
        while asking.len() > 4 {
            let reply = within("an answer without waiting", asking.next()).await.unwrap();
            assert_eq!(reply.expect(200)["access_token"], "at-1", "what there is, while it lasts");
        }
    }
    let text = metrics(&process).await;
    for (name, expected) in [
        ("cloudlink_provider_waiters", 4.0),
        ("cloudlink_provider_waiters_limit{of=\"process\"}", 32.0),
        ("cloudlink_provider_waiters_limit{of=\"device\"}", 8.0),
        ("cloudlink_provider_waiters_limit{of=\"slot\"}", 4.0),
    ] {
        assert!((value(&text, name) - expected).abs() < 0.1, "{name} is {expected}: {text}");
    }
    process.service.owner(Method::GET, "/api/plugins", None).await.expect(200);
    assert_eq!(neighbour.refresh(&process.service).await.expect(200)["access_token"], "at-1");
    assert_eq!(well.requests().len(), 2, "a neighbour's refresh finds a place");
    provider.asked(2).await;
    told.notify_one();
    while let Some(reply) = within("the refresh", asking.next()).await {
        assert_eq!(reply.expect(200)["access_token"], "at-2");
    }
    assert_eq!(provider.requests().len(), 2, "who waits shares one refresh");
    assert!(value(&metrics(&process).await, "cloudlink_provider_waiters").abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_a_token_has_a_place_for_each_slot_and_places_for_each_device() {
    let (service, provider) = (Service::with(NARROW).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let (second, third) = (home.beside("second"), home.beside("third"));
    home.link(&service).await;
    for slot in [&second, &third] {
        slot.install(&service, "acme", json!({})).await.expect(201);
        slot.link(&service).await;
    }
    let library = Library::of(&service, &home).await;
    service.clock.advance(AFTER_THE_END);
    let (token, mut relay) = (home.token(&service).await, home.relay(&service).await);
    let get = async |slot: &Home| call_with(&service, &token, Method::GET, &slot.at("/token"), None).await;

    let told = held(&provider, "at-2");
    let crowd = async {
        provider.asked(4).await;
        assert_eq!(told_to_come_back(&get(&home).await), "too_many_requests");
        assert_eq!(told_to_come_back(&library.refresh(&service).await), "slow_down");
        let alone = json!({"refresh_token": "rt-home"});
        let imported = call_with(&service, &token, Method::PUT, &home.at("/tokens"), Some(alone)).await;
        assert_eq!(told_to_come_back(&imported), "too_many_requests");
        relay.send(&json!({"type": "token", "slot": home.slot, "id": 1})).await;
        let reply = loop {
            let frame = relay.next().await;
            if frame["type"] == "reply" {
                break frame;
            }
        };
        assert_eq!((&reply["ok"], &reply["code"]), (&json!(false), &json!("too_many_requests")));

        let told_too = held(&provider, "at-3");
        let beyond = async {
            provider.asked(5).await;
            assert_eq!(told_to_come_back(&get(&third).await), "too_many_requests");
            told_too.notify_one();
        };
        let (reply, ()) = tokio::join!(get(&second), beyond);
        assert_eq!(reply.expect(200)["access_token"], "at-3", "another slot of the device has its own");
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(get(&home), crowd);
    assert_eq!(reply.expect(200)["access_token"], "at-2");
    assert_eq!(library.refresh(&service).await.expect(200)["access_token"], "at-2");
    assert_eq!(provider.requests().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_comes_alone_or_is_passed_on_waits_at_its_slots_place() {
    let (service, provider) = (Service::with(NARROW).await, Provider::start().await);
    let keeper = Home::enrol_with(&service, &provider, json!({"custody": "device"})).await;
    keeper.link(&service).await;
    let library = Library::of(&service, &keeper).await;
    let told = held(&provider, "at-2");
    let crowd = async {
        provider.asked(2).await;
        assert_eq!(told_to_come_back(&library.refresh(&service).await), "slow_down");
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(library.refresh(&service), crowd);
    assert_eq!(reply.expect(200)["access_token"], "at-2");

    let home = Home::bare(&service).await;
    home.install_store(&service, "held", provider.configuration()).await;
    let import = async || {
        let alone = json!({"refresh_token": "rt-home"});
        home.call(&service, Method::PUT, &home.at("/tokens"), Some(alone)).await
    };
    let told = held(&provider, "at-3");
    let crowd = async {
        provider.asked(3).await;
        assert_eq!(told_to_come_back(&import().await), "too_many_requests");
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(import(), crowd);
    assert_eq!(reply.status, 204, "{}", reply.text);
    assert_eq!(provider.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_has_places_for_home_assistants_refreshes() {
    let (service, provider) = account_link(NARROW, json!({})).await;
    let told = held(&provider, "at-2");
    let crowd = async {
        provider.asked(1).await;
        assert_eq!(told_to_come_back(&refresh(&service, "ecobee", "rt-2").await), "too_many_requests");
        let elsewhere = service.request(Method::POST, "/refresh_token/ecobee");
        let elsewhere = elsewhere.header("x-forwarded-for", "203.0.113.9");
        Reply::of(with_json(elsewhere, Some(json!({"refresh_token": "rt-3"})))).await.expect(200);
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(refresh(&service, "ecobee", "rt-1"), crowd);
    assert_eq!(reply.expect(200)["access_token"], "at-2");
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_finds_no_place_is_shown_its_page_and_its_flow_is_linked_all_the_same() {
    let (service, provider) = (Service::with(NARROW).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut first = Attempt::start(&service, &home).await;
    let mut second = Attempt::start(&service, &home).await;
    let told = [held(&provider, "at-1"), held(&provider, "at-2")];
    let crowd = async {
        provider.asked(1).await;
        let page = second.back(&service, &[("code", "second")]).await;
        assert_eq!(page.status, 303, "{}", page.html);
        assert_eq!(second.stands(&service, &home).await, "exchanging");
        provider.asked(2).await;
        for told in &told {
            told.notify_one();
        }
    };
    let (page, ()) = tokio::join!(first.back(&service, &[("code", "first")]), crowd);
    assert_eq!(page.status, 303, "{}", page.html);
    assert_eq!(first.stands(&service, &home).await, "linked");
    until("the other's end", async || (second.stands(&service, &home).await == "linked").then_some(())).await;
}
