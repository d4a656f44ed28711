//! Bridges with a real mosquitto, and a server that is away.

use std::{
    fs, io,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};

use super::{
    super::mosquitto::{Client, LIMIT, Mosquitto},
    *,
};
use crate::{
    domain::ids::DeviceId,
    plugin_client::DeviceKey,
    seams::{SystemClock, SystemEntropy},
};

/// What a terminal was told, to be waited for.
#[derive(Clone, Default)]
struct Told {
    text: Arc<Mutex<String>>,
    more: Arc<tokio::sync::Notify>,
}

impl io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&String::from_utf8_lossy(bytes));
        self.more.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Told {
    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn says(&self, part: &str) {
        timeout(LIMIT, async {
            while !self.text().contains(part) {
                self.more.notified().await;
            }
        })
        .await
        .unwrap();
    }
}

/// For the slots `broken`, number 1, and `sound`, number 2.
fn bridge(mosquitto: &Mosquitto, state: &Path) -> Bridge {
    let (key, _, _) = DeviceKey::make(&SystemEntropy).unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Bridge {
        hub: Hub::Bridge,
        id: "hub".parse().unwrap(),
        places: ["broken=1", "sound=2"].map(|place| place.parse().unwrap()).into(),
        parameters: Vec::new(),
        broker: mosquitto.broker("bridge"),
        state: state.to_owned(),
        device: PluginClient {
            server: format!("http://{nobody}").parse().unwrap(),
            device: DeviceId::draw(&SystemEntropy),
            slot: None,
            key: Arc::new(key),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        },
    }
}

#[tokio::test]
async fn a_slot_whose_file_is_damaged_stands_still_and_the_others_are_served() {
    let mosquitto = Mosquitto::start("");
    let place = tempfile::tempdir().unwrap();
    let broken = place.path().join("broken.json");
    let deep = format!("{{\"custom\":{{\"deep\":{}{}}}}}", "[".repeat(127), "]".repeat(127));
    fs::write(&broken, &deep).unwrap();
    let (told, stop) = (Told::default(), CancellationToken::new());
    let running = tokio::spawn({
        let (bridge, told, stop) = (bridge(&mosquitto, place.path()), told.clone(), stop.clone());
        async move { bridge.run(&Terminal::over(io::sink(), told), &stop).await }
    });
    told.says("connected to the MQTT broker").await;
    let text = told.text();
    assert!(text.contains("  broken  it stands still: ") && text.contains("broken.json"), "{text}");

    let mut plugins = Client::to(mosquitto.broker("plugins"), "udi/pg3/ns/clients/#");
    let publisher = plugins.up().await;
    for number in [1, 2] {
        let topic = format!("udi/pg3/ns/system/hub_{number}");
        assert!(publisher.publish(topic, &json!({"config": {}}), None));
    }
    let answer: Value = serde_json::from_slice(&plugins.message().await).unwrap();
    assert_eq!(answer["config"]["name"], "sound");
    stop.cancel();
    timeout(LIMIT, running).await.unwrap().unwrap().unwrap();
    assert_eq!(fs::read_to_string(&broken).unwrap(), deep, "nothing is lost");
}

#[tokio::test]
async fn a_bridge_with_nothing_but_damaged_files_ends_and_says_why() {
    let mosquitto = Mosquitto::start("");
    let place = tempfile::tempdir().unwrap();
    for slot in ["broken", "sound"] {
        fs::write(place.path().join(format!("{slot}.json")), "{").unwrap();
    }
    let bridge = bridge(&mosquitto, place.path());
    let terminal = Terminal::over(io::sink(), io::sink());
    let ended = timeout(LIMIT, bridge.run(&terminal, &CancellationToken::new())).await.unwrap();
    assert!(ended.unwrap_err().to_string().contains(".json"));
}

#[tokio::test]
async fn a_connection_that_ended_before_the_last_words_is_not_asked_again() {
    let (_heard, mut broker) = mpsc::channel(1);
    let mut connected = pin!(async {}.fuse());
    connected.as_mut().await;
    timeout(LAST_WORDS, disconnected(connected, &mut broker)).await.unwrap();
}

#[tokio::test]
async fn what_comes_while_the_connection_ends_holds_nothing_up() {
    let (heard, mut broker) = mpsc::channel(1);
    let down = || mqtt::Heard::Down { reason: String::new(), retry_in: Duration::ZERO };
    let connected = pin!(
        async {
            for _ in 0..3 {
                heard.send(down()).await.unwrap();
            }
        }
        .fuse()
    );
    timeout(LAST_WORDS, disconnected(connected, &mut broker)).await.unwrap();
}
