//! Web services reach a plugin at home: what goes through, what comes back, and what is refused.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};

use crate::harness::{Home, Hook, Provider, Relay, Service, hook, within};

const KIB: usize = 1024;

async fn stage(settings: &[(&str, &str)]) -> (Service, Home) {
    let (service, provider) = (Service::with(settings).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_method_reaches_the_plugin_with_all_that_it_brings_and_the_answer_goes_back() {
    let (service, home) = stage(&[]).await;
    let mut relay = home.relay(&service).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"] {
        let call = Hook {
            method: method.parse().unwrap(),
            query: "a=1&b=%C3%A4&a=2",
            headers: &[("x-event", "push"), ("content-type", "text/plain"), ("cookie", "a=b")],
            body: b"\x00body".to_vec(),
            ..Hook::default()
        };
        let plugin = async {
            let asked = relay.asked().await;
            let headers = json!({"content-type": "text/plain", "x-hook-secret": "s", "set-cookie": "a=b",
                "x-envoy-immediate-health-check-fail": "1", "x-litespeed-location": "/"});
            relay.answer(&asked, 202, headers, b"done").await;
            asked
        };
        let (reply, asked) = tokio::join!(call.call(&service, &home), plugin);
        assert_eq!((&asked["slot"], &asked["method"]), (&json!("heating"), &json!(method)));
        assert_eq!(asked["query"], json!({"a": ["1", "2"], "b": "ä"}));
        let headers = asked["headers"].as_object().unwrap();
        assert_eq!((&headers["x-event"], &headers["content-type"]), (&json!("push"), &json!("text/plain")));
        assert!(!headers.contains_key("cookie") && !headers.contains_key("host"), "{headers:?}");
        assert_eq!(asked["body"], STANDARD.encode(b"\x00body"));
        let body = if method == "HEAD" { "" } else { "done" };
        assert_eq!((reply.status, reply.text.as_str()), (202, body), "{method}");
        assert_eq!(reply.headers["content-type"], "text/plain");
        assert_eq!(reply.headers["x-hook-secret"], "s");
        for obeyed in ["set-cookie", "x-envoy-immediate-health-check-fail", "x-litespeed-location"] {
            assert!(!reply.headers.contains_key(obeyed), "{obeyed}");
        }
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("sandbox") && policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_answers_stays_its_own_word_errors_included() {
    let (service, home) = stage(&[]).await;
    let mut relay = home.relay(&service).await;
    for (status, body) in [(404, ""), (500, "plain"), (599, ""), (204, "ignored"), (301, "moved")] {
        let plugin = async {
            let asked = relay.asked().await;
            relay.answer(&asked, status, json!({"location": "https://evil.example/"}), body.as_bytes()).await;
        };
        let (reply, ()) = tokio::join!(hook(&service, &home), plugin);
        let expected = if status == 204 { "" } else { body };
        assert_eq!((reply.status, reply.text.as_str()), (status, expected));
        assert!(!reply.headers.contains_key("location"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_response_the_caller_goes_on_at_once() {
    let (service, home) = stage(&[]).await;
    let mut relay = home.relay(&service).await;
    let call = Hook { kind: "noresponse", body: b"x".to_vec(), ..Hook::default() };
    let reply = call.call(&service, &home).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    let asked = relay.asked().await;
    assert_eq!(asked["body"], "eA==");
    for _ in 0..2 {
        relay.answer(&asked, 200, json!({}), b"").await;
    }
    let error = relay.next().await;
    assert_eq!(error["code"], "unknown_request", "the second one: {error}");
    relay.send(&json!({"type": "unheard-of"})).await;
    assert_eq!(relay.next().await["code"], "unknown_type", "and that was all");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_connected_nothing_waits_and_where_nothing_is_nothing_is_told() {
    let (service, home) = stage(&[]).await;
    for kind in ["response", "noresponse"] {
        let reply = Hook { kind, ..Hook::default() }.call(&service, &home).await;
        assert!(reply.headers.contains_key("retry-after"));
        assert_eq!(reply.expect(503)["code"], "not_connected", "{kind}");
        let nowhere = home.beside("nowhere");
        let unknown = Hook { kind, ..Hook::default() }.call(&service, &nowhere).await.expect(404);
        let stranger = home.elsewhere();
        assert_eq!(Hook { kind, ..Hook::default() }.call(&service, &stranger).await.expect(404), unknown);
    }
    // A poll hears events, and nothing else.
    let polls = home.poll(&service, "wait=0").await;
    assert_eq!(polls.status, 200);
    assert_eq!(hook(&service, &home).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_never_answers_is_a_504_and_a_late_answer_an_error_frame() {
    let (service, home) = stage(&[("REQUESTS__ANSWER_SECONDS", "10")]).await;
    let mut relay = home.relay(&service).await;
    let (reply, asked) = tokio::join!(hook(&service, &home), relay.asked());
    assert_eq!(reply.expect(504)["code"], "no_answer");
    relay.answer(&asked, 200, json!({}), &vec![b'x'; 100 * KIB]).await;
    assert_eq!(relay.next().await["code"], "unknown_request", "and the connection stays");
    let (reply, _) = tokio::join!(hook(&service, &home), relay.answers("in time"));
    assert_eq!((reply.status, reply.text.as_str()), (200, "in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_goes_away_is_told_at_once() {
    let (service, home) = stage(&[]).await;
    let mut relay = home.relay(&service).await;
    let leaves = async {
        relay.asked().await;
        drop(relay);
    };
    let (reply, ()) = tokio::join!(hook(&service, &home), leaves);
    assert_eq!(reply.expect(502)["code"], "disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_plugins_the_newest_is_asked_and_the_others_answer_is_none() {
    let (service, home) = stage(&[]).await;
    let mut older = home.relay(&service).await;
    let narrow = home.slot_token(&service, "heating").await;
    let mut newest = Relay::attach(&service, &narrow).await;
    let plugins = async {
        let asked = newest.asked().await;
        older.answer(&asked, 500, json!({}), b"foreign").await;
        assert_eq!(older.next_but_events().await["code"], "unknown_request");
        newest.answer(&asked, 200, json!({}), b"own").await;
    };
    let (reply, ()) = tokio::join!(hook(&service, &home), plugins);
    assert_eq!((reply.status, reply.text.as_str()), (200, "own"));
    drop(newest);
    let (reply, _) = tokio::join!(
        crate::harness::until("the older one to be the newest", async || {
            let reply = hook(&service, &home).await;
            (reply.status == 200).then_some(reply)
        }),
        older.answers("older")
    );
    assert_eq!(reply.text, "older");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_256_kib_pass_both_ways_and_more_is_refused() {
    let (service, home) = stage(&[]).await;
    let mut relay = home.relay(&service).await;
    let body: Vec<u8> = (0..256 * KIB).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let plugin = async {
        let asked = relay.asked().await;
        let echoed = STANDARD.decode(asked["body"].as_str().unwrap()).unwrap();
        relay.answer(&asked, 200, json!({}), &vec![0; 256 * KIB + 1]).await;
        assert_eq!(relay.next().await["code"], "invalid_response");
        relay.answer(&asked, 200, json!({"content-type": "text/plain"}), &echoed).await;
    };
    let path = format!("/api/eisy/pg3/webhook/response/{}/heating", home.device);
    let sent = service.request(Method::POST, &path).body(body.clone()).send();
    let (reply, ()) = tokio::join!(sent, plugin);
    assert_eq!(reply.unwrap().bytes().await.unwrap(), body);

    let reply = Hook { body: vec![0; 256 * KIB + 1], ..Hook::default() }.call(&service, &home).await;
    assert_eq!(reply.expect(413)["code"], "payload_too_large");
    // Nothing is awaited any more, so a message is as small as ever.
    let large = json!({"type": "response", "id": "x", "body": "x".repeat(65 * KIB)});
    relay.send(&large).await;
    assert_eq!(relay.closed().await, 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_are_refused_before_they_are_sent() {
    let (service, home) = stage(&[]).await;
    let mut relay = home.relay(&service).await;
    let path = format!("/api/eisy/pg3/webhook/response/{}/heating", home.device);
    let address = service.url.strip_prefix("http://").unwrap();
    let announced = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 52428800\r\n\r\n");
    let chunked = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    for (head, chunks) in [(announced, 0), (chunked, 5)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..chunks {
            stream
                .write_all(format!("{:x}\r\n{}\r\n", 64 * KIB, "x".repeat(64 * KIB)).as_bytes())
                .await
                .unwrap();
        }
        let mut answer = vec![0; 12];
        within("the refusal", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413", "{chunks} chunks");
    }
    let (reply, _) = tokio::join!(hook(&service, &home), relay.answers("only this one"));
    assert_eq!(reply.text, "only this one", "nothing of the others reached the plugin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_bounded_by_what_is_under_way_and_by_the_minute() {
    let (service, home) = stage(&[("REQUESTS__IN_FLIGHT_PER_SLOT", "3")]).await;
    let mut relay = home.relay(&service).await;
    let (refused, told) = oneshot::channel();
    let flood = async {
        let mut calls: FuturesUnordered<_> = (0..20).map(|_| hook(&service, &home)).collect();
        for _ in 0..17 {
            let reply = calls.next().await.unwrap();
            assert!(reply.headers.contains_key("retry-after"));
            reply.expect(429);
        }
        refused.send(()).unwrap();
        while let Some(reply) = calls.next().await {
            assert_eq!(reply.status, 200);
        }
    };
    let plugin = async {
        let asked = [relay.asked().await, relay.asked().await, relay.asked().await];
        // Only once the rest was refused.
        within("17 refusals", told).await.unwrap();
        let more = relay.told_so_far().await;
        assert!(!more.iter().any(|frame| frame.contains("\"request\"")), "a fourth: {more:?}");
        for asked in &asked {
            relay.answer(asked, 200, json!({}), b"").await;
        }
    };
    tokio::join!(flood, plugin);

    for (setting, value) in
        [("REQUESTS__PER_MINUTE_PER_SLOT", "2"), ("REQUESTS__PER_MINUTE_PER_NETWORK", "2")]
    {
        let (service, home) = stage(&[(setting, value)]).await;
        service.clock.stop();
        for status in [503, 503, 429] {
            let reply = hook(&service, &home).await;
            assert!(reply.headers.contains_key("retry-after"));
            assert_eq!(reply.status, status, "{setting}");
        }
        service.clock.advance(time::Duration::minutes(1));
        assert_eq!(hook(&service, &home).await.status, 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_count_towards_no_limit_of_messages() {
    let (service, home) = stage(&[]).await;
    let mut relay = home.relay(&service).await;
    let plugin = async {
        for _ in 0..120 {
            relay.answers("ok").await;
        }
    };
    let caller = async {
        for _ in 0..120 {
            assert_eq!(hook(&service, &home).await.status, 200);
        }
    };
    tokio::join!(plugin, caller);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_answers_where_nobody_waits_keeps_its_connection_and_its_messages() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut relay = home.relay(&service).await;
    // More than the messages of a minute, and the first longer than another frame may be.
    for number in 0..=100 {
        let call = Hook { kind: "noresponse", ..Hook::default() };
        let (reply, asked) = tokio::join!(call.call(&service, &home), relay.asked());
        assert_eq!(reply.status, 200);
        relay.answer(&asked, 200, json!({}), &vec![7; if number == 0 { 100_000 } else { 2 }]).await;
    }
    relay.send(&json!({"type": "nothing that is known"})).await;
    assert_eq!(
        relay.next_but_events().await["code"],
        "unknown_type",
        "no other error before, and still within bounds"
    );
}
