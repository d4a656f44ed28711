//! After an outage of everything: many tokens are due at once, and two replicas come back together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use reqwest::Method;
use serde_json::json;
use time::{Duration, format_description::well_known::Rfc3339};

use crate::harness::{Answer, Home, Provider, Service, call_with, until};

const SLOTS: usize = 160;

#[tokio::test(flavor = "multi_thread")]
async fn f03_of_many_tokens_due_at_once_none_is_refreshed_twice_and_the_next_time_is_spread() {
    let (service, provider) =
        (Service::with(&[("REFRESH__CONCURRENCY", "0")]).await, Provider::start().await);
    let home = Home::bare(&service).await;
    service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configuration())).await.expect(201);
    let token = home.token(&service).await;
    let ends = (service.now() + Duration::minutes(30)).format(&Rfc3339).unwrap();
    for number in 0..SLOTS {
        let slot = home.beside(&format!("slot-{number}"));
        let plugin = json!({"plugin": "acme"});
        call_with(&service, &token, Method::PUT, &slot.at(""), Some(plugin)).await.expect(201);
        let tokens = json!({"access_token": "old", "refresh_token": format!("rt-{number}"), "expiry": ends});
        call_with(&service, &token, Method::PUT, &slot.at("/tokens"), Some(tokens)).await.expect(204);
    }

    // Nobody was there when they ended. Each refresh token is good once.
    service.clock.advance(Duration::hours(2));
    let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let seen = Arc::clone(&asked);
    provider.always(Answer::Judged(Arc::new(move |request| {
        let token = request.form.get("refresh_token").cloned().unwrap_or_default();
        *seen.lock().unwrap().entry(token.clone()).or_default() += 1;
        (200, json!({"access_token": "new", "refresh_token": format!("{token}-next"), "expires_in": 3600}))
    })));
    let engines = [("REFRESH__CONCURRENCY", "16")];
    let (_one, _two) = (service.replica_with(&engines).await, service.replica_with(&engines).await);
    until("all tokens to be new", async || {
        let refreshed = "select count(*) from grants where refreshed_at is not null";
        (service.database.count(refreshed).await == i64::try_from(SLOTS).unwrap()).then_some(())
    })
    .await;

    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), SLOTS, "each of them");
    let twice: Vec<_> = asked.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    // Two minutes of margin, and up to as much earlier: not all in one second again.
    let seconds = "select count(distinct date_trunc('second', refresh_at)) from grants";
    assert!(service.database.count(seconds).await > 40);
}
