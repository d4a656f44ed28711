//! Who gets a relay connection, what it may say, and what ends it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _, handshake::client::Request};

use crate::harness::{
    Home, PUBLIC, Provider, Relay, Service,
    frames::handshake_refused,
    home::call_with,
    hook,
    listeners::{at_both_listeners, relay_address},
    until, within,
};

/// Five seconds, and as much for a busy machine; who learns it in another way than this does after thirty at least.
const IN_TIME: Duration = Duration::from_secs(10);

at_both_listeners! {
    h03_without_a_valid_token_in_the_header_there_is_no_handshake
    h02_a_page_of_another_origin_gets_no_socket
    the_owner_has_no_relay_no_events_and_no_acks
    h08_a_device_has_so_many_connections_and_no_more
    h04_a_removed_key_ends_sockets_polls_and_calls_within_five_seconds_on_every_replica
    a_token_that_expires_ends_its_connection
    h06_what_is_not_understood_is_said_and_what_is_too_much_ends_the_connection
    beyond_a_hundred_messages_a_minute_each_is_refused_and_acks_are_not_counted
    answers_that_are_wrong_count_towards_the_text_of_a_minute
    h05_in_every_message_a_slot_of_another_is_like_one_that_does_not_exist
    a_replica_that_stops_says_when_to_come_back
}

fn with_header(mut request: Request, name: &'static str, value: &str) -> Request {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn without_header(mut request: Request, name: &'static str) -> Request {
    request.headers_mut().remove(name);
    request
}

async fn h03_without_a_valid_token_in_the_header_there_is_no_handshake() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let token = home.token(&service).await;
    let good = || Relay::handshake(&service, &token);
    assert_eq!(handshake_refused(without_header(good(), "authorization")).await, 401);
    assert_eq!(handshake_refused(Relay::handshake(&service, "garbage")).await, 401);
    let forged = token.replace('.', ".A");
    assert_eq!(handshake_refused(Relay::handshake(&service, &forged)).await, 401);
    for name in ["access_token", "token", "authorization"] {
        let address = relay_address(&service);
        let uri = format!("{address}/api/cloudlink/relay?{name}={token}");
        let request =
            with_header(uri.into_client_request().unwrap(), "sec-websocket-protocol", "cloudlink.v1");
        let request = with_header(request, "cookie", &format!("{name}={token}"));
        assert_eq!(handshake_refused(request).await, 401, "{name}");
    }
    assert_eq!(handshake_refused(without_header(good(), "sec-websocket-protocol")).await, 400);
    assert_eq!(
        handshake_refused(with_header(good(), "sec-websocket-protocol", "cloudlink.v2, mqtt")).await,
        400
    );
    drop(Relay::attach(&service, &token).await);
    service.clock.advance(time::Duration::hours(1) + time::Duration::seconds(121));
    assert_eq!(handshake_refused(good()).await, 401, "it has expired");
}

async fn h02_a_page_of_another_origin_gets_no_socket() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let token = home.token(&service).await;
    let from = |origin: &str| with_header(Relay::handshake(&service, &token), "origin", origin);
    for foreign in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:9.evil.example",
        "http://evil127.0.0.1:9",
        "https://127.0.0.1:9",
        "http://127.0.0.1",
        "http://127.0.0.1:9/",
        "HTTP://127.0.0.1:9",
        "",
    ] {
        assert_eq!(handshake_refused(from(foreign)).await, 403, "{foreign}");
    }
    let socket = within("the handshake", tokio_tungstenite::connect_async(from(PUBLIC))).await;
    let (_, answer) = socket.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "cloudlink.v1");
    assert!(answer.headers().get("sec-websocket-extensions").is_none(), "H07: no compression");
}

async fn the_owner_has_no_relay_no_events_and_no_acks() {
    let service = Service::start().await;
    let basic = "Basic b3duZXI6YSBwYXNzd29yZCBmb3IgdGhlIG93bmVy";
    let request = with_header(Relay::handshake(&service, "x"), "authorization", basic);
    assert_eq!(handshake_refused(request).await, 403);
    let ack = json!({"slot": "heating", "version": 1});
    for (method, path, body) in
        [(Method::GET, "/api/cloudlink/events", None), (Method::POST, "/api/ack", Some(ack))]
    {
        assert_eq!(service.owner(method, path, body).await.expect(403)["code"], "forbidden", "{path}");
    }
}

async fn h08_a_device_has_so_many_connections_and_no_more() {
    let service = Service::with(&[("RELAY__CONNECTIONS_PER_DEVICE", "2")]).await;
    let (home, other) = (Home::bare(&service).await, Home::bare(&service).await);
    let token = home.token(&service).await;
    let (one, _two) = (Relay::attach(&service, &token).await, Relay::attach(&service, &token).await);
    assert_eq!(handshake_refused(Relay::handshake(&service, &token)).await, 429);
    assert_eq!(home.poll(&service, "wait=0").await.status, 429, "a poll is a connection too");
    drop(other.relay(&service).await);
    drop(one);
    until("a place to be free", async || (home.poll(&service, "wait=0").await.status == 204).then_some(()))
        .await;
    Relay::attach(&service, &token).await;
}

async fn h04_a_removed_key_ends_sockets_polls_and_calls_within_five_seconds_on_every_replica() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let other = service.replica().await;
    let token = home.token(&service).await;
    assert_eq!(home.ack(&service, "heating", 1).await, 204);
    let mut sockets = [Relay::attach(&service, &token).await, Relay::attach(&other, &token).await];
    let narrow = home.slot_token(&service, "heating").await;
    let mut narrow = Relay::attach(&other, &narrow).await;
    let poll = call_with(&other, &token, Method::GET, "/api/cloudlink/events?wait=60", None);

    let key = format!("/api/devices/{}/keys/{}", home.device, home.key_hash.replace('/', "%2F"));
    let ended = async {
        service.owner(Method::DELETE, &key, None).await.expect(204);
        let all = async {
            for socket in &mut sockets {
                assert_eq!(socket.closed().await, 4401);
            }
            assert_eq!(narrow.closed().await, 4401);
        };
        tokio::time::timeout(IN_TIME, all).await.unwrap();
    };
    let (poll, ()) = tokio::join!(tokio::time::timeout(IN_TIME, poll), ended);
    assert_eq!(poll.unwrap().expect(401)["code"], "unauthorized");
    for replica in [&service, &other] {
        assert_eq!(call_with(replica, &token, Method::GET, &home.at(""), None).await.status, 401);
        assert_eq!(handshake_refused(Relay::handshake(replica, &token)).await, 401);
        let assertion = home.assertion(replica, &json!({}));
        assert_eq!(home.grant(replica, &assertion, None).await.expect(400)["error"], "invalid_grant");
    }
}

async fn a_token_that_expires_ends_its_connection() {
    let service = Service::with(&[("RELAY__HEARTBEAT_SECONDS", "1")]).await;
    let home = Home::bare(&service).await;
    let mut relay = home.relay(&service).await;
    service.clock.advance(time::Duration::hours(1));
    assert_eq!(relay.closed().await, 4401);
}

async fn h06_what_is_not_understood_is_said_and_what_is_too_much_ends_the_connection() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut relay = home.relay(&service).await;
    relay.told(1).await;
    for (said, code) in [
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        (r#"{"type":"ack","type":"ack"}"#, "invalid_json"),
        (r#"{"slot":"heating"}"#, "unknown_type"),
        (r#"{"type":"subscribe"}"#, "unknown_type"),
        (r#"{"type":"ack","slot":"heating","version":"1"}"#, "invalid_frame"),
        (r#"{"type":"settings","slot":"heating","id":1,"patch":[]}"#, "invalid_frame"),
        (r#"{"type":"token","slot":"heating"}"#, "invalid_frame"),
    ] {
        relay.raw(Message::text(said)).await;
        let error = relay.next().await;
        assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some("error"), Some(code)), "{said}");
        assert!(error["detail"].is_string());
    }
    relay.send(&json!({"type": "ack", "slot": "heating", "version": 1})).await;
    assert!(relay.told_so_far().await.is_empty());
    assert_eq!(home.show(&service).await["acked_version"], 1, "the connection stayed");

    relay.raw(Message::binary("{}")).await;
    assert_eq!(relay.closed().await, 1003);
    let mut relay = home.relay(&service).await;
    relay.raw(Message::text(format!("\"{}\"", "x".repeat(65 * 1024)))).await;
    assert_eq!(relay.closed().await, 1009);
}

async fn beyond_a_hundred_messages_a_minute_each_is_refused_and_acks_are_not_counted() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut relay = home.relay(&service).await;
    for _ in 0..150 {
        relay.send(&json!({"type": "ack", "slot": "heating", "version": 99})).await;
    }
    for _ in 0..100 {
        relay.send(&json!({"type": "fence"})).await;
    }
    relay.send(&json!({"type": "token", "slot": "heating", "id": 1})).await;
    let frames = relay.told(102).await;
    assert_eq!(frames.iter().filter(|frame| frame.contains("unknown_type")).count(), 100);
    assert!(frames[101].contains("too_many_messages"), "{}", frames[101]);
}

async fn answers_that_are_wrong_count_towards_the_text_of_a_minute() {
    const KIB: usize = 1024;
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut relay = home.relay(&service).await;
    let plugin = async {
        let asked = relay.asked().await;
        let wrong =
            json!({"type": "response", "id": asked["id"], "status": 1, "body": "x".repeat(300 * KIB)});
        for refused in 0.. {
            relay.send(&wrong).await;
            let frame = relay.next_but_events().await;
            if let Some(code) = frame.get("close") {
                assert_eq!(
                    (code, refused * 300 * KIB / (KIB * KIB)),
                    (&json!(4429), 7),
                    "{refused} were read"
                );
                return;
            }
            assert_eq!(frame["code"], "invalid_response");
            assert!(refused * 300 * KIB <= 8 * KIB * KIB, "more than 8 MiB were read");
        }
    };
    let (reply, ()) = tokio::join!(hook(&service, &home), plugin);
    assert!((502..=504).contains(&reply.status), "{}", reply.status);
}

async fn h05_in_every_message_a_slot_of_another_is_like_one_that_does_not_exist() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let victim = Home::bare(&service).await.with_slot("cooling");
    victim.install(&service, "acme", json!({})).await.expect(201);
    victim.link(&service).await;
    let own = home.with_slot("pool");
    own.install(&service, "acme", json!({})).await.expect(201);

    let whole = own.token(&service).await;
    let narrow = own.slot_token(&service, "heating").await;
    // What is the victim's, what is nobody's, and for the narrow token what lies outside its topics.
    for (token, foreign) in [(&whole, "cooling"), (&narrow, "cooling"), (&narrow, "pool")] {
        let mut relay = Relay::attach(&service, token).await;
        relay.told_so_far().await;
        for frame in [
            json!({"type": "settings", "id": 1, "patch": {"scope": "stolen"}}),
            json!({"type": "token", "id": 2}),
            json!({"type": "response", "id": "3", "status": 200}),
            json!({"type": "ack", "version": 1}),
        ] {
            let mut answers = Vec::new();
            for slot in [foreign, "nowhere"] {
                let mut frame = frame.clone();
                frame["slot"] = slot.into();
                relay.send(&frame).await;
                answers.push(if frame["type"] == "ack" { Value::Null } else { relay.next().await });
            }
            assert_eq!(answers[0], answers[1], "{frame}");
            if frame["type"] == "settings" || frame["type"] == "token" {
                assert_eq!((&answers[0]["ok"], &answers[0]["code"]), (&json!(false), &json!("not_found")));
            }
        }
        assert!(relay.told_so_far().await.is_empty());
    }
    for slot in [&victim, &own] {
        let shown = slot.show(&service).await;
        assert_eq!(shown["acked_version"], 0);
        let settings = slot.call(&service, Method::GET, &slot.at("/oauth"), None).await.expect(200);
        assert_eq!(settings["scope"], "read write");
    }
}

async fn a_replica_that_stops_says_when_to_come_back() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let mut relay = home.relay(&service).await;
    let goodbye = async {
        let frame = relay.next().await;
        assert_eq!((&frame["type"], &frame["reason"]), (&json!("goodbye"), &json!("draining")));
        let milliseconds = frame["reconnect_after_ms"].as_u64();
        assert!(milliseconds.is_some_and(|wait| (500..=10_500).contains(&wait)), "{frame}");
        relay.closed().await
    };
    let (code, ()) = tokio::join!(goodbye, service.stop());
    assert_eq!(code, 1012);
}
