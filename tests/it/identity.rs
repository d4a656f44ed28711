//! Logins by password: what they earn, what they don't, and what changing a password ends.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Account, Home, OWNER, PASSWORD, Provider, Reply, Service, call_with, until};

const ANOTHER: &str = "another phrase, long enough";

fn here(service: &Service) -> Account<'_> {
    Account { service, network: "198.51.100.1" }
}

async fn change(service: &Service, home: &Home, token: &str, body: Value) -> Reply {
    let path = format!("/api/devices/{}/password", home.device);
    call_with(service, token, Method::PUT, &path, Some(body)).await
}

async fn status(service: &Service, token: &str, method: Method, path: &str, body: Option<Value>) -> u16 {
    call_with(service, token, method, path, body).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_logs_in_for_a_token_that_does_what_basic_does() {
    let service = Service::start().await;
    let answer = here(&service)
        .call(Method::POST, "/api/login", json!({"user": OWNER.0, "pass": OWNER.1}))
        .await
        .expect(200);
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(3600)));
    let token = answer["token"].as_str().unwrap();
    let device = json!({"name": "Attic", "password": PASSWORD});
    assert_eq!(status(&service, token, Method::POST, "/api/devices", Some(device)).await, 201);
    assert_eq!(status(&service, token, Method::GET, "/api/devices", None).await, 200);
    assert_eq!(status(&service, token, Method::GET, "/api/cloudlink/events", None).await, 403);

    for wrong in [json!({"user": "owner", "pass": "no"}), json!({"user": "other", "pass": OWNER.1})] {
        let refused = here(&service).call(Method::POST, "/api/login", wrong).await;
        assert_eq!((refused.status, &refused.json["code"]), (401, &json!("wrong_login")));
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    service.clock.advance(time::Duration::HOUR);
    assert_eq!(status(&service, token, Method::GET, "/api/devices", None).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_brings_a_key_and_the_key_brings_a_token() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let keys = format!("/api/devices/{}/keys", home.device);
    let old_key = format!("{keys}/{}", home.key_hash.replace('/', "%2F"));
    let old_token = home.token(&service).await;

    let token = here(&service).token(&home.device, PASSWORD).await;
    assert_eq!(status(&service, &token, Method::DELETE, &old_key, None).await, 204);
    assert_eq!(home.grant(&service, &home.assertion(&service, &json!({})), None).await.status, 400);
    let key = json!({"label": "hub", "public_key": home.jwk()});
    assert_eq!(status(&service, &token, Method::POST, &keys, Some(key)).await, 201);

    let slots = format!("/api/devices/{}/slots", home.device);
    assert_eq!(home.call(&service, Method::GET, &slots, None).await.status, 200, "trusted anew, at once");
    assert_eq!(status(&service, &old_token, Method::GET, &slots, None).await, 401);
    let name = json!({"name": "Cellar"});
    let device = format!("/api/devices/{}", home.device);
    assert_eq!(status(&service, &token, Method::PATCH, &device, Some(name)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_login_by_password_reaches_no_relay_no_events_no_tokens_and_no_slots() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let stranger = Home::bare(&service).await;
    let token = here(&service).token(&home.device, PASSWORD).await;
    for (method, path, body) in [
        (Method::GET, "/api/cloudlink/relay".to_owned(), None),
        (Method::GET, "/api/cloudlink/events".to_owned(), None),
        (Method::POST, "/api/ack".to_owned(), Some(json!({"slot": home.slot, "version": 1}))),
        (Method::GET, format!("/api/devices/{}/slots", home.device), None),
        (Method::GET, home.at(""), None),
        (Method::PUT, home.at(""), Some(json!({"plugin": "acme"}))),
        (Method::DELETE, home.at(""), None),
        (Method::GET, home.at("/oauth"), None),
        (Method::PATCH, home.at("/oauth"), Some(json!({}))),
        (Method::GET, home.at("/token"), None),
        (Method::POST, home.at("/connect"), Some(json!({}))),
        (Method::GET, "/api/devices".to_owned(), None),
        (Method::GET, "/api/plugins".to_owned(), None),
        (Method::GET, "/api/audit".to_owned(), None),
        (Method::POST, "/api/enrolment-codes".to_owned(), None),
    ] {
        let reply = call_with(&service, &token, method.clone(), &path, body).await;
        assert_eq!((reply.status, &reply.json["code"]), (403, &json!("forbidden")), "{method} {path}");
    }
    for path in ["", "/keys", "/slots"] {
        let path = format!("/api/devices/{}{path}", stranger.device);
        assert_eq!(status(&service, &token, Method::GET, &path, None).await, 404, "{path}");
    }
    let change_it = json!({"old_password": PASSWORD, "new_password": ANOTHER});
    assert_eq!(change(&service, &stranger, &token, change_it).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_password_trusts_nobody_any_more_and_closes_the_relay() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let (replica, by_key) = (service.replica().await, home.token(&service).await);
    let mut relay = home.relay(&replica).await;
    let token = here(&service).token(&home.device, PASSWORD).await;
    let body = json!({"old_password": PASSWORD, "new_password": ANOTHER});
    assert_eq!(change(&service, &home, &token, body).await.status, 204);

    assert_eq!(relay.next().await, json!({"close": 4401}));
    assert_eq!(home.grant(&service, &home.assertion(&service, &json!({})), None).await.status, 400);
    let device = format!("/api/devices/{}", home.device);
    for ended in [&token, &by_key] {
        assert_eq!(status(&service, ended, Method::GET, &device, None).await, 401);
    }
    assert_eq!(here(&service).login(&home.device, PASSWORD).await.status, 401);
    let token = here(&service).token(&home.device, ANOTHER).await;
    let keys = call_with(&service, &token, Method::GET, &format!("{device}/keys"), None).await.expect(200);
    assert_eq!(keys, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_reset_acl_keys_stay_trusted_and_logins_by_password_end() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let (by_key, by_password) =
        (home.token(&service).await, here(&service).token(&home.device, PASSWORD).await);
    let body = json!({"old_password": PASSWORD, "new_password": ANOTHER, "reset_acl": false});
    assert_eq!(change(&service, &home, &by_key, body).await.status, 204);
    let device = format!("/api/devices/{}", home.device);
    assert_eq!(status(&service, &by_password, Method::GET, &device, None).await, 401);
    assert_eq!(status(&service, &by_key, Method::GET, &device, None).await, 200);
    assert_eq!(home.call(&service, Method::GET, &device, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_only_by_who_knows_the_old_one_and_only_to_a_good_one() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let token = home.token(&service).await;
    let weak =
        change(&service, &home, &token, json!({"old_password": PASSWORD, "new_password": "short"})).await;
    assert_eq!((weak.status, &weak.json["errors"][0]["field"]), (422, &json!("/new_password")));
    let silent = change(&service, &home, &token, json!({"new_password": ANOTHER})).await;
    assert_eq!((silent.status, &silent.json["errors"][0]["field"]), (422, &json!("/old_password")));
    let guess = json!({"old_password": "not this one at all", "new_password": ANOTHER});
    for _ in 0..5 {
        let wrong = change(&service, &home, &token, guess.clone()).await;
        assert_eq!((wrong.status, &wrong.json["code"]), (403, &json!("wrong_password")));
    }
    assert_eq!(change(&service, &home, &token, guess).await.status, 429, "counted like a failed login");
    assert_eq!(here(&service).login(&home.device, PASSWORD).await.status, 429);

    // The owner sets a new one where the old one was lost.
    let path = format!("/api/devices/{}/password", home.device);
    let lost = service.owner(Method::PUT, &path, Some(json!({"new_password": ANOTHER}))).await;
    assert_eq!(lost.status, 204);
    assert_eq!(here(&service).login(&home.device, ANOTHER).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn i04_an_unknown_device_is_answered_exactly_like_a_wrong_password() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let unknown = "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10";
    for nth in 1..=6 {
        let known = here(&service).login(&home.device, "not this one at all").await;
        let other = here(&service).login(unknown, "not this one at all").await;
        assert_eq!(known.status, if nth < 6 { 401 } else { 429 }, "{nth}");
        assert_eq!((known.status, known.text), (other.status, other.text), "{nth}");
        let wait = |reply: &reqwest::header::HeaderMap| reply.get("retry-after").cloned();
        assert_eq!(wait(&known.headers), wait(&other.headers), "{nth}");
    }
    let long = "x".repeat(20_000);
    assert_eq!(here(&service).login(unknown, &long).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn i03_strangers_close_the_door_to_strangers_only() {
    let service = Service::with(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let home = Home::bare(&service).await;
    here(&service).token(&home.device, PASSWORD).await;
    for nth in 1..=5 {
        let network = format!("203.0.113.{nth}");
        let stranger = Account { service: &service, network: &network };
        assert_eq!(stranger.login(&home.device, "not this one at all").await.status, 401);
    }
    let stranger = Account { service: &service, network: "203.0.113.200" };
    let closed = stranger.login(&home.device, PASSWORD).await;
    assert_eq!((closed.status, closed.headers["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(here(&service).login(&home.device, PASSWORD).await.status, 200, "from where it worked before");

    service.clock.advance(time::Duration::seconds(2));
    assert_eq!(stranger.login(&home.device, PASSWORD).await.status, 200, "late, and from now on known");
    for _ in 1..=5 {
        assert_eq!(here(&service).login(&home.device, "not this one at all").await.status, 401);
    }
    assert_eq!(here(&service).login(&home.device, PASSWORD).await.status, 429, "each network for itself");
    assert_eq!(stranger.login(&home.device, PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn i03_tries_are_counted_together_by_all_replicas_and_before_they_are_looked_at() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let replica = service.replica().await;
    let tries = (0..12).map(|nth| {
        let account = here(if nth % 2 == 0 { &service } else { &replica });
        let device = home.device.clone();
        async move { account.login(&device, "not this one at all").await.status }
    });
    let statuses = futures_util::future::join_all(tries).await;
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    assert!((5..=6).contains(&looked_at), "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i03_a_network_has_twenty_wrong_passwords_a_minute_whatever_the_devices() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    for nth in 0..20 {
        let device = format!("6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f{nth:02}");
        assert_eq!(here(&service).login(&device, "not this one at all").await.status, 401);
    }
    assert_eq!(here(&service).login(&home.device, PASSWORD).await.status, 429);
    service.clock.advance(time::Duration::MINUTE);
    until("the minute to be over", async || {
        (here(&service).login(&home.device, PASSWORD).await.status == 200).then_some(())
    })
    .await;
}
