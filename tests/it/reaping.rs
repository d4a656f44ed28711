//! What is of no use any more goes, by itself and by command, and nothing else does.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;
use sqlx::Executor as _;
use time::Duration;

use crate::harness::{Answer, Home, Provider, Service, run_to_end};

/// What a round counts, by kind.
type Counts = BTreeMap<String, u64>;

async fn reap(service: &Service, how: &str) -> Counts {
    let done = run_to_end(format!("reap {how}").trim_end(), &service.environment()).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let out = String::from_utf8(done.stdout).unwrap();
    out.lines()
        .map(|line| {
            let (kind, rows) = line.split_once(' ').unwrap();
            (kind.to_owned(), rows.trim().parse().unwrap())
        })
        .collect()
}

fn nothing() -> Counts {
    let kinds = [
        "flows",
        "assertion_ids",
        "revocations",
        "revoked_tokens",
        "sign_ins",
        "enrolment_codes",
        "login_attempts",
        "signing_keys",
        "audit_entries",
        "revocation_jobs",
        "account_links",
        "account_refreshes",
        "stray_tokens",
    ];
    kinds.map(|kind| (kind.to_owned(), 0)).into()
}

/// One of each kind, as if all had happened long ago.
const LONG_AGO: &str = "
    update flows set expires_at = expires_at - interval '3 days';
    update assertion_ids set forget_at = forget_at - interval '3 days';
    insert into revocations (device, revoked_at, forget_at)
        select id, now() - interval '3 days', now() - interval '2 days' from devices;
    insert into revoked_tokens (id, forget_at) values (gen_random_uuid(), now() - interval '2 days');
    insert into sign_ins (id, kind, status, network, created_at, expires_at, forget_at, redirect_uri, code_challenge)
        values (gen_random_uuid(), 'authorization_code', 'pending', '192.0.2.1', now() - interval '3 days',
            now() - interval '2 days', now() - interval '2 days', 'http://127.0.0.1:9/', 'x');
    insert into enrolment_codes (code_hash, expires_at) values ('x', now() - interval '1 minute');
    insert into login_attempts (device, network, failures, retry_at, logged_in_at)
        values (gen_random_uuid(), '192.0.2.1', 0, now(), now() - interval '100 days');
    insert into signing_keys (kid, pkcs8, created_at, retires_at)
        values ('old', 'x', now() - interval '3 days', now() - interval '1 day');
    insert into audit (at, actor, action) values (now() - interval '100 days', 'broker', 'flow.failed');
    insert into revocation_jobs (id, device, slot, configuration, variables, tokens, next_try_at, give_up_at)
        values (gen_random_uuid(), gen_random_uuid(), 'a', 'x', '{}', 'x', now() + interval '1 day', now());
    insert into account_links (id, service, plugin, plugin_name, status, configuration, redirect_uri, redirect_kind,
            client_network, created_at, expires_at, finished_at)
        values (gen_random_uuid(), 'a', 'a', 'A', 'expired', 'x', 'http://127.0.0.1:9/', 'own', '192.0.2.1',
            now() - interval '3 hours', now() - interval '2 hours', now() - interval '2 hours');
    insert into account_refreshes (token_hash, lease_until, answer, forget_at) values ('x', now(), 'x', now());
";

async fn stage() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    (service, provider, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_deletes_what_a_dry_run_counts_and_nothing_that_is_in_use() {
    let (service, _provider, home) = stage().await;
    assert_eq!(reap(&service, "--dry-run").await, nothing());
    service.database.pool.execute(LONG_AGO).await.unwrap();
    let counted = reap(&service, "--dry-run").await;
    assert_eq!(reap(&service, "--dry-run").await, counted, "nothing was deleted");
    for (kind, rows) in &counted {
        assert_eq!(*rows > 0, kind != "stray_tokens", "{kind} {rows}");
    }
    assert_eq!(reap(&service, "").await, counted);
    let mut after = reap(&service, "--dry-run").await;
    // Giving a job up is an entry of its own, and new.
    assert_eq!(after.remove("audit_entries"), Some(0));
    assert!(after.values().all(|rows| *rows == 0), "{after:?}");
    assert_eq!(home.show(&service).await["status"], "linked");
    assert_eq!(home.access_token(&service).await.as_deref(), Some("at-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_or_behind_is_refused_and_nothing_is_made() {
    let service = Service::start().await;
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    let mut nowhere = service.environment();
    nowhere.push(("CLOUDLINK__DATABASE__URL".to_owned(), String::new()));
    nowhere.push(("CLOUDLINK__DATABASE__DATA_DIR".to_owned(), missing.display().to_string()));
    let forget_a_migration =
        "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    let migrations = "select count(*) from _sqlx_migrations";
    service.database.pool.execute(forget_a_migration).await.unwrap();
    let left = service.database.count(migrations).await;
    for command in ["reap --dry-run", "reap"] {
        for (environment, why) in [
            (&nowhere, "there is no database in"),
            (&service.environment(), "the database is not up to date"),
        ] {
            let done = run_to_end(command, environment).await;
            let said = String::from_utf8(done.stderr).unwrap();
            assert!(!done.status.success() && said.contains(why), "{said}");
        }
    }
    assert!(!missing.exists());
    assert_eq!(service.database.count(migrations).await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_runs_forgets_by_itself() {
    let (service, _provider, _home) = stage().await;
    service.database.pool.execute(LONG_AGO).await.unwrap();
    let broker = service.broker();
    broker.sweep_flows().await.unwrap();
    broker.forget_what_is_over().await.unwrap();
    assert_eq!(reap(&service, "--dry-run").await, nothing());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_should_not_be_there_go_and_those_of_a_consent_that_comes_stay() {
    let (service, provider, home) = stage().await;
    let version = home.show(&service).await["version"].as_i64().unwrap();
    // As if a plugin had acknowledged a version before it was there.
    home.patch(&service, json!({"custody": "device"})).await.expect(200);
    service.database.pool.execute("update slots set acked_version = version").await.unwrap();
    assert_eq!(reap(&service, "--dry-run").await["stray_tokens"], 1);

    provider.next(Answer::Json(200, json!({"access_token": "at-2"})));
    home.link(&service).await;
    assert_eq!(reap(&service, "").await["stray_tokens"], 0, "it is to be told first");
    assert_eq!(home.access_token(&service).await.as_deref(), Some("at-2"));
    assert_eq!(home.ack(&service, "heating", version + 2).await, 204);

    home.patch(&service, json!({"custody": null})).await.expect(200);
    home.link(&service).await;
    service.database.pool.execute("update slots set status = 'unlinked'").await.unwrap();
    assert_eq!(reap(&service, "").await["stray_tokens"], 1);
    assert_eq!(service.database.count("select count(*) from grants").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_grant_leaves_nothing_to_reap() {
    let (service, provider, home) = stage().await;
    provider.always(Answer::Json(400, json!({"error": "invalid_grant"})));
    service.clock.advance(Duration::hours(2));
    let reply = home.call(&service, Method::GET, &home.at("/token"), None).await;
    assert_eq!(reply.status, 409);
    assert_eq!(service.database.count("select count(*) from grants").await, 0, "erased with its end");
    assert_eq!(reap(&service, "--dry-run").await["stray_tokens"], 0);
}
