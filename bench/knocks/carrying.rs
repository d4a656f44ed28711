//! Where NOTIFY stops carrying: what connections that write still commit beside so many knocks.
//!
//! A NOTIFY takes a lock of the whole server while it commits. Its cost in processor time is another matter, so
//! beside each load runs one of the same number of statements that take no such lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use cloudlink::{
    bus::{Bus, NatsBus, PostgresBus},
    cluster::Cluster,
    domain::ids::{DeviceId, SlotAddress},
    seams::SystemEntropy,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{server::Nats, stage::database};

/// Rows that are written to, so that writers do not wait for each other.
const ROWS: u64 = 10_000;
/// Replicas that only listen.
const LISTENERS: usize = 2;
/// Replicas that send, where the rate is given.
const SENDERS: usize = 4;
/// Turns of each load.
const TURNS: usize = 5;
/// Before counting.
const WARM_UP: Duration = Duration::from_millis(200);

pub(crate) struct Loads<'a> {
    pub(crate) writers: usize,
    pub(crate) senders: &'a [usize],
    pub(crate) rates: &'a [u32],
    pub(crate) time: Duration,
}

/// What runs beside the writers.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// A statement without a lock for each knock.
    Statement,
    /// One NOTIFY for each knock.
    Notify,
    /// Knocks through the bus.
    PostgresBus,
    /// The same over NATS.
    NatsBus,
    /// One NOTIFY in each transaction of the writers.
    Within,
}

/// What came of it, a second.
struct Outcome {
    commits: f64,
    knocks: f64,
}

struct Stage<'a> {
    database: String,
    nats: &'a Nats,
    writers: usize,
    time: Duration,
}

pub(crate) async fn measure(cluster: &Cluster, nats: &Nats, loads: &Loads<'_>) -> Result<()> {
    let database = database(cluster, "carrying").await?;
    let mut connection = PgConnection::connect(&database).await?;
    connection.execute("create table bench (id int8 primary key, n int8 not null)").await?;
    let rows = format!("insert into bench select id, 0 from generate_series(1, {ROWS}) as id");
    connection.execute(AssertSqlSafe(rows)).await?;
    let stage = Stage { database, nats, writers: loads.writers, time: loads.time };

    let writers = stage.writers;
    println!(
        "\n{writers} writers, beside                       senders   knocks/s  commits/s  of those alone"
    );
    stage.row("nothing", Beside::Nothing, 0, None).await?;
    stage.row("a NOTIFY within each transaction", Beside::Within, 0, None).await?;
    for &senders in loads.senders {
        stage.row("statements, as many as go", Beside::Statement, senders, None).await?;
        stage.row("NOTIFYs, as many as go", Beside::Notify, senders, None).await?;
    }
    for &rate in loads.rates {
        for (what, beside) in [
            ("statements", Beside::Statement),
            ("NOTIFYs", Beside::Notify),
            ("knocks over PostgreSQL", Beside::PostgresBus),
            ("knocks over NATS", Beside::NatsBus),
        ] {
            stage.row(&format!("{rate} {what} a second"), beside, SENDERS, Some(rate)).await?;
        }
    }
    Ok(())
}

/// What tasks of one load share.
#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    commits: AtomicU64,
    knocks: AtomicU64,
}

impl Stage<'_> {
    /// Each load right after the writers alone, in turns: what else this machine does changes slowly, so the
    /// middle one of the ratios is of the load.
    async fn row(&self, what: &str, beside: Beside, senders: usize, rate: Option<u32>) -> Result<()> {
        let mut turns = Vec::with_capacity(TURNS);
        for _ in 0..TURNS {
            let alone = self.run(Beside::Nothing, 0, None).await?.commits;
            let outcome = self.run(beside, senders, rate).await?;
            turns.push((outcome.commits / alone, outcome));
        }
        turns.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (ratio, Outcome { commits, knocks }) = &turns[TURNS / 2];
        println!("{what:<42} {senders:>6}  {knocks:>9.0}  {commits:>9.0}  {ratio:>8.2}");
        Ok(())
    }

    async fn run(&self, beside: Beside, senders: usize, rate: Option<u32>) -> Result<Outcome> {
        let (shared, stop, mut tasks) =
            (Arc::new(Shared::default()), CancellationToken::new(), JoinSet::new());
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            listeners.push(self.bus(beside, &stop)?);
        }
        for number in 0..self.writers {
            let connection = PgConnection::connect(&self.database).await?;
            tasks.spawn(write(connection, number as u64, beside, Arc::clone(&shared)));
        }
        for number in 0..senders {
            let pace = Pace::new(rate.map(|rate| f64::from(rate) / senders as f64));
            let shared = Arc::clone(&shared);
            if matches!(beside, Beside::PostgresBus | Beside::NatsBus) {
                tasks.spawn(knock(self.bus(beside, &stop)?, number as u128, pace, shared));
            } else {
                let connection = PgConnection::connect(&self.database).await?;
                tasks.spawn(state(connection, beside, pace, shared));
            }
        }
        // Through the bus, what counts is what arrives.
        if matches!(beside, Beside::PostgresBus | Beside::NatsBus) {
            for number in 0..senders as u128 {
                for device in 0..DEVICES {
                    let knocks = listeners[0].subscribe(device_of(number, device));
                    tasks.spawn(hear(knocks, Arc::clone(&shared)));
                }
            }
        }
        tokio::time::sleep(WARM_UP).await;
        let counts = || (shared.commits.load(Relaxed), shared.knocks.load(Relaxed));
        let (begun, before) = (Instant::now(), counts());
        tokio::time::sleep(self.time).await;
        let (after, time) = (counts(), begun.elapsed().as_secs_f64());
        shared.ended.store(true, Relaxed);
        stop.cancel();
        tokio::time::sleep(Duration::from_millis(50)).await;
        tasks.shutdown().await;
        for listener in listeners {
            listener.stopped().await;
        }
        let each = |after: u64, before: u64| (after - before) as f64 / time;
        Ok(Outcome { commits: each(after.0, before.0), knocks: each(after.1, before.1) })
    }

    fn bus(&self, beside: Beside, stop: &CancellationToken) -> Result<Bus> {
        let (entropy, stop) = (Arc::new(SystemEntropy), stop.clone());
        if beside == Beside::NatsBus {
            return Ok(
                NatsBus { url: self.nats.url.parse()?, extra_roots: Vec::new(), entropy, stop }.start()?
            );
        }
        Ok(PostgresBus { database: self.database.parse()?, entropy, stop }.start())
    }
}

/// Devices that one sender knocks at in turn.
const DEVICES: u128 = 64;

fn device_of(sender: u128, device: u128) -> DeviceId {
    DeviceId(Uuid::from_u128((sender << 64) + device))
}

async fn write(mut connection: PgConnection, number: u64, beside: Beside, shared: Arc<Shared>) -> Result<()> {
    let mut row = number * 97;
    while !shared.ended.load(Relaxed) {
        row = (row + 7919) % ROWS;
        let statement = sqlx::query("-- bench_write\nupdate bench set n = n + 1 where id = $1")
            .bind(i64::try_from(row)? + 1);
        if beside == Beside::Within {
            let mut transaction = connection.begin().await?;
            statement.execute(&mut *transaction).await?;
            sqlx::query("-- bench_within\nselect pg_notify('cloudlink_knock', 'a/b')")
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            shared.knocks.fetch_add(1, Relaxed);
        } else {
            statement.execute(&mut connection).await?;
        }
        shared.commits.fetch_add(1, Relaxed);
    }
    Ok(())
}

async fn state(
    mut connection: PgConnection,
    beside: Beside,
    mut pace: Pace,
    shared: Arc<Shared>,
) -> Result<()> {
    let statement = match beside {
        Beside::Notify => "-- bench_notify\nselect pg_notify('cloudlink_knock', $1)",
        _ => "-- bench_statement\nselect $1",
    };
    while !shared.ended.load(Relaxed) {
        pace.next().await;
        sqlx::query(statement).bind("a/b").execute(&mut connection).await?;
        shared.knocks.fetch_add(1, Relaxed);
    }
    Ok(())
}

async fn knock(bus: Bus, number: u128, mut pace: Pace, shared: Arc<Shared>) -> Result<()> {
    let slots = ["heating", "garden", "car", "door"].map(str::parse);
    let mut turn = 0;
    while !shared.ended.load(Relaxed) {
        pace.next().await;
        turn += 1;
        let slot = slots[(turn / DEVICES) as usize % slots.len()].clone()?;
        bus.knock(&SlotAddress { device: device_of(number, turn % DEVICES), slot });
    }
    Ok(())
}

/// Counts what arrives, slots apart.
async fn hear(mut knocks: cloudlink::bus::Knocks, shared: Arc<Shared>) -> Result<()> {
    loop {
        if let cloudlink::bus::Knocked::Slots(slots) = knocks.recv().await {
            shared.knocks.fetch_add(slots.len() as u64, Relaxed);
        }
    }
}

/// So many a second, or as many as go.
struct Pace {
    begun: Instant,
    each: Option<Duration>,
    count: u32,
}

impl Pace {
    fn new(rate: Option<f64>) -> Self {
        Self { begun: Instant::now(), each: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)), count: 0 }
    }

    async fn next(&mut self) {
        let Some(each) = self.each else { return tokio::task::yield_now().await };
        self.count += 1;
        let due = self.begun + each * self.count;
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}
