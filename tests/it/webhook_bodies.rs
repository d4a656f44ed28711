//! Bodies that come slowly hold up nobody who has something to say.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Home, Hook, Process, Provider, Reply, Service, until, within};

/// Of a body that nobody has sent.
const FORGED: &str = "sha256=0000000000000000000000000000000000000000000000000000000000000000";
/// The signature of `{}` with [`KEY`].
const SIGNED: &str = "sha256=86d0462f00c73a43bbdd7227020f06a6577430ca4993ee76cf532e1887d013ae";
const KEY: &str = "a key of the service";

async fn stage() -> (Service, Process, Home) {
    let service = Service::start().await;
    let home = Home::enrol(&service, &Provider::start().await).await;
    let process = Process::start(&service, &[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let proof = json!({"hmac": {"header": "X-Hub-Signature-256", "prefix": "sha256=", "key": KEY}});
    home.call(&service, Method::PUT, &home.at("/webhook"), Some(proof)).await.expect(200);
    (service, process, home)
}

/// Announces two bytes from `network` and sends one.
async fn slow_body(process: &Process, home: &Home, network: &str, signature: &str) -> TcpStream {
    let mut stream = TcpStream::connect(process.service.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST /api/eisy/pg3/webhook/response/{}/heating HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {network}\r\n\
         x-hub-signature-256: {signature}\r\ncontent-length: 2\r\n\r\n{{",
        home.device
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn metric(process: &Process, name: &str) -> usize {
    let metrics = Reply::of(process.service.admin(Method::GET, "/metrics")).await.text;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// Waits until so many requests have begun whose body is not there yet.
async fn begun(process: &Process, count: usize) {
    until("slow bodies", async || {
        let reading = metric(process, "cloudlink_webhook_bodies").await;
        let under_way = metric(process, "cloudlink_relay_requests_in_flight").await;
        (reading + under_way == count).then_some(())
    })
    .await;
}

async fn signed(process: &Process, home: &Home, network: &str) -> Reply {
    let headers = [("x-hub-signature-256", SIGNED), ("x-forwarded-for", network)];
    Hook { headers: &headers, body: b"{}".to_vec(), ..Hook::default() }.call(&process.service, home).await
}

/// The head of an answer, after which the connection may stay.
async fn told(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    within("an answer", async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    })
    .await;
    String::from_utf8(head).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_take_no_place_of_the_slot_from_who_signs() {
    let (_service, process, home) = stage().await;
    let mut relay = home.relay(&process.service).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(slow_body(&process, &home, "192.0.2.1", FORGED).await);
    }
    begun(&process, 8).await;
    let plugin = async {
        let asked: Value = relay.asked().await;
        relay.answer(&asked, 200, json!({}), b"heard").await;
    };
    let reply = signed(&process, &home, "192.0.2.1");
    let reply = tokio::select! {
        reply = reply => reply,
        ((), never) = async { (plugin.await, std::future::pending::<Reply>().await) } => never,
    };
    assert_eq!((reply.status, reply.text.as_str()), (200, "heard"));
    slow[0].write_all(b"}").await.unwrap();
    let answer = told(&mut slow[0]).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "the rest of it came: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_enough_bodies_are_read_the_slowest_of_who_has_the_most_gives_way() {
    let (_service, process, home) = stage().await;
    let limit = |of: &str| format!("cloudlink_webhook_bodies_limit{{of=\"{of}\"}}");
    let share = metric(&process, &limit("network")).await;
    assert_eq!((metric(&process, &limit("process")).await, share), (256, 64));
    let mut slow = Vec::new();
    let lone = slow_body(&process, &home, "203.0.113.1", FORGED).await;
    begun(&process, 1).await;
    for number in 0..share {
        slow.push(slow_body(&process, &home, "192.0.2.1", FORGED).await);
        if number < 2 {
            begun(&process, number + 2).await;
        }
    }
    begun(&process, share + 1).await;
    assert_eq!(
        signed(&process, &home, "192.0.2.1").await.expect(503)["code"],
        "not_connected",
        "it is heard"
    );
    let answer = told(&mut slow[0]).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1\r\n"), "{answer}");
    let refusals = "cloudlink_webhooks_refused_total{reason=\"bodies\"}";
    assert_eq!(metric(&process, refusals).await, 1);

    // Others take what is left; then it is the whole server that has enough.
    for number in share..256 {
        let network = format!("198.51.100.{}", number / share);
        slow.push(slow_body(&process, &home, &network, FORGED).await);
    }
    begun(&process, 256).await;
    assert_eq!(
        signed(&process, &home, "192.0.2.2").await.expect(503)["code"],
        "not_connected",
        "it is heard"
    );
    begun(&process, 255).await;
    assert_eq!(metric(&process, refusals).await, 2);

    // Who hangs up gives the place back.
    drop((slow, lone));
    begun(&process, 0).await;
}
