//! A real NATS server, which a test configures, kills and starts again. It ends with the test's process: a shell
//! between them holds the reading end of a pipe whose writing end is ours alone.

use std::{
    fs,
    process::{Command as Asked, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{until, within};

/// Runs a program until its own input ends, then kills it.
const WATCH: &str = r#""$@" & cat; kill -9 $!; wait $! 2>/dev/null"#;

/// A running server.
pub(crate) struct NatsServer {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    monitoring: String,
    folder: TempDir,
    shell: Option<Child>,
}

impl NatsServer {
    /// Starts one on a free port, with this in its configuration, and files that it may name `FOLDER/name`.
    pub(crate) async fn start(configuration: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let configuration = configuration.replace("FOLDER", folder.path().to_str().unwrap());
        fs::write(folder.path().join("nats.conf"), configuration).unwrap();
        let mut server = Self { address: String::new(), monitoring: String::new(), folder, shell: None };
        server.run("-1").await;
        server
    }

    /// For `bus.url`, as whoever is named.
    pub(crate) fn url(&self, login: &str) -> String {
        format!("nats://{login}{}", self.address)
    }

    /// One of its files.
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        let mut shell = self.shell.take().expect("it runs");
        drop(shell.stdin.take());
        within("the end of NATS", shell.wait()).await.unwrap();
    }

    /// Starts it again, where it was.
    pub(crate) async fn restart(&mut self) {
        let port = self.address.rsplit(':').next().unwrap().to_owned();
        self.run(&port).await;
    }

    /// How many clients are connected.
    pub(crate) async fn clients(&self) -> u64 {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(format!("http://{}/connz", self.monitoring)).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["num_connections"].as_u64().unwrap()
    }

    async fn run(&mut self, port: &str) {
        let ports = self.folder.path().join("ports");
        let _ = fs::remove_dir_all(&ports);
        fs::create_dir(&ports).unwrap();
        let path = path();
        let known = Asked::new("nats-server").env("PATH", &path).arg("--version").output();
        assert!(known.is_ok(), "nats-server is missing: install it, as scripts/test does");
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", WATCH, "nats", "nats-server", "--addr", "127.0.0.1", "--port", port]);
        shell.args(["--http_port", "-1", "--ports_file_dir"]).arg(&ports);
        shell.arg("--config").arg(self.folder.path().join("nats.conf"));
        shell.env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.shell = Some(shell.spawn().unwrap());
        let listens = within("NATS to listen", async {
            loop {
                let file = fs::read_dir(&ports).unwrap().next().map(|file| file.unwrap().path());
                let said = file.and_then(|file| serde_json::from_slice::<Value>(&fs::read(file).ok()?).ok());
                if let Some(said) = said {
                    return said;
                }
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
                assert!(!log.contains("[FTL]") && !log.contains("nats-server: "), "{log}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let address = |what: &str| {
            let url = listens[what][0].as_str().unwrap();
            url.rsplit("//").next().unwrap().to_owned()
        };
        (self.address, self.monitoring) = (address("nats"), address("monitoring"));
        until("NATS to answer", async || tokio::net::TcpStream::connect(&self.address).await.ok()).await;
    }
}

/// Where distributions put servers too.
fn path() -> String {
    format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default())
}
