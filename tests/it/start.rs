//! Starting: with the wrong vault keys nothing is touched, and many may migrate at once.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cloudlink::{config::Settings, startup};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::harness::{Home, KEYS, Process, Provider, Service, dump::rows_at_rest, run_to_end};

/// Starts the binary on the database of `service` with these keys; what it says instead of starting.
async fn refused(service: &Service, keys: &str) -> String {
    let before = rows_at_rest(&service.database.pool).await;
    let mut environment = service.environment();
    environment.retain(|(key, _)| key != "CLOUDLINK__VAULT__KEYS");
    if !keys.is_empty() {
        environment.push(("CLOUDLINK__VAULT__KEYS".to_owned(), keys.to_owned()));
    }
    let output = run_to_end("serve", &environment).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{keys}: {said}");
    assert!(output.status.code().is_some(), "it ended by itself: {said}");
    assert_eq!(rows_at_rest(&service.database.pool).await, before, "{keys}: the database is as it was");
    for secret in keys.split([',', ':']).filter(|part| part.len() > 12) {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(said.contains("vault.keys"), "it names the setting: {said}");
    assert!(!said.contains("panicked") && !said.contains("a bug stopped"), "{said}");
    said
}

fn key(id: &str, byte: u8, length: usize) -> String {
    format!("{id}:{}", STANDARD.encode(vec![byte; length]))
}

#[tokio::test(flavor = "multi_thread")]
async fn g05_with_missing_short_or_wrong_keys_it_does_not_start_and_touches_nothing() {
    // It goes on running meanwhile, and must not write by itself.
    let (service, provider) =
        (Service::with(&[("REFRESH__CONCURRENCY", "0")]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let service = {
        // From now on a second key is needed.
        let both = format!("{},{KEYS}", key("k2", 2, 32));
        let process = Process::start(&service, &[("VAULT__KEYS", &both)]).await;
        home.link(&process.service).await;
        service
    };
    refused(&service, "").await;
    assert!(refused(&service, &key("k1", 7, 16)).await.contains("16 bytes"));
    refused(&service, &key("k1", 0, 32)).await;
    refused(&service, "no colon at all").await;
    let other = format!("{},{}", key("k2", 2, 32), key("k1", 9, 32));
    assert!(refused(&service, &other).await.contains("`k1`"), "the key of that id is another one");
    assert!(refused(&service, KEYS).await.contains("`k2`"), "the second key is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_can_be_migrated_by_many_at_once() {
    let service = Service::start().await;
    let name = format!("empty_{}", std::process::id());
    let statement = format!("create database {name} template template0");
    service.database.pool.execute(AssertSqlSafe(statement)).await.unwrap();
    let mut url: url::Url = service.database.url.parse().unwrap();
    url.set_path(&name);
    let mut environment = service.environment();
    environment.retain(|(key, _)| key != "CLOUDLINK__DATABASE__URL");
    environment.push(("CLOUDLINK__DATABASE__URL".to_owned(), url.to_string()));
    let settings = Settings::load(None, environment).unwrap();
    let migrations = (0..6).map(|_| startup::migrate(&settings));
    for done in futures_util::future::join_all(migrations).await {
        done.unwrap();
    }
    let one = service.replica_with(&[("DATABASE__URL", url.as_str())]).await;
    Home::bare(&one).await;
}
