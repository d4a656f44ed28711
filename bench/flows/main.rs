//! What a flow costs from `connect` to the plugin's acknowledgement, how fast tokens are read, and what the service takes
//! when it has nothing to do.
//!
//! The server is `cloudlink serve` with its defaults, a process of its own on a private PostgreSQL with full durability.
//! Beside it, in the same run, stand the floor and pgbench. `docs/performance.md` says more.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measurement prints, and has statements of its own that no build needs to know"
)]

mod cost;
mod counting;
mod floor;
mod flow;
mod homes;
mod pgbench;
#[path = "../refresh/provider.rs"]
mod provider;
mod report;
mod server;
#[path = "../../tests/it/harness/statements.rs"]
#[allow(clippy::unwrap_used, reason = "the tests' own, where that is allowed")]
mod statements;
mod wire;

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use cloudlink::cluster::{Cluster, ClusterSettings, Durability};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};

use self::{
    cost::{Cost, Meter, memory},
    counting::Wire,
    flow::{AT_ONCE, Street, at_once},
    homes::Home,
    provider::Providers,
    report::{Idle, Report},
    server::Server,
};

/// Flows whose statements are counted.
const COUNTED: usize = 64;
/// Starts that are timed.
const STARTS: usize = 5;

/// Links slots as fast as it goes, and says what that cost.
#[derive(Parser)]
struct Arguments {
    /// Homes with a slot each that take turns.
    #[arg(long, default_value_t = 500)]
    homes: usize,
    /// Flows of each round.
    #[arg(long, default_value_t = 3000)]
    flows: usize,
    /// Token reads of each round.
    #[arg(long, default_value_t = 20_000)]
    reads: usize,
    /// Rounds, after one to warm up.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of pgbench.
    #[arg(long, default_value_t = 5)]
    pgbench: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// How this program starts itself as the floor: where it listens, its database, the provider.
    #[arg(long, hide = true, num_args = 3)]
    serve_floor: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let [host, database, provider] = arguments.serve_floor.as_slice() {
        return actix_web::rt::System::new().block_on(floor::serve(host, database, provider));
    }
    let counts = [arguments.flows, arguments.reads, arguments.rounds];
    ensure!(counts.iter().all(|count| *count > 0), "there must be something to do");
    ensure!(arguments.homes >= AT_ONCE, "there must be a home for each of {AT_ONCE} flows at once");
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    // Open to all: as root the server is somebody else.
    let open = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("cloudlink-bench-").permissions(open).tempdir()?;
    let data_dir = folder.path().join("postgres");
    let settings = ClusterSettings { data_dir, durability: Durability::Full, max_connections: 100 };
    let cluster = Cluster::start(&settings).await?;
    let measured = measure(arguments, &cluster, folder.path()).await;
    cluster.stop().await?;
    measured
}

async fn measure(arguments: &Arguments, cluster: &Cluster, folder: &Path) -> Result<()> {
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await?;
    connection.execute("create database broker").await?;
    connection.execute("create database floor").await?;
    let [broker, bare] = ["broker", "floor"].map(|name| cluster.url(name));
    let mut connection = PgConnection::connect(&bare).await?;
    floor::make_tables(&mut connection, i64::try_from(arguments.homes)?).await?;
    connection.close().await?;
    let providers = Providers::start(1)?;
    let provider = providers.urls[0].as_str();

    let server = Server::cloudlink(&broker, folder).await?;
    let pool = PgPool::connect_lazy(&broker)?;
    // The public URL is the audience of tokens: each server has its own, and its homes.
    server.stop().await?;
    count_statements(&broker, provider, folder, &pool).await?;
    let idle = idle(&broker, folder).await?;

    let server = Server::cloudlink(&broker, folder).await?;
    let floor = Server::floor(&bare, provider, folder).await?;
    let homes = homes::enrol(&pool, &server.host, provider, arguments.homes).await?;
    for statement in ["vacuum analyze", "checkpoint"] {
        pool.execute(statement).await?;
    }
    let meter = |server: &Server| Meter::new(server.pid()?, cluster, &providers);
    let meters = [meter(&server)?, meter(&floor)?];
    let mut report = Report::new(arguments.flows, arguments.reads);
    for round in 0..=arguments.rounds {
        let asked = providers.answers();
        let (flows, transactions) = link(arguments, &server, &meters[0], &homes, &pool).await?;
        let asked = providers.answers() - asked;
        ensure!(asked == arguments.flows as u64, "{asked} token requests for {} flows", arguments.flows);
        let bare = link_bare(arguments, &floor, &meters[1], round).await?;
        let reads = read_tokens(arguments.reads, &server, &meters[0], &homes).await?;
        let bare_reads = read_bare(arguments, &floor, &meters[1]).await?;
        if round > 0 {
            report.add([flows, bare, reads, bare_reads], transactions);
        }
    }
    let pgbench = pgbench::run(&bare, arguments.homes, arguments.pgbench, folder).await?;
    let [resident, most] = memory(server.pid()?)?;
    report.print(pgbench, &idle, [resident, most]);
    floor.stop().await?;
    server.stop().await
}

/// A round of flows: what it cost, and how many transactions got a number, which those that write nothing do not.
async fn link(
    arguments: &Arguments,
    server: &Server,
    meter: &Meter<'_>,
    homes: &[Home],
    pool: &PgPool,
) -> Result<(Cost, u64)> {
    let street = Street::attach(homes, &server.host).await?;
    let (before, mark) = (transaction(pool).await?, meter.mark()?);
    flow::run(&street, &server.host, arguments.flows, pool).await?;
    let cost = meter.since(&mark)?;
    // This question's own number is the one between.
    Ok((cost, transaction(pool).await? - before - 1))
}

async fn transaction(pool: &PgPool) -> Result<u64> {
    let number: i64 = sqlx::query_scalar("select pg_current_xact_id()::text::int8").fetch_one(pool).await?;
    Ok(number.try_into()?)
}

async fn link_bare(arguments: &Arguments, floor: &Server, meter: &Meter<'_>, round: usize) -> Result<Cost> {
    let (first, slots) = (round * arguments.flows, arguments.homes);
    let mark = meter.mark()?;
    at_once(&floor.host, arguments.flows, async move |connection, number| {
        let path = format!("/flow/{}/{}", first + number, number % slots);
        connection.expect(303, ("GET", &path), "", "").await.map(drop)
    })
    .await?;
    meter.since(&mark)
}

async fn read_tokens(reads: usize, server: &Server, meter: &Meter<'_>, homes: &[Home]) -> Result<Cost> {
    let homes = homes.to_vec();
    let mark = meter.mark()?;
    at_once(&server.host, reads, async move |connection, number| {
        let home = &homes[number % homes.len()];
        let path = format!("{}/token", home.path);
        connection.expect(200, ("GET", &path), &home.authorization, "").await.map(drop)
    })
    .await?;
    meter.since(&mark)
}

async fn read_bare(arguments: &Arguments, floor: &Server, meter: &Meter<'_>) -> Result<Cost> {
    let slots = arguments.homes;
    let mark = meter.mark()?;
    at_once(&floor.host, arguments.reads, async move |connection, number| {
        let path = format!("/token/{}", number % slots);
        connection.expect(200, ("GET", &path), "", "").await.map(drop)
    })
    .await?;
    meter.since(&mark)
}

/// Says which statements a flow takes.
async fn count_statements(broker: &str, provider: &str, folder: &Path, pool: &PgPool) -> Result<()> {
    let wire = Wire::to(broker).await?;
    let server = Server::cloudlink(&wire.url, folder).await?;
    let homes = homes::enrol(pool, &server.host, provider, AT_ONCE).await?;
    let street = Street::attach(&homes, &server.host).await?;
    wire.take();
    flow::run(&street, &server.host, COUNTED, pool).await?;
    println!("statements of a flow:");
    wire.take().print(COUNTED);
    drop(street);
    server.stop().await
}

/// What the service takes where nobody calls, on a database that is there.
async fn idle(broker: &str, folder: &Path) -> Result<Idle> {
    let (mut starts, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let server = Server::cloudlink(broker, folder).await?;
        starts.push(server.started_in);
        // By then its clockwork has run.
        tokio::time::sleep(Duration::from_millis(500)).await;
        resident.push(memory(server.pid()?)?[0]);
        server.stop().await?;
    }
    starts.sort_unstable();
    resident.sort_unstable();
    let binary = std::fs::metadata(server::binary())?.len();
    Ok(Idle { start: starts[STARTS / 2], resident: resident[STARTS / 2], binary })
}
