//! Whether what happens all day gets dearer with the number of slots, and what a slot takes on the disk.
//!
//! The statements are the real ones, asked through the real store, on a private PostgreSQL with full durability; slots are
//! picked at random, so that a database larger than its memory is read from the disk. `docs/scale.md` reckons with the
//! figures.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    dead_code,
    reason = "a measurement prints, has statements of its own, and shares rooms with another one that uses more of them"
)]

#[path = "../refresh/cost.rs"]
mod cost;
#[path = "../refresh/fill.rs"]
mod fill;
#[path = "../refresh/floor.rs"]
mod floor;
mod mix;
#[path = "../refresh/provider.rs"]
mod provider;
#[path = "../refresh/stage.rs"]
mod stage;

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use clap::Parser;
use cloudlink::cluster::{Cluster, ClusterSettings, Durability};

use self::{
    cost::Meter,
    mix::{Call, Mix},
    provider::Providers,
    stage::Stage,
};

/// Times the store's everyday statements in databases of several sizes.
#[derive(Parser)]
struct Arguments {
    /// Slots stored, two for each device: the sizes that are compared with the first one.
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000")]
    slots: Vec<u64>,
    /// Calls of each kind.
    #[arg(long, default_value_t = 20_000)]
    calls: u64,
    /// Calls at once.
    #[arg(long, default_value_t = 8)]
    at_once: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.slots.iter().all(|slots| *slots >= 2) && arguments.at_once > 0,
        "the numbers are too small"
    );
    // Open to all: as root the server is somebody else.
    let open = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("cloudlink-bench-").permissions(open).tempdir()?;
    let data_dir = folder.path().join("postgres");
    let settings = ClusterSettings { data_dir, durability: Durability::Full, max_connections: 100 };
    let cluster = Cluster::start(&settings).await?;
    let measured = measure(&arguments, &cluster).await;
    cluster.stop().await?;
    measured
}

async fn measure(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let providers = Providers::start(1)?;
    let meter = Meter::new(&providers, cluster);
    let mut first: Vec<f64> = Vec::new();
    for &slots in &arguments.slots {
        let stage = Stage::set(cluster, slots, 1, &providers).await?;
        println!("{slots} slots, {} on disk", stage.size().await?);
        for (relation, bytes) in stage.relations().await? {
            println!("  {relation:<28} {:>7.0} bytes a slot", bytes as f64 / slots as f64);
        }
        let mix = Mix::new(&stage, slots / 2)?;
        println!("  {:<28} {:>9} {:>12} {:>14}", "call", "a second", "ms wall each", "ms CPU each");
        for (row, call) in Call::ALL.into_iter().enumerate() {
            let calls = call.share(arguments.calls, slots / 2);
            mix.prepare(call, calls).await?;
            let mark = meter.mark()?;
            mix.run(call, calls, arguments.at_once).await?;
            let cost = meter.since(&mark)?;
            let each = |spent: std::time::Duration| spent.as_secs_f64() * 1000.0 / calls as f64;
            let processors = each(cost.processors());
            let ratio = if let Some(first) = first.get(row) {
                format!("{:.2} times that of {} slots", processors / first, arguments.slots[0])
            } else {
                first.push(processors);
                String::new()
            };
            println!(
                "  {:<28} {:>9.0} {:>12.3} {processors:>14.3}  {ratio}",
                call.name(),
                1000.0 / each(cost.wall),
                each(cost.wall),
            );
        }
        println!();
    }
    Ok(())
}
