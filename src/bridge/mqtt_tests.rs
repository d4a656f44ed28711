//! The connection against a real mosquitto, which is stopped, started again and given strangers.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{domain::ids::Version, seams::SystemEntropy};

const LIMIT: Duration = Duration::from_secs(30);
const TOPIC: &str = "udi/pg3/ns/custom/hub_3";

/// A mosquitto on a port of its own, with one user.
struct Mosquitto {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let passwords = folder.path().join("passwords");
        fs::write(&passwords, "bridge:loud herons\n").unwrap();
        assert!(Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status().unwrap().success());
        let mut lines = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nlog_dest stderr\n",
            passwords.display()
        );
        if rustix::process::geteuid().is_root() {
            lines.push_str("user root\n");
        }
        fs::write(folder.path().join("mosquitto.conf"), lines).unwrap();
        let mut broker = Self { folder, port, child: None };
        broker.again();
        broker
    }

    /// Starts it, and waits until it says that it runs.
    fn again(&mut self) {
        let everywhere = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap());
        let program = everywhere.split(':').map(|folder| format!("{folder}/mosquitto"));
        let program = program
            .into_iter()
            .find(|path| fs::exists(path).unwrap())
            .expect("mosquitto is missing: `scripts/test` installs it, or your system's package manager");
        let mut child = Command::new(program)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("running")), "mosquitto does not start");
        // It must be able to go on writing.
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn broker(&self, client_id: &str) -> Broker {
        let user = Some(("bridge".to_owned(), Password::new("loud herons")));
        Broker { host: "127.0.0.1".to_owned(), port: self.port, client_id: client_id.to_owned(), user }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A connection that is kept in the background.
struct Kept {
    heard: mpsc::Receiver<Heard>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Kept {
    fn to(broker: Broker) -> Self {
        let (sender, heard) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let topics = [TOPIC.to_owned()];
        let task = tokio::spawn(async move {
            stay_connected(&broker, &topics, &sender, &SystemEntropy, &stopped).await;
        });
        Self { heard, stop, task }
    }

    async fn next(&mut self) -> Heard {
        timeout(LIMIT, self.heard.recv()).await.unwrap().unwrap()
    }

    async fn up(&mut self) -> Publisher {
        loop {
            if let Heard::Up(publisher) = self.next().await {
                return publisher;
            }
        }
    }

    async fn down(&mut self) -> String {
        loop {
            if let Heard::Down { reason, retry_in } = self.next().await {
                assert!(retry_in <= Duration::from_mins(1));
                return reason;
            }
        }
    }

    async fn message(&mut self) -> Vec<u8> {
        loop {
            if let Heard::Message { payload, .. } = self.next().await {
                return payload;
            }
        }
    }
}

#[tokio::test]
async fn what_is_published_is_confirmed_by_the_broker_and_heard_by_others() {
    let mosquitto = Mosquitto::start();
    let (mut one, mut two) = (Kept::to(mosquitto.broker("one")), Kept::to(mosquitto.broker("two")));
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
    let mut mosquitto = Mosquitto::start();
    let mut kept = Kept::to(mosquitto.broker("bridge"));
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
    let mosquitto = Mosquitto::start();
    let user = Some(("bridge".to_owned(), Password::new("quiet herons")));
    let mut kept = Kept::to(Broker { user, ..mosquitto.broker("bridge") });
    let reason = kept.down().await;
    assert!(reason.contains("--mqtt-user") && !reason.contains("herons"), "{reason}");
}

#[tokio::test]
async fn two_of_one_name_throw_each_other_out_slower_and_slower_and_say_why() {
    let mosquitto = Mosquitto::start();
    let (mut one, mut two) = (Kept::to(mosquitto.broker("same")), Kept::to(mosquitto.broker("same")));
    let suspicious = async |kept: &mut Kept| loop {
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
async fn a_message_that_would_fill_the_memory_ends_the_connection_and_nothing_else() {
    let mosquitto = Mosquitto::start();
    let mut kept = Kept::to(mosquitto.broker("bridge"));
    let publisher = kept.up().await;
    let huge = mosquitto.folder.path().join("huge");
    fs::write(&huge, vec![b'x'; LONGEST_PACKET + 1]).unwrap();
    let mut options = MqttOptions::new("stranger", "127.0.0.1", mosquitto.port);
    options
        .set_credentials("bridge", "loud herons")
        .set_max_packet_size(LONGEST_PACKET * 2, LONGEST_PACKET * 2);
    let (client, mut events) = AsyncClient::new(options, 4);
    client.try_publish(TOPIC, QoS::AtLeastOnce, false, fs::read(&huge).unwrap()).unwrap();
    let stranger = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let reason = kept.down().await;
    assert!(reason.contains("longer than 8 MiB"), "{reason}");
    drop(publisher);
    stranger.abort();
    kept.up().await;
}

#[tokio::test]
async fn told_to_stop_it_says_goodbye_and_ends() {
    let mosquitto = Mosquitto::start();
    let mut kept = Kept::to(mosquitto.broker("bridge"));
    let publisher = kept.up().await;
    kept.stop.cancel();
    publisher.disconnect();
    timeout(LIMIT, kept.task).await.unwrap().unwrap();

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut waiting = Kept::to(Broker { port: nobody, ..mosquitto.broker("bridge") });
    assert!(waiting.down().await.contains("can't be reached"));
    waiting.stop.cancel();
    timeout(LIMIT, waiting.task).await.unwrap().unwrap();
}
