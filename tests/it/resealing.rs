//! Rotating the vault key while everybody goes on, and what comes in between.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cloudlink::{
    flows::{ResealError, Resealed, reseal},
    seams::{SystemClock, SystemEntropy},
    store::{SchemaError, SealedColumn, Store},
    vault::ring::KeyRing,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{
    Answer, Attempt, Hold, Home, KEYS, Provider, Service, begin, dump::rows_at_rest, run_to_end, within,
};

/// The second key alone, in front of the first, and behind it.
fn second() -> String {
    format!("k2:{}", STANDARD.encode([2; 32]))
}

fn both() -> String {
    format!("{},{KEYS}", second())
}

/// The database as a command sees it that has these keys.
fn store(service: &Service, keys: &str) -> Store {
    let ring = Arc::new(KeyRing::parse(keys.split(',')).unwrap());
    Store::new(
        service.database.pool.clone(),
        std::time::Duration::from_secs(20),
        ring,
        Arc::new(SystemEntropy),
    )
}

async fn rotate(store: &Store) -> Result<Resealed, ResealError> {
    within("a rotation", reseal(store, &SystemClock, &CancellationToken::new(), &mut |_| {})).await
}

/// The ids of all keys that seal something.
async fn keys_in_use(service: &Service) -> BTreeSet<String> {
    let counts = store(service, KEYS).count_sealed().await.unwrap();
    counts.into_iter().map(|count| count.key.map_or_else(String::new, |key| key.to_string())).collect()
}

/// Runs a command with the settings of `service`: how it ended, what it printed, what it said.
async fn run(service: &Service, command: &str) -> (bool, String, String) {
    let output = run_to_end(command, &service.environment()).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

async fn status(service: &Service) -> Value {
    let (_, printed, said) = run(service, "keys status --json").await;
    serde_json::from_str(&printed).unwrap_or_else(|_| panic!("no JSON: {printed} {said}"))
}

/// A slot that is linked, a flow at the provider and one that waits for its code, all under the first key.
async fn furnished(service: &Service, provider: &Provider) -> (Home, Attempt, Attempt) {
    let home = Home::enrol(service, provider).await;
    home.link(service).await;
    let mut waiting = Attempt::start(service, &home).await;
    waiting.back(service, &[("code", "c")]).await;
    let under_way = Attempt::start(service, &home).await;
    (home, under_way, waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn g06_rotated_online_without_the_old_key_all_is_readable() {
    let (service, provider) = (Service::with(&[("CONSENT__BINDING", "page")]).await, Provider::start().await);
    provider.next(Answer::Json(200, json!({"access_token": "under-the-old-key"})));
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let mut under_way = Attempt::start(&service, &home).await;
    let old_link = home.connect(&service).await["connect_url"].as_str().unwrap().to_owned();
    let rotating = service.replica_with(&[("VAULT__KEYS", &both())]).await;
    assert!(keys_in_use(&service).await.contains("k1"));
    service.stop().await;

    // Somebody keeps writing.
    let stop = CancellationToken::new();
    let writing = async {
        let other = Home::bare(&rotating).await;
        let mut written = 0;
        while !stop.is_cancelled() {
            other.install(&rotating, "acme", json!({})).await;
            other.link(&rotating).await;
            written += 1;
        }
        written
    };
    let rotation = async {
        let ended = run(&rotating, "keys rotate").await;
        stop.cancel();
        ended
    };
    let ((whole, printed, said), written) = tokio::join!(rotation, writing);
    assert!(whole && printed.contains("everything stored has the key k2"), "{printed} {said}");
    assert!(said.contains("slots.client_secret: 1 sealed anew"), "lines where no terminal is: {said}");
    assert!(written > 0);

    let seen = status(&rotating).await;
    assert_eq!(seen["unreadable"], 0);
    let key =
        |id: &str| seen["keys"].as_array().unwrap().iter().find(|key| key["key"] == id).unwrap().clone();
    assert_eq!(key("k1"), json!({"key": "k1", "values": 0, "seals": false, "in_vault_keys": true}));
    assert!(key("k2")["seals"] == true && key("k2")["values"].as_u64().unwrap() > 10, "{seen}");
    assert_eq!(seen["signing_keys"][0]["retires_at"], Value::Null);

    // Links of the old key are good as long as that key is there.
    assert_eq!(under_way.browser.open(&rotating, &old_link).await.status, 200);
    let without = rotating.replica_with(&[("VAULT__KEYS", &second())]).await;
    rotating.stop().await;
    assert_eq!(under_way.browser.open(&without, &old_link).await.status, 404);
    assert_eq!(home.access_token(&without).await.as_deref(), Some("under-the-old-key"));
    without.owner(Method::GET, "/api/plugins/acme", None).await.expect(200);
    home.call(&without, Method::GET, &home.at("/oauth"), None).await.expect(200);
    assert_eq!(under_way.back(&without, &[("code", "c")]).await.status, 303);
    assert_eq!(under_way.stands(&without, &home).await, "linked");
    let audit = without.owner(Method::GET, "/api/audit", None).await.expect(200);
    let entry =
        audit.as_array().unwrap().iter().find(|entry| entry["action"] == "vault_key.rotated").unwrap();
    assert_eq!((&entry["actor"], &entry["subject"]), (&json!("operator"), &json!("k2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_arrive_while_the_old_ones_are_sealed_anew_are_kept() {
    let (first, provider) = (Service::with(&[("CONSENT__BINDING", "page")]).await, Provider::start().await);
    let home = Home::enrol(&first, &provider).await;
    home.link(&first).await;
    let service = first.replica_with(&[("VAULT__KEYS", &both())]).await;
    let hold = Hold::on(&service, "update", "grants").await;
    provider.next(Answer::Json(200, json!({"access_token": "the-newest"})));
    let link = home.link(&service);
    let store = store(&service, &both());
    let raced = async {
        hold.caught("store_consent").await;
        let resealing = async { store.reseal_batch(SealedColumn::GrantTokens, None).await.unwrap() };
        let released = async {
            hold.blocked("reseal").await;
            hold.release().await;
        };
        tokio::join!(resealing, released).0
    };
    let (_, batch) = tokio::join!(link, raced);
    assert_eq!((batch.resealed, batch.overtaken), (0, 1), "the writer wins");
    assert_eq!(home.access_token(&service).await.as_deref(), Some("the-newest"));
    assert_eq!(rotate(&store).await.unwrap(), Resealed::Whole);
    assert_eq!(home.access_token(&service).await.as_deref(), Some("the-newest"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_gone_by_then_is_left_alone() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, ..) = furnished(&service, &provider).await;
    drop(service.replica_with(&[("VAULT__KEYS", &both())]).await);
    let hold = Hold::on(&service, "delete", "grants").await;
    let store = store(&service, &both());
    let slot = home.at("");
    let removal = home.call(&service, Method::DELETE, &slot, None);
    let raced = async {
        hold.caught("delete_slot").await;
        let resealing = async { store.reseal_batch(SealedColumn::SlotHandle, None).await.unwrap() };
        let released = async {
            hold.blocked("reseal").await;
            hold.release().await;
        };
        tokio::join!(resealing, released).0
    };
    let (removed, batch) = tokio::join!(removal, raced);
    assert_eq!((removed.status, batch.resealed, batch.overtaken), (204, 0, 1));
    assert_eq!(service.database.count("select count(*) from slots").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_killed_is_finished_by_the_next() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, ..) = furnished(&service, &provider).await;
    let rotating = service.replica_with(&[("VAULT__KEYS", &both())]).await;
    let hold = Hold::on(&service, "update", "slots").await;
    let mut killed = begin("keys rotate", &rotating.environment());
    hold.caught("reseal").await;
    killed.kill().await.unwrap();
    assert_eq!(keys_in_use(&service).await, BTreeSet::from(["k1".to_owned(), "k2".to_owned()]));
    hold.release().await;
    let (whole, _, said) = run(&rotating, "keys rotate").await;
    assert!(whole, "{said}");
    assert_eq!(keys_in_use(&service).await, BTreeSet::from(["k2".to_owned()]));
    assert!(home.access_token(&rotating).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_told_to_stop_ends_and_can_go_on() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    furnished(&service, &provider).await;
    drop(service.replica_with(&[("VAULT__KEYS", &both())]).await);
    let (store, stop) = (store(&service, &both()), CancellationToken::new());
    let mut steps = 0;
    let mut watch = |_| {
        steps += 1;
        if steps == 3 {
            stop.cancel();
        }
    };
    assert_eq!(reseal(&store, &SystemClock, &stop, &mut watch).await.unwrap(), Resealed::Stopped);
    assert_eq!(steps, 3);
    assert!(keys_in_use(&service).await.contains("k1"));
    assert_eq!(rotate(&store).await.unwrap(), Resealed::Whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rotations_at_once_of_more_than_a_batch_lose_nothing() {
    const PLUGINS: usize = 230;
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, ..) = furnished(&service, &provider).await;
    for plugin in 0..PLUGINS {
        let path = format!("/api/plugins/p{plugin}");
        service.owner(Method::PUT, &path, Some(provider.configuration())).await.expect(201);
    }
    drop(service.replica_with(&[("VAULT__KEYS", &both())]).await);
    let store = store(&service, &both());
    let first = store.reseal_batch(SealedColumn::PluginConfiguration, None).await.unwrap();
    assert_eq!(first.resealed, 100, "a batch is bounded");
    let (one, other) = tokio::join!(rotate(&store), rotate(&store));
    assert_eq!((one.unwrap(), other.unwrap()), (Resealed::Whole, Resealed::Whole));
    let without = service.replica_with(&[("VAULT__KEYS", &second())]).await;
    let plugins = without.owner(Method::GET, "/api/plugins", None).await.expect(200);
    assert_eq!(plugins.as_array().unwrap().len(), PLUGINS + 1);
    assert!(home.access_token(&without).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_opened_is_named_and_left_and_the_rest_is_done() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, ..) = furnished(&service, &provider).await;
    let rotating = service.replica_with(&[("VAULT__KEYS", &both())]).await;
    let pool = &service.database.pool;
    let damage = "update grants set tokens = set_byte(tokens, 40, get_byte(tokens, 40) # 1)";
    sqlx::query(damage).execute(pool).await.unwrap();
    // Its key is called k9.
    sqlx::query("update slots set handle = set_byte(handle, 3, 57)").execute(pool).await.unwrap();
    let (whole, _, said) = run(&rotating, "keys rotate").await;
    assert!(!whole, "{said}");
    for part in ["grants.tokens", "slots.handle: 1 values have k9", home.device.as_str(), "needs key k9"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let seen = status(&rotating).await;
    let left: Vec<&Value> =
        seen["columns"].as_array().unwrap().iter().filter(|count| count["key"] != "k2").collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let (whole, printed, said) = run(&rotating, "keys status").await;
    assert!(
        !whole && printed.contains("NOT IN vault.keys") && said.contains("1 values can't be read"),
        "{printed} {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sealed_with_a_key_that_no_replica_has_or_that_is_another() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    furnished(&service, &provider).await;
    let before = rows_at_rest(&service.database.pool).await;
    let refused = rotate(&store(&service, &both())).await.unwrap_err();
    assert!(
        matches!(&refused, ResealError::Refused(SchemaError::NotInFront(key)) if key == "k2"),
        "{refused}"
    );
    let another = format!("k1:{}", STANDARD.encode([9; 32]));
    let refused = rotate(&store(&service, &another)).await.unwrap_err();
    assert!(matches!(&refused, ResealError::Refused(SchemaError::WrongKey(key)) if key == "k1"), "{refused}");
    assert_eq!(rows_at_rest(&service.database.pool).await, before);
}
