//! Replacing the key that signs access tokens.

use cloudlink::flows::Retire;
use reqwest::Method;
use serde_json::json;
use time::Duration;

use crate::harness::{Account, Home, Service, call_with, until, within};

async fn kids(service: &Service) -> usize {
    let request = service.request(Method::GET, "/.well-known/jwks.json");
    let keys: serde_json::Value =
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    keys["keys"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_is_believed_for_one_hour_more() {
    let service = Service::with(&[("LOGIN__TOKEN_SECONDS", "86400")]).await;
    let home = Home::bare(&service).await;
    let old = home.token(&service).await;
    service.broker().rotate_signing_key(Retire::InAnHour).await.unwrap();
    let new = home.token(&service).await;
    assert_eq!(kids(&service).await, 2);
    let device = format!("/api/devices/{}", home.device);
    let status = async |token: &str| call_with(&service, token, Method::GET, &device, None).await.status;
    assert_eq!((status(&old).await, status(&new).await), (200, 200));
    service.clock.advance(Duration::HOUR);
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
    service.broker().forget_what_is_over().await.unwrap();
    assert_eq!(kids(&service).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_dropped_now_takes_all_with_it_that_it_signed() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let replica = service.replica().await;
    let mut relay = home.relay(&replica).await;
    let account = Account { service: &service, network: "198.51.100.1" };
    let owner = account.owner_token().await;
    service.broker().rotate_signing_key(Retire::Now).await.unwrap();

    let devices = call_with(&service, &owner, Method::GET, "/api/devices", None).await;
    assert_eq!(devices.status, 401);
    assert_eq!(within("the close", relay.next()).await, json!({"close": 4401}));
    let owner = account.owner_token().await;
    assert_eq!(call_with(&service, &owner, Method::GET, "/api/devices", None).await.status, 200);
    until("the other replica to learn of it", async || {
        let devices = call_with(&replica, &owner, Method::GET, "/api/devices", None).await;
        (devices.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rotations_at_once_leave_one_key_that_signs() {
    let service = Service::start().await;
    let replica = service.replica().await;
    let (one, other) = tokio::join!(
        service.broker().rotate_signing_key(Retire::InAnHour),
        replica.broker().rotate_signing_key(Retire::InAnHour)
    );
    assert_ne!(one.unwrap(), other.unwrap());
    let signing = sqlx::query_scalar!(
        "-- count_signing\nselect count(*) as \"signing!\" from signing_keys where retires_at is null"
    )
    .fetch_one(&service.database.pool)
    .await
    .unwrap();
    assert_eq!(signing, 1);
}
