//! A real mosquitto for tests, and clients that stay connected to it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::mqtt::{Broker, Heard, Publisher, stay_connected};
use crate::{domain::secret::Password, seams::SystemEntropy};

/// How long anything may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// A mosquitto on a port of its own, with one user.
pub(super) struct Mosquitto {
    folder: TempDir,
    pub(super) port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts one with these lines in its configuration, besides those for the user.
    pub(super) fn start(more: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let passwords = folder.path().join("passwords");
        fs::write(&passwords, "bridge:loud herons\n").unwrap();
        assert!(Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status().unwrap().success());
        let mut lines = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nlog_dest stderr\n{more}\n",
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
    pub(super) fn again(&mut self) {
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

    /// Kills it.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// How to reach it as its user.
    pub(super) fn broker(&self, client_id: &str) -> Broker {
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
pub(super) struct Client {
    heard: mpsc::Receiver<Heard>,
    pub(super) stop: CancellationToken,
    pub(super) task: tokio::task::JoinHandle<()>,
}

impl Client {
    /// Connects, again and again, and hears of this topic.
    pub(super) fn to(broker: Broker, topic: &str) -> Self {
        let (sender, heard) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let topics = [topic.to_owned()];
        let task = tokio::spawn(async move {
            stay_connected(&broker, &topics, &sender, &SystemEntropy, &stopped).await;
        });
        Self { heard, stop, task }
    }

    pub(super) async fn next(&mut self) -> Heard {
        timeout(LIMIT, self.heard.recv()).await.unwrap().unwrap()
    }

    pub(super) async fn up(&mut self) -> Publisher {
        loop {
            if let Heard::Up(publisher) = self.next().await {
                return publisher;
            }
        }
    }

    pub(super) async fn down(&mut self) -> String {
        loop {
            if let Heard::Down { reason, retry_in } = self.next().await {
                assert!(retry_in <= Duration::from_mins(1));
                return reason;
            }
        }
    }

    pub(super) async fn message(&mut self) -> Vec<u8> {
        loop {
            if let Heard::Message { payload, .. } = self.next().await {
                return payload;
            }
        }
    }
}
