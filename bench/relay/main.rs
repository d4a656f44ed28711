//! What a relay connection costs: memory while it is idle, making it, an event, and coming back all at once.
//!
//! The server is the real binary, on a private PostgreSQL with full durability; the devices are a process of their own,
//! and beside the server run two floors with the same client. `docs/performance.md` says more.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measurement prints, and has statements of its own that no build needs to know"
)]

mod client;
#[path = "../refresh/fill.rs"]
mod fill;
mod floor;
mod process;
mod stage;

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use cloudlink::cluster::{Cluster, ClusterSettings, Durability};

use self::{
    process::{Client, Server, spent_by_database},
    stage::Stage,
};

/// Measures relay connections.
#[derive(Parser)]
struct Arguments {
    /// Idle connections, one size after the other.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,50000")]
    connections: Vec<usize>,
    /// Connections that lose their replica and come to another.
    #[arg(long, default_value_t = 10_000)]
    storm: usize,
    /// Events, from knock to acknowledgement.
    #[arg(long, default_value_t = 10_000)]
    events: usize,
    /// How often the storm comes.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Be the devices, with the tokens of this file.
    #[arg(long, hide = true)]
    client: Option<PathBuf>,
    /// Be a floor.
    #[arg(long, hide = true)]
    floor: Option<String>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.floor.as_deref() {
        Some("actix-ws") => return floor::actix(),
        Some(_) => return floor::tokio(),
        None => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &arguments.client {
        Some(tokens) => runtime.block_on(client::run(tokens)),
        None => runtime.block_on(stand(arguments)),
    }
}

async fn stand(mut arguments: Arguments) -> Result<()> {
    let allowed = cloudlink::http::server::raise_open_files()?.unwrap_or(u64::MAX);
    let fits = |connections: usize| connections as u64 + 1000 < allowed;
    for size in arguments.connections.iter().filter(|size| !fits(**size)) {
        println!("{size} connections are left out: they need more open files than {allowed} (ulimit -n)");
    }
    arguments.connections.retain(|size| fits(*size));
    ensure!(fits(arguments.storm.max(arguments.events)), "no more than {allowed} open files: ulimit -n");
    let sizes = arguments.connections.iter().chain([&arguments.storm, &arguments.events]);
    let most = sizes.max().copied().unwrap_or_default();
    // Open to all: as root the server is somebody else.
    let open = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("cloudlink-bench-").permissions(open).tempdir()?;
    let data_dir = folder.path().join("postgres");
    let settings = ClusterSettings { data_dir, durability: Durability::Full, max_connections: 100 };
    let cluster = Cluster::start(&settings).await?;
    let measured = measure(&arguments, &cluster, most, folder.path().join("tokens")).await;
    cluster.stop().await?;
    measured
}

async fn measure(arguments: &Arguments, cluster: &Cluster, most: usize, tokens: PathBuf) -> Result<()> {
    let stage = Stage::set(cluster, most).await?;
    stage.replica().await?.kill().await?;
    stage.write_tokens(&tokens).await?;
    let bench = Bench { arguments, cluster, stage, tokens };
    bench.idle().await?;
    bench.events().await?;
    bench.storms().await
}

struct Bench<'a> {
    arguments: &'a Arguments,
    cluster: &'a Cluster,
    stage: Stage,
    tokens: PathBuf,
}

/// The servers, the one that is measured first.
const SERVERS: [&str; 3] = ["cloudlink", "actix-ws", "tokio"];

impl Bench<'_> {
    async fn server(&self, name: &str) -> Result<Server> {
        if name == SERVERS[0] { self.stage.replica().await } else { Server::floor(name).await }
    }

    /// Memory of idle connections, and how fast they are made.
    async fn idle(&self) -> Result<()> {
        println!(
            "idle connections      kB each, and as a multiple of actix-ws   made per second   processor, us each"
        );
        for &count in &self.arguments.connections {
            let mut measured = Vec::new();
            for name in SERVERS {
                let (server, mut client) = (self.server(name).await?, Client::start(&self.tokens)?);
                // What is made once, however many come.
                client.does(&format!("open {} 50", server.relay)).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                let (memory, spent) = (server.memory()?, server.spent());
                let took = client.does(&format!("open {} {count}", server.relay)).await?;
                let spent = server.spent().saturating_sub(spent);
                tokio::time::sleep(Duration::from_secs(3)).await;
                let each = (server.memory()? - memory) / (count - 50) as f64 / 1000.0;
                measured.push((name, each, count as f64 / took.as_secs_f64(), micros(spent, count)));
                client.end().await?;
                server.kill().await?;
            }
            let floor = measured[1].1;
            for (name, each, rate, spent) in measured {
                let multiple = each / floor;
                println!("{count:>8}  {name:<9} {each:>9.2} {multiple:>36.2} {rate:>17.0} {spent:>20.0}");
            }
        }
        Ok(())
    }

    /// What an event costs, from the knock to its acknowledgement.
    async fn events(&self) -> Result<()> {
        let count = self.arguments.events;
        println!("\n{count} events, each over a connection of its own   processor, us each");
        let (server, mut client) = (self.server(SERVERS[0]).await?, Client::start(&self.tokens)?);
        client.does(&format!("open {} {count}", server.relay)).await?;
        client.does("acking").await?;
        // Once to warm up.
        self.stage.bring_events(count, || {}).await?;
        let (statements, folder) = (self.stage.statements().await?, self.cluster.folder());
        let (mut spent, mut database) = (Duration::ZERO, Duration::ZERO);
        let begun = || (spent, database) = (server.spent(), spent_by_database(folder));
        self.stage.bring_events(count, begun).await?;
        let spent = server.spent().saturating_sub(spent);
        let database = spent_by_database(folder).saturating_sub(database);
        let statements = self.stage.statements().await? - statements;
        let alone = self.stage.statements_alone(count).await?;
        println!("cloudlink {:>50.1}", micros(spent, count));
        println!("  of it, its statements when made alone {:>22.1}", micros(alone, count));
        println!("  PostgreSQL, beside it {:>38.1}", micros(database, count));
        println!(
            "  statements each, those that make the events included {:>7.2}",
            statements as f64 / count as f64
        );
        client.end().await?;
        server.kill().await?;
        for name in &SERVERS[1..] {
            let (server, mut client) = (self.server(name).await?, Client::start(&self.tokens)?);
            client.does(&format!("open {} {count}", server.relay)).await?;
            let before = server.spent();
            client.does(&format!("echo {count}")).await?;
            println!(
                "{name:<9} {:>50.1}   (a message and its answer)",
                micros(server.spent().saturating_sub(before), count)
            );
            client.end().await?;
            server.kill().await?;
        }
        Ok(())
    }

    /// A server is killed, and its connections come to another.
    async fn storms(&self) -> Result<()> {
        let count = self.arguments.storm;
        println!(
            "\n{count} connections of a killed server, back at another and told the first event, seconds"
        );
        for round in 0..self.arguments.rounds {
            let mut measured = Vec::new();
            for name in SERVERS {
                let (dies, lives) = (self.server(name).await?, self.server(name).await?);
                let mut client = Client::start(&self.tokens)?;
                client.does(&format!("open {} {count}", dies.relay)).await?;
                client.does(&format!("refuge {}", lives.relay)).await?;
                let before = lives.spent();
                dies.kill().await?;
                let took = client.does(&format!("back {count}")).await?.as_secs_f64();
                measured.push((name, took, micros(lives.spent().saturating_sub(before), count)));
                client.end().await?;
                lives.kill().await?;
            }
            let floor = measured[1].1;
            for (name, took, spent) in measured {
                let multiple = took / floor;
                println!(
                    "{round:>3}  {name:<9} {took:>6.2}, {multiple:.2} of actix-ws   processor, us each: {spent:.0}"
                );
            }
        }
        Ok(())
    }
}

fn micros(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count as f64
}
