//! What something costs: time on the wall, and of processors.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use cloudlink::cluster::Cluster;

use crate::provider::Providers;

/// Linux counts the time of other processes in hundredths of a second, whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);

/// Time spent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// On the wall.
    pub(crate) wall: Duration,
    /// Of processors by this process, the providers' thread apart.
    pub(crate) broker: Duration,
    /// Of processors by PostgreSQL; zero where there is no `/proc`.
    pub(crate) database: Duration,
}

impl Cost {
    /// Of processors, altogether.
    pub(crate) fn processors(&self) -> Duration {
        self.broker + self.database
    }
}

/// Reads the clocks.
pub(crate) struct Meter<'a> {
    providers: &'a Providers,
    server: Option<PathBuf>,
}

/// A moment on all of them.
pub(crate) struct Mark {
    wall: Instant,
    broker: Duration,
    database: Duration,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(providers: &'a Providers, cluster: &Cluster) -> Self {
        let note = std::fs::read_to_string(cluster.folder().join("data/postmaster.pid")).unwrap_or_default();
        let pid = note.lines().next().unwrap_or_default();
        let server = Some(PathBuf::from(format!("/proc/{pid}"))).filter(|path| path.join("stat").exists());
        Self { providers, server }
    }

    pub(crate) fn mark(&self) -> Result<Mark> {
        let process = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let broker = Duration::try_from(process)?.saturating_sub(self.providers.spent());
        Ok(Mark { wall: Instant::now(), broker, database: self.database() })
    }

    pub(crate) fn since(&self, mark: &Mark) -> Result<Cost> {
        let now = self.mark()?;
        Ok(Cost {
            wall: now.wall - mark.wall,
            broker: now.broker.saturating_sub(mark.broker),
            database: now.database.saturating_sub(mark.database),
        })
    }

    /// The server, its children, and those of its children that ended.
    fn database(&self) -> Duration {
        let Some(server) = &self.server else { return Duration::ZERO };
        let tasks = server.join("task").join(server.file_name().unwrap_or_default());
        let children = std::fs::read_to_string(tasks.join("children")).unwrap_or_default();
        let running: u32 = children.split_whitespace().map(|pid| ticks(&format!("/proc/{pid}"), 2)).sum();
        TICK * (running + ticks(&server.to_string_lossy(), 4))
    }
}

/// `utime` and `stime` of `proc_pid_stat(5)`, then those of children that ended.
fn ticks(process: &str, fields: usize) -> u32 {
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
    let after_the_name = stat.rsplit(')').next().unwrap_or_default();
    after_the_name
        .split_whitespace()
        .skip(11)
        .take(fields)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum()
}
