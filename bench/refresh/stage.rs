//! A database with grants in it, what is done with it in a round, and what proves that it was done.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cloudlink::{
    cluster::Cluster,
    config::Settings,
    domain::clock::Clock as _,
    seams::SystemClock,
    startup::{Application, Seams},
    store::migrate,
    vault::ring::KeyRing,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    cost::{Cost, Meter},
    fill::{SLOTS, device, fill},
    floor,
    provider::Providers,
};

/// `vault.keys`.
pub(crate) const KEYS: &str = "bench:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// What is not done by then never will be.
const PATIENCE: Duration = Duration::from_mins(2);

/// A database with that many grants.
pub(crate) struct Stage {
    pub(crate) grants: u64,
    url: String,
    pool: PgPool,
    due: Vec<Uuid>,
}

impl Stage {
    /// Makes and fills the database; `due` of its grants will be due in each round.
    pub(crate) async fn set(cluster: &Cluster, grants: u64, due: u64, providers: &Providers) -> Result<Self> {
        let name = format!("grants_{grants}");
        let mut connection = PgConnection::connect(&cluster.url("postgres")).await?;
        connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        connection.close().await?;
        let (url, ring) = (cluster.url(&name), Arc::new(KeyRing::parse([KEYS])?));
        let pool = PgPoolOptions::new().max_connections(10).connect(&url).await?;
        migrate(&pool, &ring, &cloudlink::seams::SystemEntropy).await?;
        let devices = grants / 2;
        fill(&url, ring, devices, &providers.urls).await?;
        let due = (0..due).map(|number| device(number * devices / due).0).collect();
        Ok(Self { grants, url, pool, due })
    }

    /// How much the tables take, and their indexes.
    pub(crate) async fn size(&self) -> Result<String> {
        let size = "-- bench_size\nselect pg_size_pretty(pg_database_size(current_database()))";
        Ok(sqlx::query_scalar(size).fetch_one(&self.pool).await?)
    }

    /// Every table and index with its bytes, the largest first.
    pub(crate) async fn relations(&self) -> Result<Vec<(String, i64)>> {
        let relations = "-- bench_relations
            select c.relname::text, pg_table_size(c.oid) as bytes
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = 'public' and c.relkind in ('r', 'i') and pg_table_size(c.oid) > 1000000
            order by bytes desc";
        Ok(sqlx::query_as(relations).fetch_all(&self.pool).await?)
    }

    /// Connections to the database.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A round: the broker starts on the database, and refreshes what is due.
    pub(crate) async fn refresh(&self, meter: &Meter<'_>, providers: &Providers) -> Result<Cost> {
        let before = self.versions().await?;
        self.make_due().await?;
        let settings = [
            ("SERVER__BIND", "127.0.0.1:0"),
            ("SERVER__PUBLIC_URL", "http://127.0.0.1:9"),
            ("ADMIN__BIND", "127.0.0.1:0"),
            ("DATABASE__URL", self.url.as_str()),
            ("VAULT__KEYS", KEYS),
            ("EGRESS__ALLOW_PRIVATE", "true"),
        ];
        let settings = settings.map(|(name, value)| (format!("CLOUDLINK__{name}"), value.to_owned()));
        let settings = Settings::load(None, settings)?;
        let application = Application::build(&settings, Seams::of_this_machine(None)).await?;
        let (asked, stop, mark) = (providers.answers(), CancellationToken::new(), meter.mark()?);
        let running = tokio::spawn(application.run(stop.clone()));
        let done = tokio::time::timeout(PATIENCE, self.done(providers, asked)).await;
        let cost = meter.since(&mark)?;
        stop.cancel();
        running.await??;
        done.context("the refreshes did not end in time")??;
        let (asked, stored) = (providers.answers() - asked, self.versions().await? - before);
        let due = i64::try_from(self.due.len())?;
        ensure!(i64::try_from(asked)? == due, "{asked} requests for {due} refreshes");
        ensure!(stored == due, "{stored} versions were raised by {due} refreshes");
        Ok(cost)
    }

    /// The least that the same work could cost: [`floor`].
    pub(crate) async fn floor(&self, meter: &Meter<'_>, providers: &Providers) -> Result<Cost> {
        self.make_due().await?;
        let work = floor::prepare(&self.pool, &self.due, &providers.urls).await?;
        let mark = meter.mark()?;
        floor::run(&self.pool, work).await?;
        meter.since(&mark)
    }

    /// They became due one after the other in the last minute, in no order.
    async fn make_due(&self) -> Result<()> {
        let statement = "-- bench_make_due
            update grants set obtained_at = $1 - interval '1 hour', expires_at = $1 + interval '1 minute',
                refresh_at = $1 - random() * interval '1 minute', refresh_set_at = $1 - interval '1 hour'
            where device = any($2) and slot = $3";
        let done = sqlx::query(statement).bind(SystemClock.now()).bind(&self.due).bind(SLOTS[0]);
        let done = done.execute(&self.pool).await?.rows_affected();
        ensure!(done == u64::try_from(self.due.len())?, "only {done} grants are there to get due");
        Ok(())
    }

    /// Until each has been asked for, and none is leased or due any more.
    async fn done(&self, providers: &Providers, asked: u64) -> Result<()> {
        let due = u64::try_from(self.due.len())?;
        while providers.answers() - asked < due {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let open = "-- bench_open\nselect count(*) from grants where refresh_at < $1 + interval '10 minutes'";
        loop {
            let open: i64 = sqlx::query_scalar(open).bind(SystemClock.now()).fetch_one(&self.pool).await?;
            if open == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The sum of the versions of all slots that get due.
    async fn versions(&self) -> Result<i64> {
        let statement = "-- bench_versions
            select sum(version)::int8 from slots where device = any($1) and name = $2";
        Ok(sqlx::query_scalar(statement).bind(&self.due).bind(SLOTS[0]).fetch_one(&self.pool).await?)
    }
}
