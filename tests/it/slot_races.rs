//! Two replicas change one slot, or two plugins claim one provider, at the same time.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use sqlx::Executor as _;
use tokio::sync::Notify;

use crate::{
    harness::{Answer, Hold, Home, Provider, Service},
    races::{consent, two_replicas},
};

#[tokio::test(flavor = "multi_thread")]
async fn b03_of_two_plugins_that_claim_the_same_at_once_one_is_quarantined() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::bare(&one).await;
    let configuration = Some(provider.configuration());
    let (a, b) = tokio::join!(
        one.owner(Method::PUT, "/api/plugins/a", configuration.clone()),
        other.owner(Method::PUT, "/api/plugins/b", configuration.clone())
    );
    assert_eq!((a.status, b.status), (201, 201));
    let mut started = Vec::new();
    for plugin in ["a", "b"] {
        home.install(&one, plugin, json!({})).await;
        let reply = home.call(&one, Method::POST, &home.at("/connect"), Some(json!({}))).await;
        started.push(reply.status);
    }
    started.sort_unstable();
    assert_eq!(started, [201, 409]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_installed_on_two_replicas_at_once_is_made_once() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::bare(&one).await;
    one.owner(Method::PUT, "/api/plugins/acme", Some(provider.configuration())).await.expect(201);
    let (a, b, c, d) = tokio::join!(
        home.install(&one, "acme", json!({})),
        home.install(&other, "acme", json!({})),
        home.install(&one, "acme", json!({})),
        home.install(&other, "acme", json!({}))
    );
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 201]);
    assert_eq!(home.show(&one).await["version"], 1, "the same configuration again is no change");
}

/// Points the plugin elsewhere, and copies that into the slot.
async fn reconfigure(service: &Service, home: &Home, elsewhere: &Provider) -> u16 {
    service.owner(Method::PUT, "/api/plugins/acme", Some(elsewhere.configuration())).await.expect(200);
    home.install(service, "acme", json!({})).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_a_slot_pointed_elsewhere_during_an_exchange_does_not_get_its_tokens() {
    let (one, other, provider) = two_replicas(&[]).await;
    let (home, elsewhere) = (Home::enrol(&one, &provider).await, Provider::start().await);
    let (connection, mut browser, sent) = consent(&one, &home).await;
    let tokens = json!({"access_token": "at-old-host"});
    let told = Arc::new(Notify::new());
    provider.next(Answer::Held(Arc::clone(&told), 200, tokens));
    let callback = async {
        let after = browser.callback(&one, &sent, &[("code", "a-code")]).await;
        assert_eq!(after.status, 303, "{}", after.html);
    };
    let change = async {
        provider.asked(1).await;
        assert_eq!(reconfigure(&other, &home, &elsewhere).await, 200);
        told.notify_one();
    };
    tokio::join!(callback, change);
    let flow = home.flow(&one, &connection).await;
    assert_eq!(flow, json!({"status": "failed", "error": "exchange_failed"}));
    assert_eq!(home.show(&one).await["status"], "unlinked");
    let all = home.poll(&one, "state=all").await.expect(200);
    assert!(!all.to_string().contains("at-old-host"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_a_slot_pointed_elsewhere_while_a_flow_starts_is_not_linked_by_that_flow() {
    let (one, other, provider) = two_replicas(&[]).await;
    let (home, elsewhere) = (Home::enrol(&one, &provider).await, Provider::start().await);
    let hold = Hold::on(&one, "insert", "flows").await;
    let starting = home.connect(&one);
    let change = async {
        hold.caught("start_flow").await;
        let changing = reconfigure(&other, &home, &elsewhere);
        tokio::pin!(changing);
        let changed = tokio::select! {
            status = &mut changing => Some(status),
            () = hold.blocked("reconfigure_slot") => None,
        };
        hold.release().await;
        match changed {
            Some(status) => status,
            None => changing.await,
        }
    };
    let (connection, changed) = tokio::join!(starting, change);
    assert_eq!(changed, 200);
    let status = home.flow(&one, &connection).await["status"].clone();
    assert_eq!(status, "failed", "it would bring the old host's tokens to the new host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconfiguration_and_a_link_at_once_do_not_wait_for_each_other_in_a_ring() {
    let first = Service::start().await;
    // Who waits looks for a ring at once, and only once.
    let hasty = "do $$ begin execute format('alter database %I set deadlock_timeout = ''1ms''',
        current_database()); end $$";
    first.database.pool.execute(hasty).await.unwrap();
    let (one, other) = (first.replica().await, first.replica().await);
    let (provider, elsewhere) = (Provider::start().await, Provider::start().await);
    let home = Home::enrol(&one, &provider).await;
    let (connection, mut browser, sent) = consent(&one, &home).await;

    let mut queue = first.database.pool.begin().await.unwrap();
    queue.execute("select 1 from slots for update").await.unwrap();
    let hold = Hold::none(&one).await;
    let change = reconfigure(&other, &home, &elsewhere);
    let callback = async {
        hold.blocked("reconfigure_slot").await;
        let callback = browser.callback(&one, &sent, &[("code", "a-code")]);
        let release = async {
            hold.blocked("store_consent").await;
            queue.rollback().await.unwrap();
        };
        tokio::join!(callback, release).0.status
    };
    assert_eq!(tokio::join!(change, callback), (200, 303));
    assert_eq!(home.flow(&one, &connection).await["status"], "failed");
    assert_eq!(home.show(&one).await["status"], "unlinked");
}
