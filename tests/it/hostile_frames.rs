//! What no client sends, byte for byte, to each address that speaks WebSocket: it ends its own connection at once, and
//! costs nobody else anything.

use std::{collections::BTreeMap, fs, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Home, Process, Reply, Service, account_link, within};

/// An address that speaks WebSocket, and what it says to whom it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    /// The relay, at the public listener.
    Public,
    /// The relay, at its own listener.
    Own,
    /// Home Assistant's, at the public listener, without any credentials.
    AccountLink,
}

const DOORS: [Door; 3] = [Door::Public, Door::Own, Door::AccountLink];

/// A masked frame of text that announces 2^40 bytes.
const HUGE: [u8; 14] = [0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Door {
    /// Asks for a WebSocket, with these header lines too: the status.
    async fn knock(self, service: &Service, token: &str, lines: &str) -> (u16, TcpStream) {
        let (address, path) = match self {
            Self::Public => (&service.url, "/api/cloudlink/relay"),
            Self::Own => (&service.relay_url, "/api/cloudlink/relay"),
            Self::AccountLink => (&service.url, "/v1"),
        };
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: cloudlink.v1\r\nauthorization: Bearer {token}\r\n{lines}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(within("an answer", stream.read_u8()).await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), stream)
    }

    async fn open(self, service: &Service, token: &str) -> TcpStream {
        let (status, stream) = self.knock(service, token, "").await;
        assert_eq!(status, 101, "{self:?}");
        stream
    }

    /// Reads until the close frame; it has to be this one.
    async fn closes(self, stream: &mut TcpStream, code: u16) {
        let mut texts = Vec::new();
        let closed = loop {
            match within("a frame", frame(stream)).await {
                (0x88, payload) => break u16::from_be_bytes([payload[0], payload[1]]),
                (0x81, text) => texts.push(serde_json::from_slice::<Value>(&text).unwrap()),
                (first, _) => assert_eq!(first, 0x89, "a ping"),
            }
        };
        match self {
            Self::Public | Self::Own => assert_eq!(closed, code, "{self:?}"),
            // Its client knows no codes, and falls over a close without a word.
            Self::AccountLink => assert_eq!((closed, &texts[..]), (1000, &[json!({"error": "unknown"})][..])),
        }
    }
}

/// The first byte and the payload of what the server says next.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.unwrap();
    let length = match stream.read_u8().await.unwrap() {
        126 => stream.read_u16().await.unwrap(),
        length => u16::from(length),
    };
    let mut payload = vec![0; usize::from(length)];
    stream.read_exact(&mut payload).await.unwrap();
    (first, payload)
}

async fn is_alive(service: &Service) {
    let health = service.request(Method::GET, "/healthz").timeout(Duration::from_secs(10));
    assert_eq!(Reply::of(health).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn h06_a_broken_frame_ends_its_connection_and_the_only_worker_serves_on() {
    let (service, _provider) = account_link(&[("SERVER__WORKERS", "1")], json!({})).await;
    let home = Home::bare(&service).await;
    let token = home.token(&service).await;
    let mut left_open = Vec::new();
    for (what, bytes) in [
        ("no mask", &[0x81, 0x02, b'{', b'}'][..]),
        ("a reserved bit", &[0xc1, 0x80, 0, 0, 0, 0]),
        ("a reserved opcode", &[0x83, 0x80, 0, 0, 0, 0]),
        ("a length with its highest bit set", &[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a ping in parts", &[0x09, 0x80, 0, 0, 0, 0]),
        ("a part of nothing", &[0x80, 0x80, 0, 0, 0, 0]),
    ] {
        for door in DOORS {
            println!("{what} to {door:?}");
            let mut stream = door.open(&service, &token).await;
            // What follows is not read as frames any more, however often it is broken again.
            stream.write_all(&bytes.repeat(50)).await.unwrap();
            door.closes(&mut stream, 1002).await;
            is_alive(&service).await;
            // It neither answers the close frame nor goes.
            left_open.push(stream);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h06_a_huge_frame_is_refused_by_its_head_alone() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let home = Home::bare(&service).await;
    let token = home.token(&service).await;
    for door in DOORS {
        let mut stream = door.open(&service, &token).await;
        stream.write_all(&HUGE).await.unwrap();
        door.closes(&mut stream, 1009).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h06_what_a_frame_announces_and_sends_beyond_the_limit_takes_no_memory() {
    const MIB: usize = 1024 * 1024;
    let (service, _provider) = account_link(&[], json!({})).await;
    let home = Home::bare(&service).await;
    let process = Process::start(&service, &[]).await;
    let token = home.token(&process.service).await;
    let (before, mut after) = (peak_memory(process.pid()), BTreeMap::new());
    for door in DOORS {
        let mut stream = door.open(&process.service, &token).await;
        stream.write_all(&HUGE).await.unwrap();
        let chunk = vec![0; MIB];
        for _ in 0..64 {
            // Hung up on before all is sent, more likely than not.
            if within("a chunk", stream.write_all(&chunk)).await.is_err() {
                break;
            }
        }
        is_alive(&process.service).await;
        after.insert(door, (peak_memory(process.pid()) - before) / MIB);
    }
    assert!(after.values().all(|grown| *grown < 24), "MiB: {after:?}");
}

/// The most memory that a process has had, bytes.
fn peak_memory(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_with_a_body_is_refused() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let home = Home::bare(&service).await;
    let token = home.token(&service).await;
    for door in DOORS {
        for lines in [
            "content-length: 5\r\n",
            "content-length: 0\r\ncontent-length: 5\r\n",
            "content-length: 0\r\ncontent-length: 0\r\n",
            "transfer-encoding: chunked\r\n",
            "upgrade: h2c\r\n",
        ] {
            assert_eq!(door.knock(&service, &token, lines).await.0, 400, "{door:?} {lines}");
        }
        assert_eq!(door.knock(&service, &token, "content-length: 0\r\n").await.0, 101, "{door:?}");
    }
}
