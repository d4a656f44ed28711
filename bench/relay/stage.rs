//! A database with linked slots, the tokens of its devices, and what is done with them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cloudlink::{
    cluster::Cluster,
    domain::{
        clock::Clock as _,
        ids::{DeviceId, KeyHash, SlotAddress, Version},
        topic::Topics,
    },
    seams::{SystemClock, SystemEntropy},
    store::{Store, migrate},
    vault::{
        access_token::{AccessClaims, Credential, Signer, Subject},
        ring::KeyRing,
        signing::SigningKey,
    },
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::{
    fill::{SLOTS, device, fill},
    process::Server,
};

/// `vault.keys`.
const KEYS: &str = "bench:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// `server.public_url`.
const PUBLIC: &str = "http://127.0.0.1:9";
/// Events that are made at once; between two such lots is a pause.
const LOT: usize = 16;
/// A lot in eight milliseconds is 2,000 events a second.
const PAUSE: Duration = Duration::from_millis(8);
/// For one statement.
const PATIENCE: Duration = Duration::from_mins(1);

/// The database and the devices in it.
pub(crate) struct Stage {
    url: String,
    pool: PgPool,
    store: Store,
    devices: Vec<Uuid>,
}

impl Stage {
    /// Makes and fills the database.
    pub(crate) async fn set(cluster: &Cluster, devices: usize) -> Result<Self> {
        let (url, ring) = (cluster.url("postgres"), Arc::new(KeyRing::parse([KEYS])?));
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        migrate(&pool, &ring, &SystemEntropy).await?;
        fill(&url, Arc::clone(&ring), devices as u64, &["http://127.0.0.1:9".to_owned()]).await?;
        let store = Store::new(pool.clone(), PATIENCE, ring, Arc::new(SystemEntropy));
        let devices = (0..devices as u64).map(|number| device(number).0).collect();
        Ok(Self { url, pool, store, devices })
    }

    /// Starts a replica. With its own listener for the relay, or with the public one in its place.
    pub(crate) async fn replica(&self) -> Result<Server> {
        Server::cloudlink(&[
            ("SERVER__BIND", "127.0.0.1:0"),
            ("SERVER__PUBLIC_URL", PUBLIC),
            ("ADMIN__BIND", "127.0.0.1:0"),
            ("RELAY__BIND", "127.0.0.1:0"),
            ("RELAY__MAX_CONNECTIONS", "100000"),
            // Nothing but knocks brings news.
            ("RELAY__POLL_SECONDS", "300"),
            ("REFRESH__CONCURRENCY", "0"),
            ("DATABASE__URL", &self.url),
            ("VAULT__KEYS", KEYS),
        ])
        .await
    }

    /// Writes the access token of each device into a file. A replica must have started before, which makes the key.
    pub(crate) async fn write_tokens(&self, file: &PathBuf) -> Result<()> {
        let now = SystemClock.now();
        let keys = self.store.list_signing_keys(now).await?;
        let key = SigningKey::from_pkcs8(&keys.first().context("there is no signing key")?.pkcs8)?;
        let signer = Signer::new(key, PUBLIC);
        let token = |(number, device): (u128, &Uuid)| {
            let device = DeviceId(*device);
            let token = signer.mint(&AccessClaims {
                subject: Subject::Device(device),
                issued_at: now,
                expires_at: now + time::Duration::hours(12),
                id: Uuid::from_u128(number),
                scope: "device".to_owned(),
                topics: Topics::of_device(device, None),
                obtained_with: Credential::TrustedKey(KeyHash(format!("SHA256:{number:043}"))),
                issued_after: 0,
            });
            format!("{}\n", token.expose())
        };
        Ok(std::fs::write(file, (0..).zip(&self.devices).map(token).collect::<String>())?)
    }

    /// Raises the version of one slot of each of the first `count` devices, knocks, and waits until all are acknowledged.
    /// Before the first knock `begun` is called.
    pub(crate) async fn bring_events(&self, count: usize, begun: impl FnOnce()) -> Result<()> {
        let devices = &self.devices[..count];
        let raise = "-- bench_raise
            update slots set version = version + 1, configuration_version = version + 1
            where device = any($1) and name = $2";
        let raised =
            sqlx::query(raise).bind(devices).bind(SLOTS[0]).execute(&self.pool).await?.rows_affected();
        ensure!(raised == count as u64, "{raised} of {count} slots were raised");
        begun();
        let knock = "-- bench_knock
            select pg_notify('cloudlink_knock', device || '/' || $2) from unnest($1::uuid[]) as device";
        for lot in devices.chunks(LOT) {
            sqlx::query(knock).bind(lot).bind(SLOTS[0]).execute(&self.pool).await?;
            tokio::time::sleep(PAUSE).await;
        }
        let open = "-- bench_open
            select count(*) from slots where device = any($1) and name = $2 and acked_version < version";
        for _ in 0..1000 {
            let open: i64 =
                sqlx::query_scalar(open).bind(devices).bind(SLOTS[0]).fetch_one(&self.pool).await?;
            if open == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("not every event was acknowledged")
    }

    /// The two statements of an event alone, one after the other, as the broker makes them: reading and opening the
    /// slot, and an acknowledgement. What they cost this process.
    pub(crate) async fn statements_alone(&self, count: usize) -> Result<Duration> {
        let processor = || rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let before = Duration::try_from(processor())?;
        for device in &self.devices[..count] {
            let address = SlotAddress { device: DeviceId(*device), slot: SLOTS[0].parse()? };
            let states = self.store.find_states(std::slice::from_ref(&address)).await?;
            ensure!(states.len() == 1, "the slot is gone");
            self.store.ack(&address, Version(1)).await?;
        }
        Ok(Duration::try_from(processor())?.saturating_sub(before))
    }

    /// Statements that were run, transactions being one each.
    pub(crate) async fn statements(&self) -> Result<i64> {
        // Each process of PostgreSQL reports once a second at most.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let count = "-- bench_count
            select xact_commit from pg_stat_database where datname = current_database()";
        Ok(sqlx::query_scalar(count).fetch_one(&self.pool).await?)
    }
}
