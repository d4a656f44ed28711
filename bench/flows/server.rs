//! A server under test, as a process of its own: cloudlink itself, or the floor.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use crate::wire::Connection;

/// `admin.user` and `admin.password`, as Basic credentials too.
pub(crate) const OWNER: (&str, &str) =
    ("a password for the owner", "b3duZXI6YSBwYXNzd29yZCBmb3IgdGhlIG93bmVy");
/// `vault.keys`.
const KEYS: &str = "bench:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// What has not started by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// The binary under test, built for this measurement with the settings of a release.
pub(crate) fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_cloudlink").into()
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) host: String,
    /// From its start until it said that it is ready.
    pub(crate) started_in: Duration,
}

impl Server {
    /// `cloudlink serve` on a database, with the defaults; its log goes to a file in `folder`.
    pub(crate) async fn cloudlink(database: &str, folder: &Path) -> Result<Self> {
        let [host, admin] = [free_address()?, free_address()?];
        let mut command = Command::new(binary());
        command.arg("serve").env_clear();
        let settings = [
            ("SERVER__BIND", host.as_str()),
            ("SERVER__PUBLIC_URL", &format!("http://{host}")),
            ("ADMIN__BIND", admin.as_str()),
            ("ADMIN__PASSWORD", OWNER.0),
            ("DATABASE__URL", database),
            ("VAULT__KEYS", KEYS),
            // The provider is on this machine.
            ("EGRESS__ALLOW_PRIVATE", "true"),
        ];
        for (name, value) in settings {
            command.env(format!("CLOUDLINK__{name}"), value);
        }
        Self::start(command, host, folder).await
    }

    /// The floor, which is this program under another name.
    pub(crate) async fn floor(database: &str, provider: &str, folder: &Path) -> Result<Self> {
        let host = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve-floor", &host, database, provider]);
        Self::start(command, host, folder).await
    }

    async fn start(mut command: Command, host: String, folder: &Path) -> Result<Self> {
        let log = folder.join("server.log");
        command.stdin(Stdio::null()).stderr(std::fs::File::create(&log)?).kill_on_drop(true);
        let begun = Instant::now();
        let mut child = command.spawn().context("the server can't be started")?;
        while !ready(&host).await {
            if child.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                bail!("the server does not start: {}", std::fs::read_to_string(&log)?);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self { child, host, started_in: begun.elapsed() })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// SIGTERM, and its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()?)?).context("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await.context("the server does not stop")??;
        Ok(())
    }
}

async fn ready(host: &str) -> bool {
    let Ok(mut connection) = Connection::to(host).await else { return false };
    connection.call("GET", "/readyz", "", "").await.is_ok_and(|answer| answer.status == 200)
}

/// Free a moment ago; nobody else here asks for a port by number.
fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
