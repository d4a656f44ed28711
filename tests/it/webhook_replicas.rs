//! The replica that a web service calls need not be the one that has the plugin's connection.

use std::{collections::BTreeSet, time::Duration};

use cloudlink::{
    domain::{
        ids::{DeviceId, InquiryId, ReplicaId},
        inquiry::Wanted,
    },
    seams::SystemEntropy,
    store::{NewRelayRequest, WAITING_PAGE},
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::harness::{Hold, Home, Hook, Process, Provider, Service, call_with, dump::disguises, hook, until};

/// Two replicas that know of each other, and a home.
async fn stage(settings: &[(&str, &str)]) -> (Service, Service, Home) {
    let (service, provider) = (Service::with(settings).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let other = service.replica().await;
    both_known(&service).await;
    (service, other, home)
}

async fn both_known(service: &Service) {
    until("both to be known", async || {
        let known: i64 = count(service, "select count(*) from relay_replicas").await;
        (known == 2).then_some(())
    })
    .await;
}

/// A replica tends what lies there, some minutes later.
async fn forget(service: &Service) {
    service.clock.advance(time::Duration::minutes(2));
    let (now, id) = (service.now(), ReplicaId(uuid::Uuid::from_u128(1)));
    let store = &service.broker().store;
    store.tend_relay_requests(id, now - time::Duration::minutes(1), now).await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]
async fn count(service: &Service, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&service.database.pool).await.unwrap()
}

const CANARY: &str = "canary: for two replicas alone";
const ROWS: &str = "select count(*) from relay_requests";

/// Waits until so many rows lie between the replicas.
async fn rows(service: &Service, expected: usize) {
    until(&format!("{expected} rows"), async || {
        (count(service, ROWS).await == i64::try_from(expected).unwrap()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_finds_the_plugin_on_another_replica_and_the_answer_finds_back() {
    let (service, other, home) = stage(&[]).await;
    let mut relay = home.relay(&other).await;
    let body = vec![7; 256 * 1024];
    let call = Hook { query: "a=1", body, ..Hook::default() };
    let (reply, asked) = tokio::join!(call.call(&service, &home), relay.answers("from afar"));
    assert_eq!((reply.status, reply.text.as_str()), (200, "from afar"));
    assert_eq!(asked["query"], json!({"a": "1"}));

    let call = Hook { kind: "noresponse", ..Hook::default() };
    let (reply, _) = tokio::join!(call.call(&service, &home), relay.asked());
    assert_eq!(reply.status, 200);

    let path = format!("/api/devices/{}/commands/get_wifi_list", home.device);
    let token = home.token(&service).await;
    let hub = async {
        let asked = relay.asked().await;
        assert_eq!(asked["name"], "get_wifi_list");
        relay.send(&json!({"type": "response", "id": asked["id"], "ok": true, "data": {"list": []}})).await;
    };
    let command = call_with(&service, &token, Method::POST, &path, Some(json!({})));
    let (reply, ()) = tokio::join!(command, hub);
    assert_eq!(reply.expect(200), json!({"ok": true, "data": {"list": []}}));
    assert_eq!(count(&service, ROWS).await, 0, "nothing is left of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_reach_one_plugin_each_once() {
    let (service, other, home) = stage(&[("REQUESTS__IN_FLIGHT_PER_SLOT", "16")]).await;
    let mut relay = home.relay(&other).await;
    let plugin = async {
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..16 {
            let asked = relay.asked().await;
            assert!(ids.insert(asked["id"].to_string()), "once");
            let query = asked["query"]["n"].as_str().unwrap().to_owned();
            relay.answer(&asked, 200, json!({}), query.as_bytes()).await;
        }
    };
    let queries: Vec<String> = (0..16).map(|n| format!("n={n}")).collect();
    let calls = queries.iter().map(|query| Hook { query, ..Hook::default() }.call(&service, &home));
    let (replies, ()) = tokio::join!(join_all(calls), plugin);
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!((reply.status, reply.text.as_str()), (200, n.to_string().as_str()), "to its own caller");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_anywhere_is_503_and_nothing_stays() {
    let (service, other, home) = stage(&[]).await;
    let stranger = Home::bare(&other).await;
    let _somebody = stranger.relay(&other).await;
    assert_eq!(hook(&service, &home).await.expect(503)["code"], "not_connected");
    assert_eq!(count(&service, ROWS).await, 0);
    other.stop().await;
    assert_eq!(count(&service, "select count(*) from relay_replicas").await, 1, "it said that it goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_departure_look_alike_from_another_replica() {
    let (service, other, home) = stage(&[("REQUESTS__ANSWER_SECONDS", "10")]).await;
    let mut relay = home.relay(&other).await;
    let (reply, _) = tokio::join!(hook(&service, &home), relay.asked());
    assert_eq!(reply.expect(504)["code"], "no_answer");
    let leaves = async {
        relay.asked().await;
        drop(relay);
    };
    let (reply, ()) = tokio::join!(hook(&service, &home), leaves);
    assert_eq!(reply.expect(502)["code"], "disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_goes_away_tells_who_waits_for_its_plugins() {
    let (service, other, home) = stage(&[]).await;
    let mut relay = home.relay(&other).await;
    let goes = async {
        relay.asked().await;
        other.stop().await;
    };
    let (reply, ()) = tokio::join!(hook(&service, &home), goes);
    assert_eq!(reply.expect(502)["code"], "disconnected");
}

/// What lies in a column between the replicas, once something does, in hex.
#[expect(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]
async fn lying(service: &Service, column: &str) -> String {
    let statement = format!("select encode({column}, 'hex') from relay_requests where {column} is not null");
    until(column, async || {
        let found = sqlx::query_scalar(AssertSqlSafe(statement.clone()));
        found.fetch_optional(&service.database.pool).await.unwrap()
    })
    .await
}

fn is_sealed(hex: &str) {
    assert!(hex.len() > 2 * CANARY.len(), "{hex}");
    assert!(disguises(CANARY).iter().all(|disguise| !hex.contains(disguise)), "{hex}");
}

#[tokio::test(flavor = "multi_thread")]
async fn j01_what_lies_between_replicas_is_sealed() {
    let (service, other, home) = stage(&[]).await;
    let away = Home::bare(&service).await;
    away.install(&service, "acme", json!({})).await.expect(201);
    // Nothing is taken back or collected before it was looked at.
    let hold = Hold::on(&service, "delete", "relay_requests").await;
    let call = |home: &Home| {
        let path = format!("/api/eisy/pg3/webhook/response/{}/{}", home.device, home.slot);
        tokio::spawn(service.request(Method::POST, &path).header("x-webhook-canary", CANARY).send())
    };
    let unheard = call(&away);
    is_sealed(&lying(&service, "frame").await);

    let mut relay = home.relay(&other).await;
    let heard = call(&home);
    let asked = relay.asked().await;
    assert_eq!(asked["headers"]["x-webhook-canary"], CANARY);
    relay.answer(&asked, 200, json!({"x-webhook-canary": CANARY}), b"").await;
    is_sealed(&lying(&service, "answer").await);

    hold.release().await;
    assert_eq!(unheard.await.unwrap().unwrap().status(), 503);
    assert_eq!(heard.await.unwrap().unwrap().headers()["x-webhook-canary"], CANARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_fetched_is_forgotten() {
    let (service, other, home) = stage(&[("REQUESTS__ANSWER_SECONDS", "10")]).await;
    let mut relay = home.relay(&other).await;
    let (reply, _) = tokio::join!(hook(&service, &home), relay.asked());
    assert_eq!(reply.status, 504);
    assert_eq!(count(&service, ROWS).await, 1, "taken, and never answered");
    forget(&service).await;
    assert_eq!(count(&service, ROWS).await, 0);
    assert_eq!(count(&service, "select count(*) from relay_replicas").await, 1, "who was not seen is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_its_plugin_was_asked_a_replica_leaves_a_504_and_a_row_that_is_forgotten() {
    let (service, provider) =
        (Service::with(&[("REQUESTS__ANSWER_SECONDS", "10")]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let process = Process::start(&service, &[]).await;
    both_known(&service).await;
    let mut relay = home.relay(&process.service).await;
    let dies = async {
        relay.asked().await;
        process.kill().await;
    };
    let (reply, ()) = tokio::join!(hook(&service, &home), dies);
    assert_eq!(reply.expect(504)["code"], "no_answer");
    assert_eq!(count(&service, ROWS).await, 1, "taken, and never answered");
    forget(&service).await;
    assert_eq!(count(&service, ROWS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_waited_for_an_answer_a_replica_leaves_a_row_that_is_forgotten() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let process = Process::start(&service, &[]).await;
    both_known(&service).await;
    let mut relay = home.relay(&service).await;
    let path = format!("/api/eisy/pg3/webhook/response/{}/{}", home.device, home.slot);
    let call = tokio::spawn(process.service.request(Method::POST, &path).send());
    let asked = relay.asked().await;
    process.kill().await;
    assert!(call.await.unwrap().is_err(), "nobody is left who could answer");
    relay.answer(&asked, 200, json!({}), b"too late").await;
    until("the answer to lie there", async || {
        let answered = "select count(*) from relay_requests where answer is not null";
        (count(&service, answered).await == 1).then_some(())
    })
    .await;
    forget(&service).await;
    assert_eq!(count(&service, ROWS).await, 0);
    let (reply, _) = tokio::join!(hook(&service, &home), relay.answers("the next one"));
    assert_eq!(reply.status, 200, "it was brought once, and the next call is the next thing asked");
}

/// A web service that has posted, and hears nothing.
struct Caller(TcpStream);

impl Caller {
    async fn of(service: &Service, home: &Home) -> Self {
        let mut stream = TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await.unwrap();
        let path = format!("/api/eisy/pg3/webhook/response/{}/{}", home.device, home.slot);
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// Without a farewell.
    fn resets(self) {
        self.0.set_zero_linger().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_leaves_nothing_between_replicas() {
    let (service, _other, home) = stage(&[]).await;
    // Whatever is taken back is taken back once the row was seen.
    let hold = Hold::on(&service, "delete", "relay_requests").await;
    let caller = Caller::of(&service, &home).await;
    rows(&service, 1).await;
    caller.resets();
    until("what was posted to be taken back", async || {
        let waits = "select count(*) from pg_stat_activity where datname = current_database()
            and query like '-- abandon_relay_request%' and wait_event_type = 'Lock'";
        (count(&service, waits).await == 1).then_some(())
    })
    .await;
    hold.release().await;
    rows(&service, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_callers_hang_up_has_room_for_the_next() {
    let (service, other, home) = stage(&[("REQUESTS__IN_FLIGHT", "1")]).await;
    let mut relay = home.relay(&other).await;
    let caller = Caller::of(&service, &home).await;
    let first = relay.asked().await;
    caller.resets();
    let next = async {
        until("room", async || {
            let reply = hook(&service, &home).await;
            (reply.status == 200).then_some(reply)
        })
        .await
    };
    let (reply, asked) = tokio::join!(next, relay.answers("room again"));
    assert_eq!(reply.text, "room again");
    assert_ne!(first["id"], asked["id"]);
    relay.answer(&first, 200, json!({}), b"").await;
    assert_eq!(relay.next_but_events().await["code"], "unknown_request", "nobody waits for the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_waits_is_found_page_by_page_and_nothing_after_its_time() {
    let (service, replica) = (Service::start().await, ReplicaId(uuid::Uuid::from_u128(1)));
    let (store, now, entropy) = (&service.broker().store, service.now(), SystemEntropy);
    let gone = now - time::Duration::MINUTE;
    store.tend_relay_requests(replica, gone, now).await.unwrap();
    let new = |taking| NewRelayRequest {
        id: InquiryId::draw(&entropy),
        asked_by: ReplicaId(uuid::Uuid::from_u128(2)),
        device: DeviceId(uuid::Uuid::from_u128(3)),
        slot: None,
        wanted: Wanted::Outcome,
        frame: "{}",
        taking,
        expires_at: now + time::Duration::HOUR,
    };
    let mut posted = BTreeSet::new();
    for _ in 0..WAITING_PAGE + 44 {
        let new = new(Duration::from_hours(1));
        assert!(store.post_relay_request(&new, gone).await.unwrap());
        posted.insert(new.id);
    }
    let late = new(Duration::ZERO);
    assert!(store.post_relay_request(&late, gone).await.unwrap());
    let first = store.list_waiting_requests(replica, None).await.unwrap();
    let second = store.list_waiting_requests(replica, first.last()).await.unwrap();
    assert_eq!((first.len(), second.len()), (WAITING_PAGE, 44));
    assert_eq!(first.iter().chain(&second).map(|waiting| waiting.id).collect::<BTreeSet<_>>(), posted);
    assert!(store.take_relay_requests(&[late.id]).await.unwrap().is_empty());
    store.tend_relay_requests(replica, gone, now).await.unwrap();
    rows(&service, posted.len()).await;
}
