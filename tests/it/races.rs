//! Two replicas do the same thing at once: every change of state is one guarded update, so one of them wins.

use cloudlink::domain::{
    ids::{DeviceId, SlotAddress, Version},
    slot::Ack,
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Browser, Home, Page, Provider, Sent, Service, call_with};

/// Two services on one database, and a provider.
pub(crate) async fn two_replicas(settings: &[(&str, &str)]) -> (Service, Service, Provider) {
    let one = Service::with(settings).await;
    let other = one.replica().await;
    (one, other, Provider::start().await)
}

/// A consent up to the provider.
pub(crate) async fn consent(service: &Service, home: &Home) -> (Value, Browser, Sent) {
    let connection = home.connect(service).await;
    let mut browser = Browser::default();
    let sent = browser.consent(service, connection["connect_url"].as_str().unwrap()).await;
    (connection, browser, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a02_of_many_equal_callbacks_on_two_replicas_one_makes_the_token_request() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    let (connection, browser, sent) = consent(&one, &home).await;
    let callbacks = (0..20).map(|number| {
        let (service, mut browser) = (if number % 2 == 0 { &one } else { &other }, browser.clone());
        let address = sent.callback(&[("code", "a-code")]);
        async move { browser.open(service, &address).await.status }
    });
    assert!(join_all(callbacks).await.iter().all(|status| *status == 303));
    assert_eq!(provider.requests().len(), 1);
    assert_eq!(home.flow(&other, &connection).await["status"], "linked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_and_a_new_continue_at_once_leave_one_state_that_counts() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    for _ in 0..10 {
        let asked = provider.requests().len();
        let (connection, browser, sent) = consent(&one, &home).await;
        let url = connection["connect_url"].as_str().unwrap();
        let page = browser.clone().open(&one, url).await;
        let (mut here, mut there) = (browser.clone(), browser.clone());
        let (callback, again): (Page, Page) = tokio::join!(
            here.callback(&one, &sent, &[("code", "a-code")]),
            there.decide(&other, url, &page, "continue")
        );
        let to_provider = again.location().starts_with(&provider.url);
        if to_provider {
            assert!(matches!(callback.status, 303 | 400), "its state was void: {}", callback.html);
            assert_eq!(provider.requests().len(), asked);
            let after = here.callback(&other, &Sent::to(again.location()), &[("code", "b-code")]).await;
            assert_eq!(after.status, 303);
        }
        assert_eq!(provider.requests().len(), asked + 1);
        assert_eq!(home.flow(&one, &connection).await["status"], "linked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_against_a_continue_or_a_callback_has_one_outcome() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    for _ in 0..10 {
        let asked = provider.requests().len();
        let (connection, browser, sent) = consent(&one, &home).await;
        let url = connection["connect_url"].as_str().unwrap();
        let page = browser.clone().open(&one, url).await;
        let (mut here, mut there, mut third) = (browser.clone(), browser.clone(), browser.clone());
        let (_, _, again) = tokio::join!(
            here.callback(&one, &sent, &[("code", "a-code")]),
            there.decide(&other, url, &page, "cancel"),
            third.decide(&one, url, &page, "continue")
        );
        let flow = home.flow(&other, &connection).await;
        let requests = provider.requests().len() - asked;
        match flow["status"].as_str().unwrap() {
            "linked" => assert_eq!(requests, 1),
            "denied" => assert_eq!((&flow["error"], requests), (&json!("cancelled"), 0)),
            other => panic!("{other}"),
        }
        if again.location().starts_with(&provider.url) {
            let late = here.callback(&other, &Sent::to(again.location()), &[("code", "b-code")]).await;
            assert_eq!(late.status, 303, "{}", late.html);
            assert_eq!(home.flow(&one, &connection).await, flow, "it ended before");
            assert_eq!(provider.requests().len() - asked, requests);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h09_of_equal_acks_one_advances_and_a_lower_one_never_takes_back() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    for _ in 0..4 {
        home.link(&one).await;
    }
    let newest = home.show(&one).await["version"].as_i64().unwrap();
    let device: DeviceId = home.device.parse().unwrap();
    let address = SlotAddress { device, slot: home.slot.parse().unwrap() };
    let acks =
        (0..20).flat_map(|_| [(&one, newest), (&other, newest), (&one, newest - 1), (&other, newest + 1)]);
    let acks = acks.map(|(service, version)| {
        let address = &address;
        async move { (version, service.broker().store.ack(address, Version(version)).await.unwrap()) }
    });
    let outcomes = join_all(acks).await;
    let advanced = |wanted| outcomes.iter().filter(|done| **done == (wanted, Ack::Advanced)).count();
    assert_eq!((advanced(newest), advanced(newest + 1)), (1, 0), "{outcomes:?}");
    assert!(advanced(newest - 1) <= 1, "{outcomes:?}");
    assert_eq!(home.show(&other).await["acked_version"], newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_typed_on_two_replicas_at_once_links_once_and_five_wrong_ones_are_five() {
    let (one, other, provider) = two_replicas(&[("CONSENT__BINDING", "code")]).await;
    let home = Home::enrol(&one, &provider).await;
    let token = home.token(&one).await;
    let typed = async |connection: &Value, code: &str, times: usize| {
        let path = home.at(&format!("/flows/{}/confirm", connection["flow"].as_str().unwrap()));
        let (path, token) = (&path, &token);
        let tries = (0..times).map(|number| {
            let service = if number % 2 == 0 { &one } else { &other };
            let body = Some(json!({ "code": code }));
            async move { call_with(service, token, Method::POST, path, body).await.status }
        });
        let mut statuses = join_all(tries).await;
        statuses.sort_unstable();
        statuses
    };
    let staged = async || {
        let (connection, mut browser, sent) = consent(&one, &home).await;
        let after = browser.callback(&one, &sent, &[("code", "a-code")]).await;
        let page = browser.open(&one, after.location()).await;
        let digits = page.html.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6);
        (connection, digits.unwrap_or_else(|| panic!("no code in {}", page.html)).to_owned())
    };

    let (connection, code) = staged().await;
    let version = home.show(&one).await["version"].as_i64().unwrap();
    assert_eq!(typed(&connection, &code, 4).await, [204, 409, 409, 409]);
    assert_eq!(home.show(&one).await["version"], version + 1, "linked once");

    let (connection, code) = staged().await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(typed(&connection, wrong, 12).await, [[409; 7].as_slice(), &[422; 5]].concat());
    let flow = home.flow(&other, &connection).await;
    assert_eq!(flow, json!({"status": "failed", "error": "wrong_code"}));
    assert_eq!(typed(&connection, &code, 1).await, [409]);
    assert_eq!(home.show(&one).await["version"], version + 1, "nothing new");
}
