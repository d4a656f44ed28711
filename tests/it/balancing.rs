//! Three replicas behind a balancer, with the configurations that are shipped: it does not matter which of them does
//! what, nothing secret is left in its logs, and nothing is sent twice that is good once.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::harness::{Attempt, Balancer, BalancerKind, Fleet, Home, Provider, Reply, Service, until};

const BOTH: [BalancerKind; 2] = [BalancerKind::Haproxy, BalancerKind::Nginx];
const CODE: &str = "canary-of-the-callback";
/// Enough to meet each order of three.
const ROUNDS: usize = 90;

/// Whose number grew.
fn grown(before: [u64; 3], after: [u64; 3]) -> Option<usize> {
    before.iter().zip(&after).position(|(before, after)| after > before)
}

/// Links until a flow was started on one replica, redirected on another and told on the third.
async fn three_replicas_share_a_flow(kind: BalancerKind) {
    // The network decides about the confirm code: what strangers claim must not.
    let (service, provider) =
        (Service::with(&[("CONSENT__BINDING", "adaptive")]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut fleet = Fleet::start(&service, &[]).await;
    let balancer = Balancer::start(kind, fleet.addresses).await;
    let door = balancer.in_front_of(&service);
    let mut secrets = Vec::new();
    let (mut met, mut seen) = (false, Vec::new());
    for round in 0..ROUNDS {
        let mut relay = home.relay(&door).await;
        let listening =
            fleet.metrics("cloudlink_relay_connections", "").await.iter().position(|open| *open > 0);
        for _ in 0..round / 3 % 3 {
            Reply::of(door.request(Method::GET, "/healthz")).await;
        }
        let before = fleet.metrics("cloudlink_http_requests_total", "/connect\"").await;
        let connection = home.connect(&door).await;
        let started = grown(before, fleet.metrics("cloudlink_http_requests_total", "/connect\"").await);
        let mut attempt = Attempt::of(&door, connection, claiming("203.0.113.7")).await;
        // Whose turn it is changes from round to round.
        for _ in 0..round % 3 {
            Reply::of(door.request(Method::GET, "/healthz")).await;
        }
        let before = fleet.metrics("cloudlink_http_requests_total", "cloudlink/redirect").await;
        let page = attempt.back(&door, &[("code", CODE)]).await;
        assert_eq!(page.status, 303, "{}", page.html);
        let redirected =
            grown(before, fleet.metrics("cloudlink_http_requests_total", "cloudlink/redirect").await);
        assert_eq!(attempt.stands(&door, &home).await, "linked", "nobody's claim changed the network");
        let event = relay.event("oauth", None).await;
        relay.ack(&event).await;
        secrets.extend(["state", "code_challenge"].map(|name| attempt.sent.query[name].clone()));
        secrets.push(attempt.url().rsplit('/').next().unwrap().to_owned());
        seen.push((started, redirected, listening));
        met = started != redirected && redirected != listening && listening != started;
        drop(relay);
        until("the end of the connection", async || {
            (fleet.metrics("cloudlink_relay_connections", "").await == [0; 3]).then_some(())
        })
        .await;
        if met {
            break;
        }
    }
    assert!(met, "started, redirected and told by: {seen:?}");
    println!("{kind:?}: flow {} was started, redirected and told by {:?}", seen.len(), seen.last().unwrap());

    // One of them is gone: nobody notices, and what failed on the way is not written down either.
    fleet.processes.remove(0).kill().await;
    for _ in 0..6 {
        let mut attempt = Attempt::start(&door, &home).await;
        assert_eq!(attempt.back(&door, &[("code", CODE)]).await.status, 303);
        assert_eq!(attempt.stands(&door, &home).await, "linked");
        secrets.push(attempt.sent.query["state"].clone());
    }
    for page in ["login", "account-link"] {
        let handle = format!("canary-of-{page}");
        Reply::of(door.request(Method::GET, &format!("/{page}/{handle}?a=b"))).await;
        balancer.logged(&format!(" /{page}/- "), 1).await;
        secrets.push(handle);
    }
    balancer.logged("/api/cloudlink/redirect", seen.len() + 6).await;
    balancer.logged("/connect/-", 1).await;
    let logs = balancer.logs();
    for secret in secrets.iter().map(String::as_str).chain([CODE, "?"]) {
        assert!(!logs.contains(secret), "{secret} in {logs}");
    }
}

fn claiming(network: &str) -> crate::harness::Browser {
    crate::harness::Browser {
        headers: vec![("x-forwarded-for", network.to_owned())],
        ..crate::harness::Browser::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_a_flow_starts_on_one_replica_returns_to_another_and_is_told_by_the_third() {
    three_replicas_share_a_flow(BalancerKind::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_a_flow_starts_on_one_replica_returns_to_another_and_is_told_by_the_third() {
    three_replicas_share_a_flow(BalancerKind::Nginx).await;
}

/// Somebody who is ready, takes requests and hangs up without an answer; what he was asked is kept.
async fn dies_on_each_request(asked: Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut head = vec![0; 16 * 1024];
                let length = stream.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                if head.starts_with("GET /readyz") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                } else {
                    asked.lock().unwrap().push(head);
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reached_a_replica_is_sent_to_another_only_if_nothing_comes_of_it() {
    let service = Service::start().await;
    let questions = [
        (Method::GET, "/api/cloudlink/redirect?code=a&state=b", true),
        (Method::GET, "/api/cloudlink/redirect/acme?code=a&state=b", true),
        (Method::GET, "/api/login/callback?code=a&state=b", true),
        (Method::POST, "/api/ack", true),
        (Method::POST, "/api/cloudlink/token", true),
        (Method::GET, "/api/devices", false),
    ];
    for (kind, (method, path, once)) in
        BOTH.into_iter().flat_map(|kind| questions.clone().map(|asked| (kind, asked)))
    {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(dies_on_each_request(Arc::clone(&asked)).await);
        }
        // A new one each time: it leaves who failed alone for a while.
        let balancer = Balancer::start(kind, replicas.try_into().unwrap()).await;
        let reply = Reply::of(balancer.in_front_of(&service).request(method.clone(), path)).await;
        assert_eq!(reply.status, 502, "{kind:?} {path}: {}", reply.text);
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked.len() == 1, once, "{kind:?} {method} {path}: {asked:?}");
        assert!(asked.iter().all(|head| head.to_lowercase().contains("x-forwarded-for: 127.0.0.1\r\n")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_lets_a_long_poll_wait_and_refuses_a_body_that_is_too_long() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let fleet = Fleet::start(&service, &[]).await;
    let wait = if crate::harness::long() { 60 } else { 2 };
    let version = home.show(&service).await["version"].as_i64().unwrap();
    assert_eq!(home.ack(&service, "heating", version).await, 204, "so that a poll has to wait");
    for kind in BOTH {
        let balancer = Balancer::start(kind, fleet.addresses).await;
        let door = balancer.in_front_of(&service);
        let token = home.token(&door).await;
        let poll = door.request(Method::GET, &format!("/api/cloudlink/events?wait={wait}"));
        let poll = poll.bearer_auth(&token).timeout(std::time::Duration::from_secs(90));
        assert_eq!(Reply::of(poll).await.status, 204, "{kind:?}");
        let body = json!({"name": "x".repeat(2 << 20)}).to_string();
        let request = door.request(Method::POST, "/api/devices").header("content-type", "application/json");
        match request.body(body).send().await {
            Ok(refused) => assert_eq!(refused.status(), 413, "{kind:?}"),
            // It answers at once and hangs up, while the caller still writes.
            Err(error) => assert!(error.is_request(), "{kind:?}: {error}"),
        }
    }
}
