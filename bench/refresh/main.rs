//! How fast tokens are refreshed, what a refresh costs, and whether that depends on how many grants lie idle.
//!
//! The application is the real one, on a private PostgreSQL with full durability; the providers answer at once. Each
//! round makes the same number of grants due in databases of different sizes, one after the other, and beside each
//! runs the floor. `docs/performance.md` says more.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    dead_code,
    reason = "a measurement prints, has statements of its own, and shares rooms with another one that uses more of them"
)]

mod cost;
mod fill;
mod floor;
mod provider;
mod stage;
mod statements;

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use cloudlink::cluster::{Cluster, ClusterSettings, Durability};

use self::{
    cost::{Cost, Meter},
    provider::Providers,
    stage::Stage,
    statements::Statements,
};

/// Refreshes due grants of databases of several sizes, and says what that cost.
#[derive(Parser)]
struct Arguments {
    /// Grants stored, two for each device: the sizes that are compared with the first one.
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000")]
    grants: Vec<u64>,
    /// Grants that are due in each round, at most half of the least size.
    #[arg(long, default_value_t = 5000)]
    due: u64,
    /// Rounds, after one to warm up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Providers that they are spread over.
    #[arg(long, default_value_t = 4)]
    providers: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let fits = arguments.grants.iter().all(|grants| (1..=grants / 2).contains(&arguments.due));
    ensure!(fits && arguments.rounds > 0 && arguments.providers > 0, "the numbers contradict each other");
    let statements = Statements::install();
    // Open to all: as root the server is somebody else.
    let open = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("cloudlink-bench-").permissions(open).tempdir()?;
    let data_dir = folder.path().join("postgres");
    let settings = ClusterSettings { data_dir, durability: Durability::Full, max_connections: 100 };
    let cluster = Cluster::start(&settings).await?;
    let measured = measure(&arguments, &cluster, &statements).await;
    cluster.stop().await?;
    measured
}

async fn measure(arguments: &Arguments, cluster: &Cluster, statements: &Statements) -> Result<()> {
    let providers = Providers::start(arguments.providers)?;
    let meter = Meter::new(&providers, cluster);
    let mut stages = Vec::new();
    for &grants in &arguments.grants {
        let mark = meter.mark()?;
        let stage = Stage::set(cluster, grants, arguments.due, &providers).await?;
        let stored = meter.since(&mark)?.wall.as_secs_f64();
        println!("{grants:>9} grants stored in {stored:.1} s, {} on disk", stage.size().await?);
        stages.push(stage);
    }
    println!("\nstatements of one refresh, {} due:", arguments.due);
    for stage in &stages {
        statements.listen(true);
        stage.refresh(&meter, &providers).await?;
        statements.listen(false);
        let ran = statements.take();
        let each = |count: u64| count as f64 / arguments.due as f64;
        let named: Vec<String> = ran
            .iter()
            .filter(|(_, count)| each(**count) >= 0.005)
            .map(|(name, count)| format!("{name} {:.3}", each(*count)))
            .collect();
        let all = each(ran.values().sum());
        println!(
            "{:>9} grants  {all:.3}: {}; others, the start included, the rest",
            stage.grants,
            named.join(", ")
        );
    }
    let mut costs: Vec<(Vec<Cost>, Vec<Cost>)> = stages.iter().map(|_| (Vec::new(), Vec::new())).collect();
    println!("\n   grants            refreshes/s   ms each: wall   broker   PostgreSQL");
    for _ in 0..arguments.rounds {
        for (stage, (refreshes, floors)) in stages.iter().zip(&mut costs) {
            refreshes.push(stage.refresh(&meter, &providers).await?);
            print_row(stage.grants, "refresh", refreshes[refreshes.len() - 1], arguments.due);
            floors.push(stage.floor(&meter, &providers).await?);
            print_row(stage.grants, "floor", floors[floors.len() - 1], arguments.due);
        }
    }
    println!("\nmedians");
    let medians: Vec<[Cost; 2]> =
        costs.iter().map(|(refreshes, floors)| [median(refreshes), median(floors)]).collect();
    for (stage, [refresh, floor]) in stages.iter().zip(&medians) {
        print_row(stage.grants, "refresh", *refresh, arguments.due);
        print_row(stage.grants, "floor", *floor, arguments.due);
    }
    println!();
    for (stage, [refresh, floor]) in stages.iter().zip(&medians) {
        let [(first, first_floor), (this, this_floor)] = [(&medians[0][0], &medians[0][1]), (refresh, floor)];
        println!(
            "{:>9} grants  a refresh costs, as a multiple of\n  one with {} grants: wall {:.2}, processors {:.2} (the floor's: wall {:.2}, processors {:.2})\n  the floor: wall {:.2}, processors {:.2}",
            stage.grants,
            stages[0].grants,
            ratio(this.wall, first.wall),
            ratio(this.processors(), first.processors()),
            ratio(this_floor.wall, first_floor.wall),
            ratio(this_floor.processors(), first_floor.processors()),
            ratio(refresh.wall, floor.wall),
            ratio(refresh.processors(), floor.processors()),
        );
    }
    Ok(())
}

fn print_row(grants: u64, what: &str, cost: Cost, due: u64) {
    let each = |spent: Duration| spent.as_secs_f64() * 1000.0 / due as f64;
    let [wall, broker, database] = [each(cost.wall), each(cost.broker), each(cost.database)];
    println!(
        "{grants:>9}  {what:<8}  {:>11.0}   {wall:>13.3}   {broker:>6.3}   {database:>10.3}",
        1000.0 / wall
    );
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |part: fn(&Cost) -> Duration| {
        let mut parts: Vec<Duration> = costs.iter().map(part).collect();
        parts.sort_unstable();
        parts[parts.len() / 2]
    };
    Cost { wall: middle(|c| c.wall), broker: middle(|c| c.broker), database: middle(|c| c.database) }
}

fn ratio(this: Duration, other: Duration) -> f64 {
    this.as_secs_f64() / other.as_secs_f64()
}
