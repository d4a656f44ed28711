//! Replicas are told to stop and started again, one after the other, while homes link and listen through the balancer:
//! nobody notices, and the counts show it.

use std::{collections::BTreeSet, sync::Arc};

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::harness::{
    Answer, Attempt, Balancer, BalancerKind, Fleet, Home, Ledger, Load, Process, Provider, Reply, Service,
    long, until,
};

const HOMES: usize = 6;

/// Restarts all three in turn, that often.
async fn restarts_lose_nothing(kind: BalancerKind, delay: &str, rounds: usize) {
    let settings = [("FLOW__PENDING_PER_DEVICE", "1000"), ("SERVER__DRAIN_SECONDS", "15")];
    let (service, (provider, ledger)) = (Service::with(&settings).await, Ledger::open().await);
    let delay = [("SERVER__DRAIN_DELAY_SECONDS", delay)];
    let mut fleet = Fleet::start(&service, &delay).await;
    let balancer = Balancer::start(kind, fleet.addresses).await;
    let door = Arc::new(balancer.in_front_of(&service));
    let load = Load::start(&service, &provider, &[door], HOMES).await;
    load.go_on(HOMES).await;
    for round in 1..=rounds {
        for (number, name) in ["one", "two", "three"].into_iter().enumerate() {
            let old = fleet.processes.remove(number);
            old.terminate();
            old.logs("draining").await;
            if kind == BalancerKind::Haproxy {
                let ready = Reply::of(old.service.request(Method::GET, "/readyz")).await;
                assert_eq!((ready.status, &ready.json["missing"]), (503, &json!(["draining"])), "at once");
            }
            let (status, log) = old.ended().await;
            assert!(status.success() && !log.contains("did not end in time"), "{log}");
            // The server's thread that accepts may meet the closed door before it hears that it has nothing to do.
            let mistake = |line: &&str| line.contains(" ERROR ") && !line.contains("actix_server::accept");
            assert_eq!(log.lines().find(mistake), None, "{name}: {log}");
            fleet.processes.insert(number, Fleet::process(&service, &delay, fleet.addresses[number]).await);
            if kind == BalancerKind::Haproxy {
                balancer.logged(&format!("Server replicas/{name} is DOWN"), round).await;
                balancer.logged(&format!("Server replicas/{name} is UP"), round).await;
            }
            load.go_on(HOMES).await;
        }
    }
    let tally = load.finish().await;
    println!(
        "{kind:?}, {} restarts: {} flows done, {} failed, {} requests refused, {} goodbyes",
        rounds * 3,
        tally.done,
        tally.failed.len(),
        tally.refused.len(),
        tally.goodbyes.len()
    );
    let logs = balancer.logs();
    let bad: Vec<&str> = logs
        .lines()
        .filter(|line| [" 502 ", " 503 ", " 504 "].iter().any(|bad| line.contains(bad)))
        .collect();
    assert!(tally.failed.is_empty() && tally.refused.is_empty(), "{tally:?} {bad:#?}");
    assert!(tally.closed.iter().all(|code| *code == 1012), "{tally:?}");
    assert_eq!(tally.goodbyes.len(), tally.closed.len(), "each was said goodbye to");
    assert!(tally.goodbyes.len() >= HOMES, "everybody was somewhere");
    let spread: BTreeSet<&u64> = tally.goodbyes.iter().collect();
    assert!(spread.len() * 2 > tally.goodbyes.len(), "they come back one by one: {spread:?}");
    assert!(ledger.spent().values().all(|times| *times == 1), "no code was spent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_haproxy_loses_no_flow_no_event_and_no_request() {
    // More than two rounds of its health check.
    restarts_lose_nothing(BalancerKind::Haproxy, "4", if long() { 10 } else { 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_nginx_which_asks_nobody_loses_no_flow_no_event_and_no_request() {
    restarts_lose_nothing(BalancerKind::Nginx, "0", if long() { 10 } else { 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_told_to_stop_serves_until_the_balancer_has_seen_it() {
    let service = Service::start().await;
    let settings = [("SERVER__DRAIN_SECONDS", "8"), ("SERVER__DRAIN_DELAY_SECONDS", "3")];
    let home = Home::bare(&service).await;
    let process = Process::start(&service, &settings).await;
    let mut relay = home.relay(&process.service).await;
    process.terminate();
    process.logs("draining").await;
    assert_eq!(Reply::of(process.service.request(Method::GET, "/readyz")).await.status, 503);
    let served = Reply::of(process.service.request(Method::GET, "/healthz")).await;
    assert_eq!(served.status, 200);
    assert_eq!(served.headers["connection"], "close", "the next request is for another replica");
    assert_eq!(home.relay(&process.service).await.next().await["type"], "goodbye", "served, then told to go");
    assert_eq!(relay.next().await["reason"], "draining");
    assert_eq!(relay.next().await, json!({"close": 1012}));
    until("the end of the listener", async || {
        process.service.request(Method::GET, "/healthz").send().await.is_err().then_some(())
    })
    .await;
    let (status, log) = process.ended().await;
    assert!(status.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_let_in_is_answered_however_near_the_end() {
    let service = Service::start().await;
    let process = Process::start(&service, &[]).await;
    let address = process.service.url.strip_prefix("http://").unwrap().to_owned();
    let callers: JoinSet<usize> = (0..32).map(|_| call_until_refused(address.clone())).collect();
    process.terminate();
    let answered: usize = callers.join_all().await.into_iter().sum();
    let (status, log) = process.ended().await;
    assert!(status.success() && answered > 0, "{answered} answered: {log}");
}

/// Calls with a new connection each time: how often, until there was none. Who has one and gets no answer panics.
async fn call_until_refused(address: String) -> usize {
    for answered in 0.. {
        let Ok(mut stream) = TcpStream::connect(&address).await else { return answered };
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}, after {answered}");
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_provider_does_not_answer_still_ends_in_its_time() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let process = Process::start(&service, &[("SERVER__DRAIN_SECONDS", "4")]).await;
    let mut attempt = Attempt::start(&service, &home).await;
    provider.next(Answer::Silence);
    let callback = attempt.sent.callback(&[("code", "a-code")]);
    let path = callback.strip_prefix(crate::harness::PUBLIC).unwrap().to_owned();
    let request = process.service.request(Method::GET, &path);
    tokio::spawn(request.header("cookie", attempt.browser.cookie.clone().unwrap()).send());
    provider.asked(1).await;
    process.terminate();
    // An exchange may take thirty seconds, and `ended` waits for twenty.
    let (status, log) = process.ended().await;
    assert!(status.success() && log.contains("did not end in time"), "{log}");
    // What it left behind is taken up by another.
    service.clock.advance(time::Duration::seconds(41));
    service.broker().sweep_flows().await.unwrap();
    until("the link", async || (attempt.stands(&service, &home).await == "linked").then_some(())).await;
    assert_eq!(provider.requests().len(), 2);
    assert_eq!(attempt.back(&service, &[("code", "a-code")]).await.status, 303);
}
