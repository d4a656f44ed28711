//! Processes: the servers, the client, and what they cost, as Linux counts it.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// What is not done by then never will be.
const PATIENCE: Duration = Duration::from_mins(5);
/// Linux counts the time of other processes in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// A server: cloudlink's own binary, or this one as a floor.
pub(crate) struct Server {
    child: Child,
    /// Where the relay is served.
    pub(crate) relay: String,
}

impl Server {
    /// `cloudlink serve`, with these settings.
    pub(crate) async fn cloudlink(settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloudlink"));
        command.arg("serve");
        let settings = settings.iter().map(|(key, value)| (format!("CLOUDLINK__{key}"), value));
        Self::start(command.envs(settings)).await
    }

    /// This binary, as the floor of that name.
    pub(crate) async fn floor(name: &str) -> Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).args(["--floor", name])).await
    }

    async fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no output")?).lines();
        let relay = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, rest)) = line.split_once("relay=") {
                    return Ok(rest.split(' ').next().unwrap_or_default().to_owned());
                }
            }
            anyhow::bail!("the server ended before it served")
        })
        .await??;
        // What it says from now on is read, so that it never waits; its warnings are shown.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if !line.contains(" INFO ") {
                    eprintln!("{line}");
                }
            }
        });
        Ok(Self { child, relay })
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Bytes of memory that are its own: resident, without what is read from files.
    pub(crate) fn memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("no RssAnon")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kilobytes * 1024.0)
    }

    /// Processor time that it has spent.
    pub(crate) fn spent(&self) -> Duration {
        TICK * ticks(&format!("/proc/{}", self.pid()))
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Processor time that PostgreSQL's running processes have spent, all together.
pub(crate) fn spent_by_database(folder: &Path) -> Duration {
    let note = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
    let pid = note.lines().next().unwrap_or_default();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    TICK * children.split_whitespace().map(|pid| ticks(&format!("/proc/{pid}"))).sum()
}

/// `utime` and `stime` of `proc_pid_stat(5)`.
fn ticks(process: &str) -> u32 {
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
    let after_the_name = stat.rsplit(')').next().unwrap_or_default();
    after_the_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum()
}

/// The client's process.
pub(crate) struct Client {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Client {
    pub(crate) fn start(tokens: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--client").arg(tokens).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, input, output })
    }

    /// Tells it what to do, and waits until it is done: how long that took.
    pub(crate) async fn does(&mut self, command: &str) -> Result<Duration> {
        self.input.write_all(format!("{command}\n").as_bytes()).await?;
        let line = timeout(PATIENCE, self.output.next_line())
            .await
            .with_context(|| format!("{command}: too long"))?;
        Ok(Duration::from_secs_f64(line?.with_context(|| format!("{command}: the client ended"))?.parse()?))
    }

    /// Ends it, and with it all its connections.
    pub(crate) async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
