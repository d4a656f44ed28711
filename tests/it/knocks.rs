//! Replicas wake each other: over PostgreSQL, over a bus that loses its connections, and without any bus.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::harness::{Home, Process, Provider, Reply, Service, frames::events_in_words, until};

/// So seldom that only knocks can have told.
pub(crate) const NO_POLL: (&str, &str) = ("RELAY__POLL_SECONDS", "300");
/// So often that no knock is missed.
pub(crate) const OFTEN: (&str, &str) = ("RELAY__POLL_SECONDS", "1");

/// What plugins are told on each of two replicas of what happens on the other.
pub(crate) async fn each_tells_of_the_other(one: &Service, two: &Service) {
    let provider = Provider::start().await;
    let home = Home::enrol(one, &provider).await;
    let (mut here, mut there) = (home.relay(one).await, home.relay(two).await);
    let both = async |here: &mut crate::harness::Relay, there: &mut crate::harness::Relay, count: usize| {
        let (here, there) = (here.told(count).await, there.told(count).await);
        assert_eq!(here, there);
        here
    };
    assert_eq!(both(&mut here, &mut there, 1).await, ["heating 1 customns/oauth"]);

    home.link(one).await;
    assert_eq!(both(&mut here, &mut there, 1).await, ["heating 2 oauth"]);
    home.patch(two, json!({"scope": "read"})).await.expect(200);
    assert_eq!(both(&mut here, &mut there, 1).await, ["heating 3 customns/oauth"]);
    there.send(&json!({"type": "settings", "slot": "heating", "id": 7, "patch": {"scope": null}})).await;
    assert_eq!(here.told(1).await, ["heating 4 customns/oauth"]);
    let mut frames = [there.next().await, there.next().await];
    frames.sort_by_key(|frame| frame["type"] == "event");
    assert_eq!((&frames[0]["ok"], &frames[1]["version"]), (&json!(true), &json!(4)));

    // Who asks by HTTP and waits is woken too.
    assert_eq!(home.ack(one, "heating", 4).await, 204);
    let (polled, _) = tokio::join!(home.poll(two, "wait=20"), home.link(one));
    assert_eq!(events_in_words(&polled.expect(200)), ["heating 5 oauth"]);
    assert_eq!(both(&mut here, &mut there, 1).await, ["heating 5 oauth"]);

    home.call(two, Method::DELETE, &home.at(""), None).await.expect(204);
    assert_eq!(both(&mut here, &mut there, 1).await, ["heating 6 unlinked"]);
    home.install(one, "acme", json!({})).await.expect(201);
    assert_eq!(both(&mut here, &mut there, 1).await, ["heating 7 customns/oauth"]);
}

/// A number in `/metrics` of a process.
pub(crate) async fn measured(process: &Process, name: &str) -> Option<f64> {
    let said = Reply::of(process.service.admin(Method::GET, "/metrics")).await.text;
    said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Ends the connections of this database that asked this last; how many there were.
async fn end_connections(service: &Service, last: &str) -> i64 {
    let statement = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query ilike $1";
    #[expect(clippy::disallowed_methods, reason = "a test's own statement")]
    let ended = sqlx::query_scalar(statement).bind(last).fetch_one(&service.database.pool).await;
    ended.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_postgresql_each_replica_tells_of_what_happens_on_the_other() {
    let service = Service::with(&[NO_POLL]).await;
    each_tells_of_the_other(&service, &service.replica().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_knocks_may_have_a_database_of_their_own() {
    let elsewhere = Service::start().await;
    let service = Service::with(&[NO_POLL, ("BUS__URL", &elsewhere.database.url)]).await;
    each_tells_of_the_other(&service, &service.replica().await).await;
    assert_eq!(end_connections(&service, "listen%").await, 0, "nobody listens beside the slots");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listening_connection_that_is_killed_comes_back_and_nothing_is_lost() {
    let (service, provider) = (Service::with(&[NO_POLL]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let other = service.replica().await;
    let mut relay = home.relay(&other).await;
    assert_eq!(relay.told(1).await, ["heating 1 customns/oauth"]);
    home.link(&service).await;
    assert_eq!(relay.told(1).await, ["heating 2 oauth"]);
    for version in [3, 5, 7] {
        let ended = until("both to listen", async || {
            let ended = end_connections(&service, "listen%").await;
            (ended > 0).then_some(ended)
        });
        assert!(ended.await <= 2, "one connection a replica listens");
        home.patch(&service, json!({"scope": format!("a{version}")})).await.expect(200);
        assert_eq!(relay.told(1).await, [format!("heating {version} customns/oauth")]);
        // The one that sends is found dead when it is needed.
        end_connections(&service, "-- notify%").await;
        home.patch(&service, json!({"scope": format!("b{version}")})).await.expect(200);
        assert_eq!(relay.told(1).await, [format!("heating {} customns/oauth", version + 1)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_knocks_for_is_found_by_the_poll() {
    let (service, provider) = (Service::with(&[OFTEN]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut relay = home.relay(&service).await;
    assert_eq!(relay.told(1).await, ["heating 1 customns/oauth"]);
    let lost = "update slots set version = version + 1, configuration_version = version + 1";
    service.database.pool.execute(lost).await.unwrap();
    assert_eq!(relay.told(1).await, ["heating 2 customns/oauth"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_is_measured() {
    let (service, provider) = (Service::with(&[NO_POLL]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let process = Process::start(&service, &[]).await;
    let mut relay = home.relay(&process.service).await;
    assert_eq!(relay.told(1).await, ["heating 1 customns/oauth"]);
    until("others to be heard", async || {
        (measured(&process, "cloudlink_bus_connected").await == Some(1.0)).then_some(())
    })
    .await;
    home.patch(&service, json!({"scope": "read"})).await.expect(200);
    assert_eq!(relay.told(1).await, ["heating 2 customns/oauth"]);
    home.patch(&process.service, json!({"scope": "write"})).await.expect(200);
    assert_eq!(relay.told(1).await, ["heating 3 customns/oauth"]);
    let sent = async || measured(&process, "cloudlink_knocks_sent_total").await >= Some(1.0);
    until("the knock to be counted", async || sent().await.then_some(())).await;
    for (name, value) in [
        ("cloudlink_knocks_received_total", 1.0),
        ("cloudlink_knocks_waiting", 0.0),
        ("cloudlink_knocks_waiting_limit", 4096.0),
        ("cloudlink_knocks_dropped_total", 0.0),
    ] {
        assert_eq!(measured(&process, name).await, Some(value), "{name}");
    }
    let slot: Value = home.show(&service).await;
    assert_eq!(slot["version"], 3);
}
