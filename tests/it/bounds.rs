//! Too much at once: each bound can be seen, one more is told when to come back, and health answers all the while.

use futures_util::future::join_all;
use reqwest::Method;

use crate::harness::{Hold, Process, Reply, Service, within};

/// What the process counts.
pub(crate) async fn metrics(process: &Process) -> String {
    Reply::of(process.service.admin(Method::GET, "/metrics")).await.text
}

/// The value of a metric, labels included in its name.
pub(crate) fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{name} in {metrics}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_more_than_may_be_handled_is_told_to_come_back_and_health_answers() {
    let service = Service::start().await;
    let settings = [("SERVER__MAX_REQUESTS", "16"), ("DATABASE__MAX_CONNECTIONS", "20")];
    let process = Process::start(&service, &settings).await;
    let hold = Hold::on(&service, "insert", "enrolment_codes").await;
    let asking = (0..16).map(|_| process.service.owner(Method::POST, "/api/enrolment-codes", None));
    let refused = async {
        let handled = "cloudlink_http_requests_handled{listener=\"public\"}";
        within("sixteen requests that are handled", async {
            while value(&metrics(&process).await, handled) < 16.0 {}
        })
        .await;
        let refused = Reply::of(process.service.request(Method::GET, "/api/plugins")).await;
        assert_eq!(refused.headers["retry-after"].as_bytes(), b"1");
        assert_eq!(refused.expect(503)["code"], "overloaded");
        for path in ["/healthz", "/readyz"] {
            assert_eq!(Reply::of(process.service.request(Method::GET, path)).await.status, 200, "{path}");
        }
        assert_eq!(Reply::of(process.service.admin(Method::GET, "/readyz")).await.status, 200);
        hold.release().await;
    };
    let (answers, ()) = tokio::join!(join_all(asking), refused);
    for answer in answers {
        answer.expect(201);
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
        ("cloudlink_provider_waiters_limit{of=\"process\"}", 160.0),
        ("cloudlink_provider_waiters_limit{of=\"device\"}", 40.0),
        ("cloudlink_provider_waiters_limit{of=\"slot\"}", 20.0),
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
        "cloudlink_provider_waiters",
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
