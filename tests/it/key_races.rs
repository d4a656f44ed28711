//! Keys on two replicas at once: one used twice, removed while it is used, removed while a replica is busy; and more
//! added than a device may have.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    harness::{Answer, Home, Provider, Service, call_with, until},
    races::{consent, two_replicas},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_shown_to_two_replicas_at_once_earns_one_token() {
    let (one, other, _) = two_replicas(&[]).await;
    let home = Home::bare(&one).await;
    let assertion = home.assertion(&one, &json!({}));
    let grants = (0..10).map(|number| {
        let (home, assertion) = (&home, &assertion);
        let service = if number % 2 == 0 { &one } else { &other };
        async move { home.grant(service, assertion, None).await.status }
    });
    let mut statuses = join_all(grants).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [[200].as_slice(), &[400; 9]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_keys_added_at_once_a_device_keeps_as_many_as_it_may_have() {
    let (one, other, _) = two_replicas(&[]).await;
    let home = Home::bare(&one).await;
    let path = format!("/api/devices/{}/keys", home.device);
    let adds = (0..48).map(|number| {
        let key = Ed25519KeyPair::generate().unwrap();
        let public = URL_SAFE_NO_PAD.encode(key.public_key());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": public});
        let body = json!({"label": format!("key {number}"), "public_key": jwk});
        let (service, path) = (if number % 2 == 0 { &one } else { &other }, &path);
        async move { service.owner(Method::POST, path, Some(body)).await.status }
    });
    let statuses = join_all(adds).await;
    let added = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!(added, 31, "with the one that was there: {statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
    let list = one.owner(Method::GET, &path, None).await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_obtained_while_its_key_is_removed_is_dead_within_five_seconds_everywhere() {
    let (one, other, _) = two_replicas(&[]).await;
    let homes = join_all((0..6).map(|_| Home::bare(&one))).await;
    let races = homes.iter().map(async |home| {
        let token = home.token(&one).await;
        let assertion = home.assertion(&other, &json!({}));
        let (granted, (removed, device)) =
            tokio::join!(home.grant(&other, &assertion, None), remove_key(&one, home, &token));
        assert_eq!(removed, 204);
        let since = Instant::now();
        let late = granted.json["access_token"].as_str().map(str::to_owned);
        for token in [Some(token), late].into_iter().flatten() {
            for service in [&one, &other] {
                dies_in_time(service, &token, &device, since).await;
            }
        }
        let again = home.assertion(&one, &json!({}));
        assert_eq!(home.grant(&one, &again, None).await.status, 400);
    });
    join_all(races).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h04_a_removed_key_is_dead_in_time_while_an_exchange_is_taken_over_from_a_silent_provider() {
    let (one, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&one, &provider).await;
    let (_, mut browser, sent) = consent(&one, &home).await;
    provider.always(Answer::Silence);
    let address = sent.callback(&[("code", "a-code")]);
    let exchanging = async { browser.open(&one, &address).await };
    tokio::pin!(exchanging);
    let taking_over = async {
        provider.asked(1).await;
        one.clock.advance(time::Duration::seconds(41));
        provider.asked(2).await;
    };
    tokio::select! {
        _ = &mut exchanging => panic!("the provider is silent"),
        () = taking_over => {}
    }

    let other = one.replica().await;
    let token = home.token(&one).await;
    let (removed, device) = remove_key(&other, &home, &token).await;
    assert_eq!(removed, 204);
    let since = Instant::now();
    dies_in_time(&one, &token, &device, since).await;
}

/// Waits for a token's end: nobody who asks five seconds after `since` is answered, however slowly one is here.
async fn dies_in_time(service: &Service, token: &str, device: &str, since: Instant) {
    until("the token's end", async || {
        let asked = since.elapsed();
        let dead = call_with(service, token, Method::GET, device, None).await.status == 401;
        assert!(dead || asked < Duration::from_secs(5), "alive after {asked:?}");
        dead.then_some(())
    })
    .await;
}

/// Removes the home's key: the status, and the path of the device.
async fn remove_key(service: &Service, home: &Home, token: &str) -> (u16, String) {
    let key = home.key_hash.replace('+', "%2B").replace('/', "%2F").replace(':', "%3A");
    let device = format!("/api/devices/{}", home.device);
    let removed = call_with(service, token, Method::DELETE, &format!("{device}/keys/{key}"), None).await;
    (removed.status, device)
}
