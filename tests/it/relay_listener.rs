//! The listener that serves the relay alone: what it refuses, and what bounds it.

#![allow(clippy::disallowed_methods, reason = "a test locks a table behind the service's back")]

use reqwest::Method;
use serde_json::Value;
use sqlx::Executor as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{connect_async, tungstenite::Error};

use crate::harness::{
    Home, PUBLIC, Provider, Relay, Service,
    frames::handshake_refused,
    listeners::{Listener, at},
    within,
};

/// Says this, byte for byte, and reads until the connection is ended: status, head and body.
async fn said(service: &Service, text: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(service.relay_url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn code(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

fn asking(token: &str) -> String {
    format!(
        "GET /api/cloudlink/relay HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: keep-alive, Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: cloudlink.v1\r\nauthorization: Bearer {token}\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_the_relay_is_a_404_with_the_headers_of_every_answer() {
    let service = Service::start().await;
    for line in [
        "GET / HTTP/1.1",
        "GET /healthz HTTP/1.1",
        "GET /admin HTTP/1.1",
        "GET /api/cloudlink/relay/ HTTP/1.1",
        "GET /api/cloudlink/Relay HTTP/1.1",
        "GET //api/cloudlink/relay HTTP/1.1",
        "POST /api/cloudlink/relay HTTP/1.1",
        "HEAD /api/cloudlink/relay HTTP/1.1",
        "GET /api/cloudlink/relay HTTP/1.0",
        "GET http://x/api/cloudlink/relay HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ] {
        let (status, head, body) = said(&service, &format!("{line}\r\nhost: x\r\n\r\n")).await;
        assert_eq!((status, code(&body).as_str()), (404, "not_found"), "{line}");
        for header in
            ["content-type: application/problem+json", "cache-control: no-store", "connection: close"]
        {
            assert!(head.contains(header), "{header} in {head}");
        }
        for header in ["x-request-id: ", "content-security-policy: ", "x-content-type-options: nosniff"] {
            assert!(head.contains(header), "{header} in {head}");
        }
    }
    // A line may end without a carriage return (RFC 9112 §2.2), the last one too.
    assert_eq!(said(&service, "GET / HTTP/1.1\nhost: x\n\n").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_none_or_too_large_is_refused_and_the_rest_is_not_read() {
    let service = Service::start().await;
    let large = "x".repeat(60 * 1024);
    for (text, expected) in [
        ("\r\n\r\n\r\nnonsense\r\n\r\n".to_owned(), 400),
        ("GET /api/cloudlink/relay HTTP/2.0\r\n\r\n".to_owned(), 400),
        ("GET /api/cloudlink/relay HTTP/1.1\r\nhost : x\r\n\r\n".to_owned(), 400),
        (format!("GET /{large} HTTP/1.1\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\n\r\n", &large[..17_000]), 414),
        (format!("GET / HTTP/1.1\r\nx: {large}"), 431),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", &large[..33_000]), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(97)), 431),
    ] {
        let (status, _, body) = said(&service, &text).await;
        assert_eq!(status, expected, "{}", &text[..40.min(text.len())]);
        assert!(!code(&body).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshake_of_a_websocket_is_refused() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let good = asking(&home.token(&service).await);
    for (part, instead) in [
        ("upgrade: websocket", "upgrade: h2c"),
        ("connection: keep-alive, Upgrade", "connection: keep-alive"),
        ("sec-websocket-version: 13", "sec-websocket-version: 8"),
        ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "x: y"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="),
        ("host: x", "x: y"),
        ("host: x", "host: x\r\ncontent-length: 5"),
        ("host: x", "host: x\r\ncontent-length: 0\r\ncontent-length: 5"),
        ("host: x", "host: x\r\ncontent-length: 0\r\ncontent-length: 0"),
        ("host: x", "host: x\r\nupgrade: h2c"),
        ("host: x", "host: x\r\ntransfer-encoding: chunked"),
    ] {
        let (status, head, body) = said(&service, &format!("{}\r\n", good.replacen(part, instead, 1))).await;
        assert_eq!((status, code(&body).as_str()), (400, "websocket_required"), "{instead}");
        assert!(head.contains("sec-websocket-version: 13"), "{head}");
    }
    let twice = good.replacen("host: x", "host: x\r\nauthorization: Bearer y", 1);
    assert_eq!(said(&service, &format!("{twice}\r\n")).await.0, 401);
    // A refusal takes no place: all of the device's are still free.
    for _ in 0..32 {
        let (status, _, _) = said(&service, &format!("{}\r\n", good.replacen("host: x", "x: y", 1))).await;
        assert_eq!(status, 400);
    }
    at(Listener::Own, async { drop(home.relay(&service).await) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_guesses_at_the_owners_password_are_counted_here_too() {
    let service = Service::start().await;
    let wrong = asking("x").replacen("Bearer x", "Basic b3duZXI6d3Jvbmc=", 1);
    let mut answers = Vec::new();
    for _ in 0..21 {
        answers.push(said(&service, &format!("{wrong}\r\n")).await.0);
    }
    assert!(answers[..20].iter().all(|status| *status == 401), "{answers:?}");
    assert_eq!(answers[20], 429);
    let login = service.request(Method::POST, "/api/login").header("content-type", "application/json");
    assert_eq!(login.body(r#"{"user":"owner","pass":"x"}"#).send().await.unwrap().status(), 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_handshakes_at_once_and_those_that_wait_the_next_is_told_to_come_back() {
    at(Listener::Own, async {
        let bounds = [("RELAY__HANDSHAKES_AT_ONCE", "1"), ("RELAY__HANDSHAKES_WAITING", "0")];
        let (service, provider) = (Service::with(&bounds).await, Provider::start().await);
        let home = Home::enrol(&service, &provider).await;
        let token = home.token(&service).await;
        let mut held = service.database.pool.begin().await.unwrap();
        held.execute("lock table slots in access exclusive mode").await.unwrap();
        let mut first = Relay::attach(&service, &token).await;

        let Err(Error::Http(answer)) = connect_async(Relay::handshake(&service, &token)).await else {
            panic!("a second handshake had its turn");
        };
        assert_eq!(answer.status(), 503);
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=9).contains(&wait), "{wait}");
        // Who shows nothing costs nothing, and is refused at once.
        let mut stranger = Relay::handshake(&service, &token);
        stranger.headers_mut().remove("authorization");
        assert_eq!(handshake_refused(stranger).await, 401);

        held.rollback().await.unwrap();
        first.event("customns", Some("oauth")).await;
        home.relay(&service).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_listener_serves_the_relay_as_well() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let token = home.token(&service).await;
    for listener in [Listener::Public, Listener::Own] {
        at(listener, async {
            let (_, answer) = connect_async(Relay::handshake(&service, &token)).await.unwrap();
            assert_eq!(answer.headers()["sec-websocket-protocol"], "cloudlink.v1", "{PUBLIC}");
            assert!(answer.headers().contains_key("x-request-id"));
        })
        .await;
    }
}
