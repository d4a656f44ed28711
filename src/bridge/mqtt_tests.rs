//! The connection against a real mosquitto, which is stopped, started again and given strangers.

use std::net::TcpListener;

use serde_json::json;

use super::{
    super::{
        kept::MOST_CUSTOM,
        mosquitto::{Client, LIMIT, Mosquitto},
    },
    *,
};
use crate::domain::ids::Version;

const TOPIC: &str = "udi/pg3/ns/custom/hub_3";

/// A message of a stranger, confirmed by the broker.
async fn stranger_says(mosquitto: &Mosquitto, text: Vec<u8>, retained: bool) {
    let mut options = MqttOptions::new("stranger", "127.0.0.1", mosquitto.port);
    options
        .set_credentials("bridge", "loud herons")
        .set_max_packet_size(LONGEST_PACKET * 2, LONGEST_PACKET * 2);
    let (client, mut events) = AsyncClient::new(options, 4);
    client.try_publish(TOPIC, QoS::AtLeastOnce, retained, text).unwrap();
    let confirmed =
        async { while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {} };
    timeout(LIMIT, confirmed).await.unwrap();
}

#[tokio::test]
async fn what_is_published_is_confirmed_by_the_broker_and_heard_by_others() {
    let mosquitto = Mosquitto::start("");
    let (mut one, mut two) =
        (Client::to(mosquitto.broker("one"), TOPIC), Client::to(mosquitto.broker("two"), TOPIC));
    let (publisher, _other) = (one.up().await, two.up().await);
    assert!(publisher.publish(TOPIC.to_owned(), &json!({"n": 0}), None));
    assert!(publisher.publish(TOPIC.to_owned(), &json!({"n": 1}), Some((7, Version(9)))));
    loop {
        if let Heard::Delivered(receipt) = one.next().await {
            assert_eq!(receipt, (7, Version(9)));
            break;
        }
    }
    assert_eq!((two.message().await, two.message().await), (br#"{"n":0}"#.to_vec(), br#"{"n":1}"#.to_vec()));
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_is_found_again() {
    let mut mosquitto = Mosquitto::start("");
    let mut kept = Client::to(mosquitto.broker("bridge"), TOPIC);
    for _ in 0..2 {
        let publisher = kept.up().await;
        mosquitto.stop();
        let reason = kept.down().await;
        assert!(reason.contains("broke") || reason.contains("can't be reached"), "{reason}");
        drop(publisher);
        mosquitto.again();
    }
    let publisher = kept.up().await;
    assert!(publisher.publish(TOPIC.to_owned(), &json!({"n": 2}), None));
    assert_eq!(kept.message().await, br#"{"n":2}"#);
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_one() {
    let mosquitto = Mosquitto::start("");
    let user = Some(("bridge".to_owned(), Password::new("quiet herons")));
    let mut kept = Client::to(Broker { user, ..mosquitto.broker("bridge") }, TOPIC);
    let reason = kept.down().await;
    assert!(reason.contains("--mqtt-user") && !reason.contains("herons"), "{reason}");
}

#[tokio::test]
async fn two_of_one_name_throw_each_other_out_slower_and_slower_and_say_why() {
    let mosquitto = Mosquitto::start("");
    let (mut one, mut two) =
        (Client::to(mosquitto.broker("same"), TOPIC), Client::to(mosquitto.broker("same"), TOPIC));
    let suspicious = async |kept: &mut Client| loop {
        let publisher = kept.up().await;
        if kept.down().await.contains("is another bridge connected as same?") {
            return;
        }
        drop(publisher);
    };
    tokio::select! {
        () = suspicious(&mut one) => {}
        () = suspicious(&mut two) => {}
    }
}

#[tokio::test]
async fn a_message_that_would_fill_the_memory_ends_the_connection_and_is_blamed_for_it() {
    let mosquitto = Mosquitto::start("");
    let mut kept = Client::to(mosquitto.broker("bridge"), TOPIC);
    for time in 1..=SUSPICIOUS {
        let publisher = kept.up().await;
        stranger_says(&mosquitto, vec![b'x'; LONGEST_PACKET + 1], false).await;
        let reason = kept.down().await;
        assert!(reason.contains("longer than 8 MiB"), "{time}: {reason}");
        assert!(!reason.contains("another bridge"), "{time}: {reason}");
        drop(publisher);
    }
    let _publisher = kept.up().await;
    stranger_says(&mosquitto, b"{}".to_vec(), false).await;
    assert_eq!(kept.message().await, b"{}");
}

#[tokio::test]
async fn with_the_limit_that_is_documented_such_a_message_costs_nobody_the_connection() {
    let documented = include_str!("../../docs/bridge.md");
    let line = documented.lines().find(|line| line.starts_with("message_size_limit ")).unwrap();
    let limit: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
    // What a plugin is told is its custom data, and two frames of the relay.
    assert!(limit > MOST_CUSTOM + 2 * 512 * 1024, "the bridge's own messages get through");
    assert!(limit < LONGEST_PACKET);
    let mosquitto = Mosquitto::start(line);
    let mut before = Client::to(mosquitto.broker("before"), TOPIC);
    before.up().await;
    stranger_says(&mosquitto, vec![b'x'; LONGEST_PACKET + 1], true).await;
    let mut after = Client::to(mosquitto.broker("after"), TOPIC);
    after.up().await;
    stranger_says(&mosquitto, vec![b'x'; limit], false).await;
    for client in [&mut before, &mut after] {
        match client.next().await {
            Heard::Message { payload, .. } => assert_eq!(payload.len(), limit),
            Heard::Down { reason, .. } => panic!("{reason}"),
            Heard::Up(_) | Heard::Delivered(_) => panic!("nothing else happens"),
        }
    }
}

#[tokio::test]
async fn told_to_stop_it_says_goodbye_and_ends() {
    let mosquitto = Mosquitto::start("");
    let mut kept = Client::to(mosquitto.broker("bridge"), TOPIC);
    let publisher = kept.up().await;
    kept.stop.cancel();
    publisher.disconnect();
    timeout(LIMIT, kept.task).await.unwrap().unwrap();

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut waiting = Client::to(Broker { port: nobody, ..mosquitto.broker("bridge") }, TOPIC);
    assert!(waiting.down().await.contains("can't be reached"));
    waiting.stop.cancel();
    timeout(LIMIT, waiting.task).await.unwrap().unwrap();
}
