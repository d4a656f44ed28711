//! From the commit of a change to the frame at the plugin, on one replica and across two.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cloudlink::cluster::Cluster;
use futures_util::StreamExt as _;
use sqlx::{Connection as _, PgConnection, postgres::PgListener};

use crate::{
    server::Nats,
    stage::{Home, Plugin, Replica, database},
};

/// Between two changes, so that each finds everything at rest.
const PAUSE: Duration = Duration::from_millis(2);
/// Changes that only warm up.
const WARM_UP: usize = 50;

/// Times of one kind.
struct Times(Vec<Duration>);

impl Times {
    fn print(mut self, what: &str) {
        self.0.drain(..WARM_UP);
        self.0.sort_unstable();
        let at = |share: f64| self.0[(self.0.len() as f64 * share) as usize].as_secs_f64() * 1000.0;
        println!("{what:<44}  {:>7.3}  {:>7.3}  {:>7.3}", at(0.5), at(0.9), at(0.99));
    }
}

pub(crate) async fn measure(cluster: &Cluster, nats: &Nats, changes: usize) -> Result<()> {
    let database = database(cluster, "latency").await?;
    let nats_bus = [("BUS__KIND", "nats"), ("BUS__URL", nats.url.as_str())];
    println!("\nmilliseconds, {changes} changes each                    p50      p90      p99");
    let count = changes + WARM_UP;
    for (name, bus) in [("PostgreSQL", &[][..]), ("NATS", &nats_bus[..])] {
        let (one, two) = (Replica::start(&database, bus).await?, Replica::start(&database, bus).await?);
        let home = Home::enrol(&one).await?;
        let mut writer = Writer::new(&database, &home).await?;
        let mut plugin = home.plugin(&one).await?;
        writer.times(&one, &mut plugin, count).await?.print(&format!("commit to frame, one replica, {name}"));
        drop(plugin);
        let mut plugin = home.plugin(&two).await?;
        writer.times(&one, &mut plugin, count).await?.print(&format!("commit to frame, across two, {name}"));
        drop(plugin);
        one.stop().await?;
        two.stop().await?;
    }
    bare_notify(&database, count).await?.print("floor: NOTIFY to LISTEN");
    bare_nats(nats, count).await?.print("floor: NATS, publish to subscriber");
    bare_query(&database, count).await?.print("floor: one query");
    Ok(())
}

/// Raises a slot's version as the broker does, by a statement of its own, and knocks.
struct Writer {
    connection: PgConnection,
    home: cloudlink::domain::ids::SlotAddress,
    version: i64,
}

impl Writer {
    async fn new(database: &str, home: &Home) -> Result<Self> {
        let connection = PgConnection::connect(database).await?;
        Ok(Self { connection, home: home.address.clone(), version: 1 })
    }

    async fn times(&mut self, replica: &Replica, plugin: &mut Plugin, count: usize) -> Result<Times> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            tokio::time::sleep(PAUSE).await;
            let statement = "-- bench_change
                update slots set version = version + 1, configuration_version = version + 1
                where device = $1 and name = $2 returning version";
            let statement =
                sqlx::query_scalar(statement).bind(self.home.device.0).bind(self.home.slot.as_str());
            self.version = statement.fetch_one(&mut self.connection).await?;
            let committed = Instant::now();
            replica.bus.knock(&self.home);
            plugin.event(self.version).await?;
            times.push(committed.elapsed());
        }
        Ok(Times(times))
    }
}

async fn bare_notify(database: &str, count: usize) -> Result<Times> {
    let mut listener = PgListener::connect(database).await?;
    listener.listen("bench").await?;
    let mut connection = PgConnection::connect(database).await?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let statement = sqlx::query("-- bench_notify\nselect pg_notify('bench', $1)").bind("a/b");
        let (sent, heard) = tokio::join!(statement.execute(&mut connection), async {
            listener.recv().await.map(|_| begun.elapsed())
        });
        sent?;
        times.push(heard?);
    }
    Ok(Times(times))
}

async fn bare_nats(nats: &Nats, count: usize) -> Result<Times> {
    let (sender, receiver) = (nats.client().await?, nats.client().await?);
    let mut messages = receiver.subscribe("bench").await?;
    receiver.flush().await?;
    let mut times = Vec::with_capacity(count);
    // The first may come before the subscription is known.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..count {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        sender.publish("bench", "a/b".into()).await?;
        messages.next().await.context("the subscription ended")?;
        times.push(begun.elapsed());
    }
    Ok(Times(times))
}

async fn bare_query(database: &str, count: usize) -> Result<Times> {
    let mut connection = PgConnection::connect(database).await?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        sqlx::query("-- bench_query\nselect 1").execute(&mut connection).await?;
        times.push(begun.elapsed());
    }
    Ok(Times(times))
}
