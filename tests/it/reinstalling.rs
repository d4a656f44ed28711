//! A slot is deleted, and its name used again: for whoever remembers its versions they only grow.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::collections::BTreeMap;

use cloudlink::{
    domain::{
        audit::{Actor, Origin},
        ids::{DeviceId, SlotAddress},
        plugin::{Custody, Document},
        slot::SlotCredentials,
    },
    seams::SystemEntropy,
    store::{NewSlot, PutSlot},
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::{
    harness::{Hold, Home, Provider, Service, frames::events_in_words, home::call_with},
    races::two_replicas,
};

const HELD: &str = "select count(*) from grants";

async fn delete(service: &Service, home: &Home) {
    home.call(service, Method::DELETE, &home.at(""), None).await.expect(204);
}

/// The newest version, and the one acknowledged.
async fn versions(service: &Service, home: &Home) -> [Value; 2] {
    let slot = home.show(service).await;
    ["version", "acked_version"].map(|member| slot[member].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_used_again_goes_on_above_all_that_was_told_and_acknowledged_of_it() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol_with(&service, &provider, json!({"custody": "device"})).await;
    let mut relay = home.relay(&service).await;
    assert_eq!(relay.told(1).await, ["heating 1 customns/oauth"]);
    home.link(&service).await;
    let consent = relay.event("oauth", None).await;
    relay.ack(&consent).await;

    delete(&service, &home).await;
    let unlinked = relay.event("unlinked", None).await;
    assert_eq!(unlinked["version"], 3);
    home.install(&service, "acme", json!({})).await.expect(201);
    assert_eq!(relay.told(1).await, ["heating 4 customns/oauth"]);
    assert_eq!(versions(&service, &home).await, [4, 3]);
    home.link(&service).await;
    let anew = relay.event("oauth", None).await;
    assert_eq!(anew["version"], 5);

    // What is said late of the slot that is gone covers nothing of this one.
    relay.ack(&consent).await;
    relay.ack(&unlinked).await;
    assert!(relay.told_so_far().await.is_empty(), "an ack is no news");
    assert_eq!(versions(&service, &home).await, [5, 3]);
    assert_eq!(service.database.count(HELD).await, 1, "the tokens that nobody has yet");
    assert_eq!(home.told_at_first(&service).await, ["heating 3 customns/oauth", "heating 5 oauth"]);

    for _ in 0..2 {
        relay.ack(&anew).await;
        assert!(relay.told_so_far().await.is_empty());
        assert_eq!(versions(&service, &home).await, [5, 5]);
        assert_eq!(service.database.count(HELD).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_away_meanwhile_is_told_by_polling_and_by_the_relay() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    for begins in [4, 6] {
        delete(&service, &home).await;
        home.install(&service, "acme", json!({})).await.expect(201);
        assert_eq!(versions(&service, &home).await, [begins, begins - 1]);
        let told = [format!("heating {begins} customns/oauth")];
        assert_eq!(home.told_at_first(&service).await, told);
        let polled = home.poll(&service, "wait=0").await.expect(200);
        assert_eq!(events_in_words(&polled), told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mark_serves_all_names_of_a_device_and_no_other_device() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, neighbour) = (Home::enrol(&service, &provider).await, Home::bare(&service).await);
    home.link(&service).await;
    delete(&service, &home).await;
    let other = home.beside("cooling");
    other.install(&service, "acme", json!({})).await.expect(201);
    assert_eq!(versions(&service, &other).await, [4, 3]);
    delete(&service, &other).await;
    home.install(&service, "acme", json!({})).await.expect(201);
    assert_eq!(versions(&service, &home).await, [6, 5]);
    neighbour.install(&service, "acme", json!({})).await.expect(201);
    assert_eq!(versions(&service, &neighbour).await, [1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_meets_a_deletion_begins_above_what_that_took() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    home.link(&one).await;
    // The slot is gone, and the transaction has not ended.
    let hold = Hold::on(&one, "insert", "audit").await;
    let installed = async {
        hold.caught("put_audit").await;
        let store = other.broker().store.clone();
        let address =
            SlotAddress { device: DeviceId(home.device.parse().unwrap()), slot: home.slot.parse().unwrap() };
        let now = other.now();
        let install = tokio::spawn(async move {
            let new = NewSlot {
                address: &address,
                plugin: &"acme".parse().unwrap(),
                copy: &Document::default(),
                variables: &BTreeMap::new(),
                custody: Custody::Broker,
                credentials: &SlotCredentials::draw(&SystemEntropy),
            };
            store.create_slot(&new, &Origin { actor: Actor::Broker, network: None }, now).await
        });
        hold.blocked("create_slot").await;
        hold.release().await;
        install.await.unwrap().unwrap()
    };
    let ((), put) = tokio::join!(delete(&one, &home), installed);
    assert_eq!(put, PutSlot::Done);
    assert_eq!(versions(&one, &home).await, [4, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_and_its_device_deleted_at_once_do_not_wait_for_each_other_in_a_ring() {
    let first = Service::start().await;
    // Who waits looks for a ring at once, and only once.
    let hasty = "do $$ begin execute format('alter database %I set deadlock_timeout = ''1ms''',
        current_database()); end $$";
    first.database.pool.execute(hasty).await.unwrap();
    let (one, other) = (first.replica().await, first.replica().await);
    let provider = Provider::start().await;
    let home = Home::enrol(&one, &provider).await;
    let token = home.token(&one).await;

    let mut queue = first.database.pool.begin().await.unwrap();
    queue.execute("select 1 from slots for update").await.unwrap();
    let hold = Hold::none(&one).await;
    let slot_path = home.at("");
    let slot = call_with(&one, &token, Method::DELETE, &slot_path, None);
    let device = async {
        hold.blocked("hold_slot").await;
        let path = format!("/api/devices/{}", home.device);
        let device = other.owner(Method::DELETE, &path, None);
        let release = async {
            hold.blocked("hold_device").await;
            queue.rollback().await.unwrap();
        };
        tokio::join!(device, release).0.status
    };
    let (slot, device) = tokio::join!(slot, device);
    assert_eq!((slot.status, device), (204, 204));
}
