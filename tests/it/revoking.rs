//! `cloudlink signout`: an access token is given back before its time (RFC 7009), on every replica.

use reqwest::Method;
use serde_json::json;
use time::Duration;

use crate::harness::{Account, Home, PASSWORD, Reply, Service, Terminal, call_with, until, within};

async fn give_back(service: &Service, token: &str) -> Reply {
    Terminal::of(service).post("/api/revoke", &[("token", token), ("token_type_hint", "refresh_token")]).await
}

async fn status(service: &Service, token: &str, path: &str) -> u16 {
    call_with(service, token, Method::GET, path, None).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_any_kind_can_be_given_back_and_no_other_ends_with_it() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let account = Account { service: &service, network: "198.51.100.1" };
    let device = format!("/api/devices/{}", home.device);
    let owner_twice = [account.owner_token().await, account.owner_token().await];
    let key_twice = [home.token(&service).await, home.token(&service).await];
    let password_twice =
        [account.token(&home.device, PASSWORD).await, account.token(&home.device, PASSWORD).await];
    let terminal = Terminal::of(&service);
    let login_twice = [terminal.owner_token().await, terminal.owner_token().await];
    for [ended, kept] in [owner_twice, key_twice, password_twice, login_twice] {
        assert_eq!(status(&service, &ended, &device).await, 200);
        let answer = give_back(&service, &ended).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
        assert_eq!(status(&service, &ended, &device).await, 401);
        assert_eq!(status(&service, &kept, &device).await, 200);
        assert_eq!(give_back(&service, &ended).await.status, 200, "again");
    }
    let audit = service.owner(Method::GET, "/api/audit?limit=100", None).await.expect(200);
    let revoked: Vec<_> =
        audit.as_array().unwrap().iter().filter(|entry| entry["action"] == "token.revoked").collect();
    assert_eq!(revoked.len(), 4);
    assert_eq!(revoked[1]["actor"], format!("device:{}", home.device));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_back_token_ends_on_the_other_replica_and_closes_its_relay() {
    let service = Service::start().await;
    let replica = service.replica().await;
    let home = Home::bare(&service).await;
    let (token, other) = (home.token(&service).await, home.token(&service).await);
    let mut relay = crate::harness::Relay::attach(&replica, &token).await;
    let mut stays = crate::harness::Relay::attach(&replica, &other).await;
    assert_eq!(give_back(&service, &token).await.status, 200);
    assert_eq!(within("the close", relay.next()).await, json!({"close": 4401}));
    let device = format!("/api/devices/{}", home.device);
    until("the other replica to learn of it", async || {
        (status(&replica, &token, &device).await == 401).then_some(())
    })
    .await;
    stays.send(&json!({"type": "token", "slot": "nowhere", "id": 1})).await;
    assert_eq!(stays.next().await["type"], "reply");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_good_token_is_answered_alike_and_changes_nothing() {
    let service = Service::start().await;
    let foreign = Service::start().await;
    let home = Home::bare(&service).await;
    let expired = home.token(&service).await;
    let foreign = Account { service: &foreign, network: "198.51.100.1" }.owner_token().await;
    service.clock.advance(Duration::HOUR);
    let good = home.token(&service).await;
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{signed}.{other}{}", &signature[1..]);
    for token in ["garbage", "a.b.c", &expired, &foreign, &tampered, &"x".repeat(9000)] {
        let answer = give_back(&service, token).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    }
    assert_eq!(service.database.count("select count(*) from revoked_tokens").await, 0);
    let missing = Terminal::of(&service).post("/api/revoke", &[("token_type_hint", "access_token")]).await;
    assert_eq!((missing.status, &missing.json["error"]), (400, &json!("invalid_request")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_network_adds_a_bounded_number_and_all_are_forgotten_when_they_would_have_expired() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    for _ in 0..60 {
        assert_eq!(give_back(&service, &home.token(&service).await).await.status, 200);
    }
    let token = home.token(&service).await;
    let refused = give_back(&service, &token).await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after"));
    let device = format!("/api/devices/{}", home.device);
    assert_eq!(status(&service, &token, &device).await, 200);
    assert_eq!(service.database.count("select count(*) from revoked_tokens").await, 60);
    service.clock.advance(Duration::minutes(66));
    service.broker().forget_what_is_over().await.unwrap();
    assert_eq!(service.database.count("select count(*) from revoked_tokens").await, 0);
}
