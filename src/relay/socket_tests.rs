use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    http::header::SEC_WEBSOCKET_EXTENSIONS,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use super::Counted;
use crate::relay::{
    RelaySettings,
    fixture::{Bench, Slot},
    served::{Carrier, PATIENCE, Served, close_code, event, frame, over_both, quick, say, soon},
};

over_both! {
    a_connection_is_brought_to_the_newest_state_and_an_ack_is_kept
    an_ack_that_comes_while_the_database_is_away_is_kept_when_it_is_back
    without_any_knock_the_slow_poll_finds_changes_and_deletions
    after_missed_knocks_a_connection_finds_what_changed
    h06_a_message_of_65_kib_is_closed_as_too_big_and_one_of_64_is_not
    h06_a_flood_of_pings_is_closed
    h06_endless_fragments_are_closed
    a_binary_message_is_closed
    h07_compression_is_offered_and_not_accepted
    h11_a_client_that_never_reads_is_dropped_and_another_gets_its_events
    h08_a_silent_peer_is_pinged_and_dropped
    h04_a_revoked_or_expired_token_closes_its_connection
    h04_a_connection_ends_as_soon_as_both_have_said_so_whoever_begins
    a_server_that_goes_away_says_goodbye_and_when_to_come_back
    a_connection_that_can_be_told_nothing_is_closed
}

#[test]
fn a_connection_whose_task_panics_is_not_counted_any_more() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let gauge = metrics::with_local_recorder(&recorder, || metrics::gauge!("connections"));
    let says = |line| recorder.handle().render().contains(line);
    let counted = Counted::new(gauge);
    assert!(says("connections 1\n"));
    let panics = std::thread::spawn(move || {
        let _counted = counted;
        panic!("as a test wants");
    });
    assert!(panics.join().is_err());
    assert!(says("connections 0\n"));
}

async fn a_connection_is_brought_to_the_newest_state_and_an_ack_is_kept(carrier: Carrier) {
    let served = Served::start(carrier, [Slot { acked: 1, ..Slot::linked() }], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await, json!({"type": "hello", "heartbeat": 30}));
    assert_eq!(event(&mut client).await, "ecobee 1 customns/oauth");
    let tokens = frame(&mut client).await;
    assert_eq!((&tokens["event"], &tokens["version"]), (&json!("oauth"), &json!(2)));
    assert_eq!(tokens["data"]["refresh_token"], "slot-handle");

    for version in [99, 2] {
        say(&mut client, json!({"type": "ack", "slot": "ecobee", "version": version})).await;
    }
    say(&mut client, json!({"type": "settings", "slot": "ecobee", "id": 1, "patch": {"scope": "x"}})).await;
    let reply = json!({"type": "reply", "id": 1, "ok": true, "data": {"scope": "x"}});
    assert_eq!(frame(&mut client).await, reply);
    assert_eq!(served.bench.database.acked("ecobee"), 2);

    served.bench.database.put(Slot { acked: 2, version: 3, tokens_version: 3, ..Slot::linked() });
    served.bench.knock("ecobee");
    assert_eq!(event(&mut client).await, "ecobee 3 customns/oauthTokens");
}

async fn an_ack_that_comes_while_the_database_is_away_is_kept_when_it_is_back(carrier: Carrier) {
    let slots = [Slot { acked: 1, ..Slot::linked() }];
    let settings = RelaySettings { heartbeat: Duration::from_secs(1), ..quick() };
    let served = Served::start(carrier, slots, settings);
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    assert_eq!(event(&mut client).await, "ecobee 1 customns/oauth");
    assert_eq!(event(&mut client).await, "ecobee 2 oauth");
    served.bench.database.go_away();
    say(&mut client, json!({"type": "ack", "slot": "ecobee", "version": 2})).await;
    // Whoever is answered was heard after the ack.
    say(&mut client, json!({"type": "token", "slot": "ecobee", "id": 1})).await;
    assert_eq!(frame(&mut client).await["type"], "reply");
    assert_eq!(served.bench.database.acked("ecobee"), 1);
    served.bench.database.come_back();
    soon(served.bench.database.acknowledged("ecobee", 2)).await;
}

async fn without_any_knock_the_slow_poll_finds_changes_and_deletions(carrier: Carrier) {
    let served = Served::start(carrier, [Slot::at("a", 1)], quick());
    let slowly = actix_web::rt::spawn(served.bench.relay.clone().poll_slowly());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    assert_eq!(event(&mut client).await, "a 1 customns/oauth");
    served.bench.database.put(Slot::at("a", 2));
    assert_eq!(event(&mut client).await, "a 2 customns/oauth");
    served.bench.database.delete("a");
    assert_eq!(event(&mut client).await, "a 3 unlinked");
    served.bench.database.put(Slot::at("b", 1));
    assert_eq!(event(&mut client).await, "b 1 customns/oauth");
    slowly.abort();
}

async fn after_missed_knocks_a_connection_finds_what_changed(carrier: Carrier) {
    let served = Served::start(carrier, [Slot::at("a", 1), Slot::at("b", 1)], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    assert_eq!(event(&mut client).await, "a 1 customns/oauth");
    assert_eq!(event(&mut client).await, "b 1 customns/oauth");
    served.bench.database.put(Slot::at("b", 2));
    // More different slots than a doorbell remembers apart.
    (0..100).for_each(|slot| served.bench.knock(&format!("slot-{slot}")));
    assert_eq!(event(&mut client).await, "b 2 customns/oauth");
}

async fn h06_a_message_of_65_kib_is_closed_as_too_big_and_one_of_64_is_not(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    soon(client.send(Message::text("x".repeat(64 * 1024)))).await.unwrap();
    assert_eq!(frame(&mut client).await["code"], "invalid_json");
    soon(client.send(Message::text("x".repeat(65 * 1024)))).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1009);
}

async fn h06_a_flood_of_pings_is_closed(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let client = served.connect().await;
    let (mut output, input) = client.split();
    let flood = async move {
        for _ in 0..10_000 {
            if output.send(Message::Ping("x".into())).await.is_err() {
                return;
            }
        }
    };
    let closed = input.filter_map(|message| {
        std::future::ready(match message {
            Ok(Message::Close(close)) => Some(close.map(|close| u16::from(close.code))),
            Ok(_) => None,
            Err(_) => Some(None),
        })
    });
    let first = async { std::pin::pin!(closed).next().await };
    let ((), close) = soon(async { tokio::join!(flood, first) }).await;
    assert_eq!(close.flatten(), Some(4429));
    soon(served.bench.relay.drained()).await;
}

async fn h06_endless_fragments_are_closed(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let mut client = served.connect().await;
    let part = |code| Message::Frame(Frame::message("", OpCode::Data(code), false));
    soon(client.send(part(Data::Text))).await.unwrap();
    for _ in 0..300 {
        soon(client.feed(part(Data::Continue))).await.unwrap();
    }
    soon(client.flush()).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1009);
}

async fn a_binary_message_is_closed(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let mut client = served.connect().await;
    soon(client.send(Message::binary("x"))).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1003);
}

async fn h07_compression_is_offered_and_not_accepted(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let (mut client, response) = served.shake_hands(Some("permessage-deflate; client_max_window_bits")).await;
    assert!(response.headers().get(SEC_WEBSOCKET_EXTENSIONS).is_none());
    assert_eq!(frame(&mut client).await["type"], "hello");
}

async fn h11_a_client_that_never_reads_is_dropped_and_another_gets_its_events(carrier: Carrier) {
    const BIG: &str = include_str!("../../Cargo.lock");
    // The healthy one has it, too, so it is long enough for a busy machine.
    let (send, linger) = (Duration::from_secs(2), Duration::from_millis(100));
    let served = Served::start(carrier, [], RelaySettings { send, linger, ..quick() });
    let deaf = served.connect().await;
    let mut reader = served.connect().await;
    assert_eq!(frame(&mut reader).await["type"], "hello");
    let configuration: &'static str = json!({ "big": BIG }).to_string().leak();
    let (mut version, started) = (0, Instant::now());
    while served.bench.relay.connections.devices().len() == 1 && served.bench.relay.connections.count() == 2 {
        version += 1;
        served.bench.database.put(Slot { configuration, ..Slot::at("a", version) });
        served.bench.knock("a");
        assert_eq!(event(&mut reader).await, format!("a {version} customns/oauth"));
        assert!(started.elapsed() < PATIENCE, "it is never dropped");
    }
    say(&mut reader, json!({"type": "token", "slot": "a", "id": 1})).await;
    assert_eq!(frame(&mut reader).await["type"], "reply");
    drop(reader);
    soon(served.bench.relay.drained()).await;
    // The deaf client still holds its end, and the server has nevertheless let go of it.
    soon(served.stop()).await;
    drop(deaf);
}

async fn h08_a_silent_peer_is_pinged_and_dropped(carrier: Carrier) {
    let served =
        Served::start(carrier, [], RelaySettings { heartbeat: Duration::from_millis(100), ..quick() });
    // It never reads, so its library never answers a ping.
    let silent = served.connect().await;
    soon(served.bench.relay.drained()).await;
    drop(silent);
}

async fn h04_a_revoked_or_expired_token_closes_its_connection(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    served.bench.standing.revoke();
    assert_eq!(close_code(&mut client).await, 4401);
    let mut late = served.connect().await;
    let first = soon(late.next()).await.unwrap().unwrap();
    assert!(matches!(first, Message::Close(Some(close)) if u16::from(close.code) == 4401));

    let served = Served::start_for(carrier, Bench::new([], quick()), Duration::from_millis(50));
    assert_eq!(close_code(&mut served.connect().await).await, 4401);
}

async fn h04_a_connection_ends_as_soon_as_both_have_said_so_whoever_begins(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let (mut leaves, mut told) = (served.connect().await, served.connect().await);
    for client in [&mut leaves, &mut told] {
        assert_eq!(frame(client).await["type"], "hello");
    }
    soon(leaves.close(None)).await.unwrap();
    assert_eq!(soon(leaves.next()).await.unwrap().unwrap(), Message::Close(None));
    served.bench.standing.revoke();
    assert_eq!(close_code(&mut told).await, 4401);
    for mut client in [leaves, told] {
        assert!(soon(client.next()).await.is_none());
    }
}

async fn a_server_that_goes_away_says_goodbye_and_when_to_come_back(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    served.bench.drain.cancel();
    let goodbye = json!({"type": "goodbye", "reason": "draining", "reconnect_after_ms": 1503});
    assert_eq!(frame(&mut client).await, goodbye);
    assert_eq!(close_code(&mut client).await, 1012);
    soon(served.bench.relay.drained()).await;
}

async fn a_connection_that_can_be_told_nothing_is_closed(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    served.bench.database.go_away();
    assert_eq!(close_code(&mut served.connect().await).await, 1011);
}
