//! Too much at once: each bound can be seen, one more is told when to come back, and health answers all the while.

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Process, Reply, Service, within};

async fn metrics(process: &Process) -> String {
    Reply::of(process.service.admin(Method::GET, "/metrics")).await.text
}

fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{name} in {metrics}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_more_than_may_be_handled_is_told_to_come_back_and_health_answers() {
    let service = Service::start().await;
    let process = Process::start(&service, &[("SERVER__MAX_REQUESTS", "16")]).await;
    let address = process.service.url.strip_prefix("http://").unwrap();
    let mut unfinished = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        unfinished.push(stream);
    }
    let handled = "cloudlink_http_requests_handled{listener=\"public\"}";
    within("sixteen requests that are handled", async {
        while value(&metrics(&process).await, handled) < 16.0 {}
    })
    .await;

    let refused = Reply::of(process.service.request(Method::GET, "/api/plugins")).await;
    assert_eq!((refused.status, refused.headers["retry-after"].as_bytes()), (503, &b"1"[..]));
    assert_eq!(refused.expect(503)["code"], "overloaded");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(Reply::of(process.service.request(Method::GET, path)).await.status, 200, "{path}");
    }
    assert_eq!(Reply::of(process.service.admin(Method::GET, "/readyz")).await.status, 200);

    for stream in &mut unfinished {
        stream.write_all(b"\"a\":\"b\"}").await.unwrap();
        let mut answer = [0; 12];
        within("an answer", stream.read_exact(&mut answer)).await.unwrap();
    }
    assert_eq!(Reply::of(process.service.request(Method::GET, "/api/plugins")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bound_stands_in_the_metrics_beside_what_is_taken_of_it() {
    let service = Service::start().await;
    let settings =
        [("SERVER__MAX_REQUESTS", "321"), ("DATABASE__MAX_CONNECTIONS", "7"), ("REFRESH__CONCURRENCY", "5")];
    let process = Process::start(&service, &settings).await;
    let text = metrics(&process).await;
    for (name, limit) in [
        ("cloudlink_http_requests_limit{listener=\"public\"}", 321.0),
        ("cloudlink_database_connections_limit", 7.0),
        ("cloudlink_refreshes_limit", 5.0),
        ("cloudlink_password_hashes_limit", 258.0),
        ("cloudlink_throttled_networks_limit", 50_000.0),
    ] {
        assert!((value(&text, name) - limit).abs() < 0.1, "{name} is {limit}: {text}");
    }
    for taken in [
        "cloudlink_http_requests_handled{listener=\"public\"}",
        "cloudlink_database_connections",
        "cloudlink_database_connections_in_use",
        "cloudlink_exchanges_under_way",
        "cloudlink_password_hashes_waiting",
        "cloudlink_throttled_networks{throttle=\"logins\"}",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
    ] {
        assert!(value(&text, taken) >= 0.0);
    }
    assert!(value(&text, "process_resident_memory_bytes") > 1_000_000.0, "{text}");
}
