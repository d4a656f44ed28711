//! PostgreSQL ends, stands still, is cut off without a word, is full or has no connection free. While that lasts who
//! calls is told to come back, `/healthz` answers, and nothing is acknowledged that isn't kept; afterwards everything
//! goes on by itself. The short versions take seconds; `CLOUDLINK_LONG_FAULTS=1` makes outages of thirty.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::{os::unix::fs::MetadataExt as _, sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::{sync::Notify, time::sleep};

use crate::harness::{
    Answer, Attempt, DatabaseLink, Home, Ledger, Load, Postgres, Provider, Reply, Rotation, Service, Tally,
    call_with, cluster::Database, long, until,
};

const HOMES: usize = 6;
const SETTINGS: [(&str, &str); 3] = [
    ("FLOW__PENDING_PER_DEVICE", "1000"),
    ("RELAY__POLL_SECONDS", "1"),
    ("DATABASE__STATEMENT_SECONDS", "4"),
];

/// How long a fault lasts: longer than anybody waits for a statement.
fn lasting() -> Duration {
    Duration::from_secs(if long() { 30 } else { 7 })
}

/// While a fault lasts: alive, not ready, and quick to say so.
async fn is_alive_and_not_ready(service: &Service) {
    until("the end of readiness", async || {
        let ready = Reply::of(service.request(Method::GET, "/readyz")).await;
        (ready.status == 503 && ready.json["missing"] == json!(["database"])).then_some(())
    })
    .await;
    let health = service.request(Method::GET, "/healthz").timeout(Duration::from_secs(5));
    assert_eq!(Reply::of(health).await.status, 200);
}

async fn is_ready(service: &Service) {
    until("readiness", async || {
        (Reply::of(service.request(Method::GET, "/readyz")).await.status == 200).then_some(())
    })
    .await;
}

fn nothing_was_lost(what: &str, tally: &Tally, ledger: &Ledger) {
    let spent = ledger.spent();
    let twice = spent.values().filter(|times| **times > 1).count();
    println!(
        "{what}: {} flows done, {} failed, {} requests refused and made again, {} codes, {twice} spent twice",
        tally.done,
        tally.failed.len(),
        tally.refused.len(),
        spent.len()
    );
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
    assert_eq!(spent.len(), tally.done, "each code is a flow that was linked, told and acknowledged");
    assert_eq!(twice, 0);
    for refused in &tally.refused {
        assert!(refused.starts_with("503, retry-after:"), "{refused}");
    }
    assert!(tally.closed.is_empty(), "connections outlive it: {:?}", tally.closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_ended_at_once_and_started_again_and_nothing_acknowledged_is_lost() {
    let mut postgres = Postgres::start().await;
    let (service, (provider, ledger)) =
        (Arc::new(Service::at(Database::at(&postgres.url()).await, &SETTINGS).await), Ledger::open().await);
    let other = Arc::new(service.replica().await);
    let load = Load::start(&service, &provider, &[Arc::clone(&service), Arc::clone(&other)], HOMES).await;
    load.go_on(HOMES).await;
    for pause in [Duration::ZERO, Duration::ZERO, lasting()] {
        postgres.end_at_once().await;
        if pause > Duration::ZERO {
            is_alive_and_not_ready(&service).await;
        }
        sleep(pause).await;
        postgres.start_again().await;
        is_ready(&service).await;
        is_ready(&other).await;
        load.go_on(HOMES).await;
    }
    let tally = load.finish().await;
    nothing_was_lost("PostgreSQL ended three times", &tally, &ledger);
    assert!(!tally.refused.is_empty(), "somebody noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_stands_still_and_goes_on_and_so_does_everything_else() {
    let postgres = Postgres::start().await;
    let (service, (provider, ledger)) =
        (Arc::new(Service::at(Database::at(&postgres.url()).await, &SETTINGS).await), Ledger::open().await);
    let other = Arc::new(service.replica().await);
    let load = Load::start(&service, &provider, &[Arc::clone(&service), Arc::clone(&other)], HOMES).await;
    load.go_on(HOMES).await;
    postgres.freeze();
    is_alive_and_not_ready(&service).await;
    sleep(lasting()).await;
    postgres.thaw();
    is_ready(&service).await;
    is_ready(&other).await;
    load.go_on(HOMES).await;
    nothing_was_lost("PostgreSQL stood still", &load.finish().await, &ledger);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_without_a_word_says_so_while_others_work_and_comes_back() {
    let (direct, (provider, ledger)) = (Arc::new(Service::with(&SETTINGS).await), Ledger::open().await);
    let link = DatabaseLink::to(&direct).await;
    let cut = [("DATABASE__URL", link.url.as_str()), ("DATABASE__MAX_CONNECTIONS", "4")];
    let service = Arc::new(direct.replica_with(&cut).await);
    let behind = Load::start(&direct, &provider, &[Arc::clone(&service)], HOMES).await;
    behind.go_on(HOMES).await;
    for _ in 0..2 {
        link.hang();
        is_alive_and_not_ready(&service).await;
        let elsewhere = Home::enrol(&direct, &provider).await;
        let mut attempt = Attempt::start(&direct, &elsewhere).await;
        let code = format!("direct-{}-1", elsewhere.device);
        assert_eq!(attempt.back(&direct, &[("code", code.as_str())]).await.status, 303);
        assert_eq!(attempt.stands(&direct, &elsewhere).await, "linked", "the others go on");
        sleep(lasting()).await;
        link.flow();
        is_ready(&service).await;
        behind.go_on(HOMES).await;
    }
    // As many at once as there are connections: none was lost on the way.
    let home = Home::bare(&direct).await;
    let token = home.token(&service).await;
    let path = format!("/api/devices/{}", home.device);
    let calls = join_all((0..16).map(|_| call_with(&service, &token, Method::GET, &path, None))).await;
    assert!(calls.iter().all(|reply| reply.status == 200));
    let tally = behind.finish().await;
    let spent = ledger.spent();
    println!(
        "cut off twice: {} flows done, {} failed, {} requests refused and made again, codes spent twice {}",
        tally.done,
        tally.failed.len(),
        tally.refused.len(),
        spent.values().filter(|times| **times > 1).count()
    );
    assert!(tally.failed.is_empty() && !tally.refused.is_empty(), "{tally:?}");
    // A home that waits for its browser answers no pings meanwhile, and in a minute of that it counts as gone.
    assert!(tally.closed.is_empty() || long(), "{:?}", tally.closed);
    assert_eq!(spent.len(), tally.done + 2);
    assert!(spent.values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_the_provider_survives_a_database_that_hangs() {
    let (direct, provider) = (Service::with(&SETTINGS).await, Provider::start().await);
    let home = Home::enrol(&direct, &provider).await;
    let link = DatabaseLink::to(&direct).await;
    let service = direct.replica_with(&[("DATABASE__URL", &link.url)]).await;
    let mut attempt = Attempt::start(&service, &home).await;
    let connection = attempt.connection.clone();
    let told = Arc::new(Notify::new());
    provider.next(Answer::Held(Arc::clone(&told), 200, json!({"access_token": "at-late"})));
    let outage = async {
        provider.asked(1).await;
        link.hang();
        told.notify_one();
        is_alive_and_not_ready(&service).await;
        sleep(lasting()).await;
        link.flow();
    };
    let (page, ()) = tokio::join!(attempt.back(&service, &[("code", "a-code")]), outage);
    assert!(matches!(page.status, 303 | 503), "{}", page.html);
    until("the link", async || (home.flow(&direct, &connection).await["status"] == "linked").then_some(()))
        .await;
    assert_eq!(provider.requests().len(), 1, "the code was not spent twice");
    assert_eq!(home.access_token(&direct).await.as_deref(), Some("at-late"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_connection_held_by_a_lock_callers_are_told_when_to_come_back() {
    let settings = [("DATABASE__MAX_CONNECTIONS", "3"), ("DATABASE__STATEMENT_SECONDS", "2")];
    let (service, provider) = (Service::with(&settings).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let attempt = Attempt::start(&service, &home).await;
    let (token, url) = (home.token(&service).await, attempt.url().to_owned());
    let held = service.database.hold_flows("access exclusive").await;
    let path = home.at(&format!("/flows/{}", attempt.connection["flow"].as_str().unwrap()));
    // More than there are connections: some wait for the lock, the others for a connection.
    let calls = (0..24).map(|_| call_with(&service, &token, Method::GET, &path, None));
    let health = async {
        is_alive_and_not_ready(&service).await;
        let page = crate::harness::Browser::default().open(&service, &url).await;
        assert_eq!(page.status, 503, "{}", page.html);
    };
    let (replies, ()) = tokio::join!(join_all(calls), health);
    let refused = replies.iter().filter(|reply| reply.status == 503).count();
    println!("{} calls, {refused} refused with 503 and Retry-After, no other answer", replies.len());
    for reply in &replies {
        assert_eq!(
            (reply.status, &reply.json["code"]),
            (503, &json!("database_unavailable")),
            "{}",
            reply.text
        );
        assert!(reply.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    }
    held.rollback().await.unwrap();
    is_ready(&service).await;
    call_with(&service, &token, Method::GET, &path, None).await.expect(200);
    home.link(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_refresh_is_stored_when_the_database_is_back_and_no_refresh_token_is_sent_twice() {
    let (direct, (provider, rotation)) = (Service::with(&SETTINGS).await, Rotation::provider().await);
    let home = Home::enrol(&direct, &provider).await;
    home.link(&direct).await;
    let link = DatabaseLink::to(&direct).await;
    let service = direct.replica_with(&[("DATABASE__URL", &link.url)]).await;
    let told = Arc::new(Notify::new());
    provider.next(Answer::JudgedLater(Arc::clone(&told), rotation.judge()));
    let outage = async {
        provider.asked(2).await;
        link.cut();
        told.notify_one();
        sleep(lasting()).await;
        link.mend();
    };
    let (_, ()) = tokio::join!(home.refresh(&service), outage);
    until("the new token", async || {
        (home.get_token(&direct).await.json["access_token"] == "at-2").then_some(())
    })
    .await;
    assert_eq!((provider.requests().len(), rotation.reused()), (2, false));
}

/// Where the tables are, and what takes up the rest of the room there.
struct SmallDisk {
    postgres: Postgres,
    place: std::path::PathBuf,
}

impl SmallDisk {
    /// A file system of 24 MB: needs root, and a system that lets root mount. Nothing where it does not.
    async fn mount() -> Option<Self> {
        let postgres = Postgres::start().await;
        let place = postgres.folder().join("small");
        std::fs::create_dir(&place).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs"];
        let done = std::process::Command::new("mount").args(mount).arg(&place).output();
        let done = done.is_ok_and(|done| done.status.success());
        done.then_some(Self { postgres, place })
    }

    /// Takes what is left.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.place.join("ballast")).unwrap();
        while std::io::Write::write_all(&mut ballast, &[1; 4096]).is_ok() {}
    }

    /// Gives it back.
    fn empty(&self) {
        std::fs::remove_file(self.place.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.place).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing_that_it_has() {
    let Some(disk) = SmallDisk::mount().await else {
        return a_database_that_says_that_its_disk_is_full().await;
    };
    let (service, (provider, ledger)) = (
        Arc::new(Service::at(Database::at(&disk.postgres.url()).await, &SETTINGS).await),
        Ledger::open().await,
    );
    let tablespace = disk.place.join("tables");
    std::fs::create_dir(&tablespace).unwrap();
    let folder = std::fs::metadata(disk.postgres.folder().join("data")).unwrap();
    std::os::unix::fs::chown(&tablespace, Some(folder.uid()), Some(folder.gid())).unwrap();
    let pool = &service.database.pool;
    let create = format!("create tablespace small location '{}'", tablespace.display());
    pool.execute(AssertSqlSafe(create)).await.unwrap();
    for table in ["flows", "grants", "audit", "plugins"] {
        pool.execute(AssertSqlSafe(format!("alter table {table} set tablespace small"))).await.unwrap();
    }
    let load = Load::start(&service, &provider, &[Arc::clone(&service)], HOMES).await;
    load.go_on(HOMES).await;
    disk.fill();
    // What little room there is inside of the tables goes too.
    for (rows, letters) in [(20, 900), (1, 60), (1, 1)] {
        let insert = format!(
            "insert into audit (at, actor, action) select now(), 'x', repeat('x', {letters}) from generate_series(1, {rows})"
        );
        until("a full table", async || {
            let refused = service.database.pool.execute(AssertSqlSafe(insert.clone())).await.err()?;
            (refused.as_database_error()?.code()? == "53100").then_some(())
        })
        .await;
    }
    let health = service.request(Method::GET, "/healthz").timeout(Duration::from_secs(5));
    assert_eq!(Reply::of(health).await.status, 200);
    // What needs room is refused, and taken later.
    let mut large = provider.configuration();
    large["note"] = json!("x".repeat(45_000));
    let refused = service.owner(Method::PUT, "/api/plugins/large", Some(large.clone())).await;
    assert_eq!(
        (refused.status, &refused.json["code"]),
        (503, &json!("database_unavailable")),
        "{}",
        refused.text
    );
    assert!(refused.headers.contains_key("retry-after"));
    sleep(lasting()).await;
    disk.empty();
    service.owner(Method::PUT, "/api/plugins/large", Some(large)).await.expect(201);
    is_ready(&service).await;
    load.go_on(HOMES).await;
    nothing_was_lost("the disk was full", &load.finish().await, &ledger);
}

/// Where nothing can be mounted, a trigger says what PostgreSQL says then.
async fn a_database_that_says_that_its_disk_is_full() {
    println!("no file system can be mounted here: a trigger raises the error instead");
    let (service, (provider, ledger)) = (Arc::new(Service::with(&SETTINGS).await), Ledger::open().await);
    let load = Load::start(&service, &provider, &[Arc::clone(&service)], HOMES).await;
    load.go_on(HOMES).await;
    let full = "create function full_disk() returns trigger language plpgsql as $$ begin
            raise exception 'could not extend file' using errcode = 'disk_full'; end $$;
        create trigger full_disk before insert or update on flows for each row execute function full_disk();
        create trigger full_disk before insert or update on grants for each row execute function full_disk()";
    service.database.pool.execute(full).await.unwrap();
    sleep(lasting()).await;
    service
        .database
        .pool
        .execute("drop trigger full_disk on flows; drop trigger full_disk on grants")
        .await
        .unwrap();
    load.go_on(HOMES).await;
    nothing_was_lost("the database said that its disk is full", &load.finish().await, &ledger);
}
