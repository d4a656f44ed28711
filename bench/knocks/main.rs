//! How fast a change reaches a plugin, and what carries how many knocks: PostgreSQL's NOTIFY beside NATS, and each
//! beside the bare thing in the same run. `docs/performance.md` and `docs/scale.md` say more.

#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement prints, and has statements of its own that no build needs to know"
)]

mod carrying;
mod latency;
mod server;
mod stage;
mod subjects;

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::Result;
use clap::Parser;
use cloudlink::cluster::{Cluster, ClusterSettings, Durability};

use self::server::Nats;

/// Measures knocks.
#[derive(Parser)]
struct Arguments {
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "latency,carrying,subjects")]
    parts: Vec<String>,
    /// Changes of each kind, for the latency.
    #[arg(long, default_value_t = 2000)]
    changes: usize,
    /// Knocks a second that are offered beside writers.
    #[arg(long, value_delimiter = ',', default_value = "1000,4000,16000,64000")]
    rates: Vec<u32>,
    /// Replicas that send them.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    senders: Vec<usize>,
    /// Connections that write beside them.
    #[arg(long, default_value_t = 8)]
    writers: usize,
    /// Milliseconds for each turn of a load.
    #[arg(long, default_value_t = 800)]
    turn: u64,
    /// Devices that are subscribed to.
    #[arg(long, default_value_t = 50_000)]
    devices: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    // Open to all: as root the server is somebody else.
    let open = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("cloudlink-bench-").permissions(open).tempdir()?;
    let data_dir = folder.path().join("postgres");
    let settings = ClusterSettings { data_dir, durability: Durability::Full, max_connections: 200 };
    let cluster = Cluster::start(&settings).await?;
    let nats = Nats::start(folder.path()).await?;
    let measured = measure(&arguments, &cluster, &nats).await;
    cluster.stop().await?;
    measured
}

async fn measure(arguments: &Arguments, cluster: &Cluster, nats: &Nats) -> Result<()> {
    for part in &arguments.parts {
        match part.as_str() {
            "latency" => latency::measure(cluster, nats, arguments.changes).await?,
            "carrying" => {
                let load = carrying::Loads {
                    writers: arguments.writers,
                    senders: &arguments.senders,
                    rates: &arguments.rates,
                    time: Duration::from_millis(arguments.turn),
                };
                carrying::measure(cluster, nats, &load).await?;
            }
            "subjects" => subjects::measure(nats, arguments.devices).await?,
            _ => anyhow::bail!("the parts are latency, carrying and subjects"),
        }
    }
    Ok(())
}
