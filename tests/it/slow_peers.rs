//! A provider that accepts and never answers, and clients that read a byte a minute: they hold up nobody but
//! themselves, and not for ever.

use std::{collections::BTreeSet, io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::dev::ServerHandle;
use cloudlink::{
    http::{
        frame::{Frame, Limits},
        load::Load,
        public_routes,
        server::{Tuning, listen},
    },
    seams::SystemEntropy,
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, interval, timeout},
};

use crate::harness::{
    Answer, Attempt, Home, PUBLIC, Process, Provider, Reply, Service, call_with, long, until, within,
};

const SILENT: usize = 60;
/// Requests that one host may hold open; further ones wait for their turn, and for no other host's.
const AT_ONE_HOST: usize = 32;
const SLOTS: usize = 140;

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_accepts_and_never_answers_holds_up_its_own_flows_alone() {
    let service = Service::with(&[("FLOW__PENDING_PER_DEVICE", "1000")]).await;
    let (dead, well) = (Provider::start().await, Provider::start().await);
    dead.always(Answer::Silence);
    let stuck = Home::enrol(&service, &dead).await;
    let home = Home::bare(&service).await;
    let by_name =
        serde_json::from_str(&well.configuration().to_string().replace("127.0.0.1", "localhost")).unwrap();
    home.install_store(&service, "well", by_name).await;
    home.link(&service).await;
    let token = home.token(&service).await;
    let mut waiting = Vec::new();
    let mut connections = Vec::new();
    for number in 0..SILENT {
        let attempt = Attempt::start(&service, &stuck).await;
        let callback = attempt.sent.callback(&[("code", format!("code-{number}").as_str())]);
        let request = service.request(Method::GET, callback.strip_prefix(PUBLIC).unwrap());
        let request = request.header("cookie", attempt.browser.cookie.clone().unwrap());
        waiting.push(tokio::spawn(request.timeout(Duration::from_mins(1)).send()));
        connections.push(attempt.connection);
    }
    dead.asked(AT_ONE_HOST).await;
    // More exchanges wait than there are connections to the database, and everybody else is served.
    let health = service.request(Method::GET, "/healthz").timeout(Duration::from_secs(2));
    assert_eq!(Reply::of(health).await.status, 200);
    let ready = service.request(Method::GET, "/readyz").timeout(Duration::from_secs(3));
    assert_eq!(Reply::of(ready).await.status, 200);
    for _ in 0..5 {
        home.link(&service).await;
        call_with(&service, &token, Method::GET, &home.at("/token"), None).await.expect(200);
    }
    println!("{SILENT} exchanges wait for a provider; 5 flows at another were linked meanwhile");
    if long() {
        // Thirty seconds each, then they are told; nobody is left waiting.
        for answer in join_all(waiting).await {
            assert_eq!(answer.unwrap().unwrap().status(), 303);
        }
        for connection in &connections {
            assert_eq!(
                stuck.flow(&service, connection).await,
                json!({"status": "failed", "error": "provider_unavailable"})
            );
        }
        let sent: Vec<_> = dead.requests().into_iter().map(|request| request.form["code"].clone()).collect();
        let codes: BTreeSet<_> = sent.iter().collect();
        assert_eq!(codes.len(), sent.len(), "no code was sent twice");
    }
}

/// Connects with next to no room for what comes.
async fn narrow(service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(service.url.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_a_byte_and_no_more_hold_up_nobody_and_are_closed_in_the_end() {
    let (service, provider) = (Service::with(&[("SERVER__WORKERS", "1")]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let version = home.show(&service).await["version"].as_i64().unwrap();
    assert_eq!(home.ack(&service, "heating", version).await, 204, "so that a poll has to wait");
    let token = home.token(&service).await;
    let mut slow = Vec::new();
    for number in 0..150 {
        // A document, a poll that is answered at once, and a poll that waits and gets nothing yet.
        let path = ["/api/openapi.json", "/api/cloudlink/events?state=all", "/api/cloudlink/events?wait=60"]
            [number % 3];
        let mut stream = narrow(&service).await;
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        if number % 3 < 2 {
            timeout(Duration::from_secs(20), stream.read_u8()).await.expect("a first byte").unwrap();
        }
        slow.push(stream);
    }
    let health = service.request(Method::GET, "/healthz").timeout(Duration::from_secs(2));
    assert_eq!(Reply::of(health).await.status, 200);
    home.link(&service).await;
    println!("{} clients read one byte each; a flow was linked and told meanwhile", slow.len());
    if long() {
        // Forty seconds after the answer, whoever has not read it is hung up on; a byte a minute does not help.
        for mut stream in slow {
            let mut rest = Vec::new();
            let end = timeout(Duration::from_mins(2), stream.read_to_end(&mut rest)).await;
            assert!(end.is_ok(), "it is still open");
        }
    }
}

/// A server of its own with the routes that need no database, which is patient for so long.
struct Impatient {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Impatient {
    fn start(patience: Duration) -> Self {
        let frame = Frame {
            public_url: PUBLIC.parse().unwrap(),
            trusted_proxies: Vec::new(),
            entropy: Arc::new(SystemEntropy),
            limits: Limits::default(),
            load: Load::new("impatient", 100),
        };
        let tuning =
            Tuning { head: patience / 2, idle: patience / 2, ..Tuning::new(Some(1), 100, Duration::ZERO) };
        let listening = listen("127.0.0.1:0".parse().unwrap(), frame, tuning, public_routes).unwrap();
        let (address, handle) = (listening.address, listening.server.handle());
        tokio::spawn(listening.server);
        Self { address, handle }
    }

    async fn narrow(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

impl Drop for Impatient {
    fn drop(&mut self) {
        tokio::spawn(self.handle.stop(false));
    }
}

fn asking(path: &str, times: usize) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(times).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_much_at_once_and_reads_nothing_is_hung_up_on() {
    let server = Impatient::start(Duration::from_millis(600));
    // Answers with a body, of which the server makes a few; answers without, which it would make for ever.
    for (path, first, more) in [("/api/openapi.json", 50, 0), ("/healthz", 200, 200)] {
        let mut stream = server.narrow().await;
        stream.write_all(&asking(path, first)).await.unwrap();
        let more = if more == 0 { b"x".to_vec() } else { asking(path, more) };
        until("the end of who reads nothing", async || match stream.try_write(&more) {
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(()),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_gets_all_that_it_asked_for() {
    let patience = Duration::from_secs(if long() { 4 } else { 2 });
    let server = Impatient::start(patience);
    let mut stream = server.narrow().await;
    let last = "GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(&asking("/api/openapi.json", 40)).await.unwrap();
    stream.write_all(last.as_bytes()).await.unwrap();
    // Far longer than a peer may take nothing; then the rest at once.
    let (since, mut read, mut part) = (Instant::now(), Vec::new(), vec![0; 16 * 1024]);
    let mut pace = interval(Duration::from_millis(50));
    while since.elapsed() < patience * 3 {
        pace.tick().await;
        let bytes = stream.read(&mut part).await.unwrap();
        assert!(bytes > 0, "closed after {:?} and {} bytes", since.elapsed(), read.len());
        read.extend_from_slice(&part[..bytes]);
    }
    let slowly = read.len();
    within("the rest", stream.read_to_end(&mut read)).await.unwrap();
    let text = String::from_utf8_lossy(&read);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 40);
    assert!(text.contains("HTTP/1.1 404") && slowly < read.len() / 2, "{slowly} of {}", read.len());
    println!("{slowly} of {} bytes were read slowly", read.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_does_not_read_its_relay_is_closed_and_the_others_are_told() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let process = Process::start(&service, &[]).await;
    let token = home.token(&process.service).await;
    // More than sockets take before they stand: six megabytes in all.
    let tokens = json!({"access_token": "at", "expires_in": 3600, "note": "x".repeat(45_000)});
    for number in 0..SLOTS {
        let slot = home.beside(&format!("slot-{number}"));
        let plugin = json!({"plugin": "acme"});
        call_with(&service, &token, Method::PUT, &slot.at(""), Some(plugin)).await.expect(201);
        call_with(&service, &token, Method::PUT, &slot.at("/tokens"), Some(tokens.clone())).await.expect(204);
    }
    let mut stuck = narrow(&process.service).await;
    let handshake = format!(
        "GET /api/cloudlink/relay HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: cloudlink.v1\r\n\r\n"
    );
    stuck.write_all(handshake.as_bytes()).await.unwrap();
    stuck.read_u8().await.unwrap();
    let mut well = home.relay(&process.service).await;
    for _ in 0..SLOTS {
        well.event("customns", Some("oauthTokens")).await;
    }
    until("the end of who does not read", async || {
        let metrics = Reply::of(process.service.admin(Method::GET, "/metrics")).await.text;
        metrics
            .lines()
            .any(|line| line.starts_with("cloudlink_relay_closed_total{code=\"4408\"} 1"))
            .then_some(())
    })
    .await;
    println!("{SLOTS} slots were told to one who reads; who does not was closed with 4408");
    home.link(&process.service).await;
    well.event("oauth", None).await;
}
