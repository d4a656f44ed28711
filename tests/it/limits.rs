//! Callers that cost much: slow ones, patterns that explode, requests that two readers would read differently.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::harness::{Home, Reply, Service, within};

fn address(service: &Service) -> String {
    service.url.strip_prefix("http://").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn j04_two_hundred_peers_that_never_finish_their_head_hold_up_nobody() {
    let service = Service::start().await;
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(address(&service)).await.unwrap();
        let head = format!("POST /api/token HTTP/1.1\r\nhost: x\r\nx-number: {number}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let since = Instant::now();
    let health = Reply::of(service.request(Method::GET, "/healthz")).await;
    assert_eq!(health.status, 200);
    // Before the first of them is given up.
    assert!(since.elapsed() < Duration::from_secs(9), "{:?}", since.elapsed());
    for stream in &mut slow {
        let mut rest = Vec::new();
        // 408, or just closed: either way it ends by itself, ten seconds after it began.
        let _ = within("the end of a slow peer", stream.read_to_end(&mut rest)).await;
    }
}

fn with_pattern(pattern: &str) -> Value {
    json!({
        "name": "Acme", "client_id": "c", "client_secret": "s",
        "auth_endpoint": "https://{shop}.acme.example/a", "token_endpoint": "https://{shop}.acme.example/t",
        "variables": {"shop": {"pattern": pattern}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn j05_a_pattern_takes_no_more_than_linear_time_and_a_huge_one_is_refused() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    service.owner(Method::PUT, "/api/plugins/acme", Some(with_pattern("(a+)+$"))).await.expect(201);
    let value = format!("{}!", "a".repeat(60_000));
    let since = Instant::now();
    let refused = home.install(&service, "acme", json!({"shop": value})).await.expect(422);
    assert_eq!(refused["errors"][0]["field"], "/variables/shop", "{refused}");
    // With backtracking it would never end.
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());

    let huge = service.owner(Method::PUT, "/api/plugins/huge", Some(with_pattern("(a{1000}){1000}"))).await;
    let refused = huge.expect(422);
    assert_eq!(refused["errors"][0]["field"], "/variables/shop/pattern", "{refused}");
}

async fn raw(service: &Service, request: &str) -> String {
    let mut stream = TcpStream::connect(address(service)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = within("an answer", stream.read(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn j06_what_two_readers_could_read_differently_is_refused() {
    let service = Service::start().await;
    let twice = "{\"name\":\"a\",\"password\":\"a long enough phrase\",\"name\":\"b\"}";
    let request = service.request(Method::POST, "/api/devices").header("content-type", "application/json");
    let reply = Reply::of(request.basic_auth("owner", Some("a password for the owner")).body(twice)).await;
    assert_eq!(reply.status, 400, "{}", reply.text);

    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let grant = "grant_type=x&grant_type=y";
    let length = grant.len();
    let repeated =
        format!("POST /api/token HTTP/1.1\r\nhost: x\r\n{form}content-length: {length}\r\n\r\n{grant}");
    assert!(raw(&service, &repeated).await.starts_with("HTTP/1.1 400"));

    let both = format!(
        "POST /api/token HTTP/1.1\r\nhost: x\r\n{form}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    assert!(raw(&service, &both).await.starts_with("HTTP/1.1 400"), "{}", raw(&service, &both).await);
    let lengths = format!(
        "POST /api/token HTTP/1.1\r\nhost: x\r\n{form}content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"
    );
    assert!(raw(&service, &lengths).await.starts_with("HTTP/1.1 400"));
}
