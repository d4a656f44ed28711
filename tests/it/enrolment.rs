//! How a hub becomes a device: by the owner, with a one-time code, or openly.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Account, Home, PASSWORD, Service};

fn anyone(service: &Service) -> Account<'_> {
    Account { service, network: "198.51.100.1" }
}

async fn code(service: &Service) -> Value {
    let made = service.owner(Method::POST, "/api/enrolment-codes", None).await.expect(201);
    assert_eq!(made["expires_in"], 900);
    assert!(made["enrolment_code"].as_str().unwrap().len() >= 22, "128 bits or more");
    made["enrolment_code"].clone()
}

fn hub(code: &Value) -> Value {
    json!({"name": "Hub", "password": PASSWORD, "enrolment_code": code})
}

async fn devices(service: &Service) -> usize {
    service.owner(Method::GET, "/api/devices", None).await.expect(200).as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_lets_one_device_in_and_no_second() {
    let service = Service::start().await;
    let code = code(&service).await;
    let weak = json!({"name": "Hub", "password": "short", "enrolment_code": code});
    assert_eq!(anyone(&service).call(Method::POST, "/api/devices", weak).await.status, 422);
    let enrolled = anyone(&service).call(Method::POST, "/api/devices", hub(&code)).await.expect(201);
    assert_eq!(enrolled["name"], "Hub");
    let device = enrolled["device"].as_str().unwrap();
    assert_eq!(anyone(&service).login(device, PASSWORD).await.status, 200);

    let again = anyone(&service).call(Method::POST, "/api/devices", hub(&code)).await;
    assert_eq!((again.status, &again.json["code"]), (403, &json!("enrolment_refused")));
    assert_eq!(devices(&service).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_code_or_with_a_wrong_one_nobody_gets_in() {
    let service = Service::start().await;
    let bare = json!({"name": "Hub", "password": PASSWORD});
    assert_eq!(anyone(&service).call(Method::POST, "/api/devices", bare).await.status, 401);
    let wrong = anyone(&service).call(Method::POST, "/api/devices", hub(&json!("made-up"))).await;
    assert_eq!((wrong.status, &wrong.json["code"]), (403, &json!("enrolment_refused")));
    assert_eq!(devices(&service).await, 0);

    let home = Home::bare(&service).await;
    let made = home.call(&service, Method::POST, "/api/enrolment-codes", None).await;
    assert_eq!(made.status, 403, "codes are the owner's to give");
    let by_device = json!({"name": "Hub", "password": PASSWORD});
    assert_eq!(home.call(&service, Method::POST, "/api/devices", Some(by_device)).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_bring_one_code_to_two_replicas_exactly_one_gets_in() {
    let service = Service::start().await;
    let (replica, code) = (service.replica().await, code(&service).await);
    let tries = (0..8).map(|nth| {
        let account = anyone(if nth % 2 == 0 { &service } else { &replica });
        let body = hub(&code);
        async move { account.call(Method::POST, "/api/devices", body).await.status }
    });
    let mut statuses = join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403, 403, 403, 403, 403]);
    assert_eq!(devices(&service).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_ends_after_a_quarter_of_an_hour() {
    let service = Service::start().await;
    let code = code(&service).await;
    service.clock.advance(time::Duration::minutes(15));
    let late = anyone(&service).call(Method::POST, "/api/devices", hub(&code)).await;
    assert_eq!((late.status, &late.json["code"]), (403, &json!("enrolment_refused")));
    service.broker().forget_what_is_over().await.unwrap();
    let left = sqlx::query_scalar!("-- count_codes\nselect count(*) as \"left!\" from enrolment_codes")
        .fetch_one(&service.database.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_enrolment_takes_anyone_but_not_any_number_from_one_network() {
    let service =
        Service::with(&[("ENROLMENT__OPEN", "true"), ("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let body = json!({"name": "Hub", "password": PASSWORD});
    for _ in 0..10 {
        anyone(&service).call(Method::POST, "/api/devices", body.clone()).await.expect(201);
    }
    let refused = anyone(&service).call(Method::POST, "/api/devices", body.clone()).await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after"));
    let elsewhere = Account { service: &service, network: "203.0.113.7" };
    assert_eq!(elsewhere.call(Method::POST, "/api/devices", body.clone()).await.status, 201);
    assert_eq!(service.owner(Method::POST, "/api/devices", Some(body)).await.status, 201);
}
