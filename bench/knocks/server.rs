//! A NATS server for this run alone.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A server, until dropped.
pub(crate) struct Nats {
    /// `nats://127.0.0.1:PORT`.
    pub(crate) url: String,
    child: Child,
}

impl Nats {
    /// Starts one on a free port.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let ports = folder.join("ports");
        std::fs::create_dir(&ports)?;
        let mut command = Command::new("nats-server");
        // Where distributions put servers too.
        command
            .env("PATH", format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default()));
        command.args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"]).arg(&ports);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("nats-server is missing: install it (Debian: nats-server)")?;
        let mut server = Self { url: String::new(), child };
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let file = std::fs::read_dir(&ports)?.next().transpose()?.map(|file| file.path());
            let said = file.and_then(|file| serde_json::from_slice::<Value>(&std::fs::read(file).ok()?).ok());
            if let Some(url) = said.as_ref().and_then(|said| said.pointer("/nats/0")?.as_str()) {
                url.clone_into(&mut server.url);
                return Ok(server);
            }
        }
        bail!("nats-server did not start")
    }

    /// A client of its own.
    pub(crate) async fn client(&self) -> Result<async_nats::Client> {
        Ok(async_nats::connect(&self.url).await?)
    }

    /// Memory in use, in kB.
    pub(crate) fn memory(&self) -> u64 {
        resident(self.child.id())
    }
}

/// Memory in use of a process, in kB; zero where there is no `/proc`.
pub(crate) fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It has nothing to keep.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
