//! What something costs: time on the wall, and of the processors for whom.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use cloudlink::cluster::Cluster;

use crate::provider::Providers;

/// Linux counts the time of processes in hundredths of a second, whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);

/// Time spent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// On the wall.
    pub(crate) wall: Duration,
    /// Of processors by the server under test.
    pub(crate) server: Duration,
    /// Of processors by PostgreSQL.
    pub(crate) database: Duration,
    /// Of processors by this process, which calls, the provider's thread apart.
    pub(crate) load: Duration,
}

/// Reads the clocks: the server's, PostgreSQL's and our own.
pub(crate) struct Meter<'a> {
    server: u32,
    database: u32,
    providers: &'a Providers,
}

impl<'a> Meter<'a> {
    /// For the server with this process id.
    pub(crate) fn new(server: u32, cluster: &Cluster, providers: &'a Providers) -> Result<Self> {
        let note = std::fs::read_to_string(cluster.folder().join("data/postmaster.pid"))?;
        Ok(Self { server, database: note.lines().next().unwrap_or_default().trim().parse()?, providers })
    }

    /// Now, on all clocks.
    pub(crate) fn mark(&self) -> Result<Mark> {
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Ok(Mark {
            at: Instant::now(),
            spent: Cost {
                wall: Duration::ZERO,
                server: TICK * ticks(self.server, 2),
                database: TICK * family(self.database),
                load: Duration::try_from(own)?.saturating_sub(self.providers.spent()),
            },
        })
    }

    /// What was spent since.
    pub(crate) fn since(&self, mark: &Mark) -> Result<Cost> {
        let now = self.mark()?;
        Ok(Cost {
            wall: now.at - mark.at,
            server: now.spent.server.saturating_sub(mark.spent.server),
            database: now.spent.database.saturating_sub(mark.spent.database),
            load: now.spent.load.saturating_sub(mark.spent.load),
        })
    }
}

/// A moment on all clocks.
pub(crate) struct Mark {
    at: Instant,
    spent: Cost,
}

/// The middle of each part.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    let middle = |part: fn(&Cost) -> Duration| {
        let mut parts: Vec<Duration> = costs.iter().map(part).collect();
        parts.sort_unstable();
        parts[parts.len() / 2]
    };
    Cost {
        wall: middle(|cost| cost.wall),
        server: middle(|cost| cost.server),
        database: middle(|cost| cost.database),
        load: middle(|cost| cost.load),
    }
}

/// A server, its children, and those of its children that ended.
fn family(server: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
    let children = children.unwrap_or_default();
    let running = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    running.map(|pid| ticks(pid, 2)).sum::<u32>() + ticks(server, 4)
}

/// `utime` and `stime` of `proc_pid_stat(5)`, then those of children that ended.
fn ticks(process: u32, fields: usize) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_the_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_the_name.split_whitespace().skip(11).take(fields);
    fields.filter_map(|field| field.parse::<u32>().ok()).sum()
}

/// Memory that a process has in use, bytes, and the most that it had.
pub(crate) fn memory(process: u32) -> Result<[u64; 2]> {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default()
    };
    Ok([kilobytes("VmRSS:") * 1024, kilobytes("VmHWM:") * 1024])
}
