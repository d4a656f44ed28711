//! The database: the operator's, or a private one of our own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use crate::{
    cluster::{self, Cluster, ClusterError, ClusterSettings, DATABASE, Durability, default_data_dir},
    config::{Database, Settings},
};

/// For a connection to the database to be free.
const DATABASE_PATIENCE: Duration = Duration::from_secs(5);
/// For one statement of a command that goes through whole tables.
pub(super) const LONG_STATEMENT: Duration = Duration::from_mins(10);
/// How much later than the database itself a statement is given up here: while the database can be heard, it should
/// be the one to say so.
const LATER: Duration = Duration::from_secs(2);

/// Where the private database of `settings` lives.
pub fn cluster_folder(data_dir: Option<&Path>) -> PathBuf {
    data_dir.map_or_else(default_data_dir, Path::to_path_buf).join("postgres")
}

pub(super) async fn database(settings: &Settings) -> Result<(PgConnectOptions, Option<Cluster>)> {
    if let Some(url) = &settings.database.url {
        // The URL holds a password, so the cause is not told.
        let options = url.expose().parse().ok().context(
            "database.url is no PostgreSQL URL; write it like postgres://user:password@host/database",
        )?;
        return Ok((options, None));
    }
    let data_dir = cluster_folder(settings.database.data_dir.as_deref());
    let max_connections =
        u16::try_from(settings.database.max_connections).unwrap_or(u16::MAX).saturating_add(10);
    let cluster =
        Cluster::start(&ClusterSettings { data_dir, durability: Durability::Full, max_connections }).await?;
    let options = cluster.url(DATABASE).parse().context("the private PostgreSQL has no usable address")?;
    Ok((options, Some(cluster)))
}

/// [`database`], and where another cloudlink runs the private one, that one's.
pub(super) async fn database_beside(settings: &Settings) -> Result<(PgConnectOptions, Option<Cluster>)> {
    let error = match database(settings).await {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let Some(ClusterError::InUse(folder)) = error.downcast_ref() else { return Err(error) };
    let url = cluster::url_beside(folder, DATABASE)?;
    Ok((url.parse().context("the private PostgreSQL has no usable address")?, None))
}

pub(super) async fn connect(options: &PgConnectOptions, max_connections: u32) -> Result<PgPool> {
    // One connection by itself first: a pool only says that its time ran out, this says why.
    let first = timeout(DATABASE_PATIENCE, PgConnection::connect_with(options)).await;
    first
        .context("the database does not answer; check database.url and that the server runs")?
        .context("the database can't be reached; check database.url and that the server runs")?
        .close()
        .await?;
    Ok(pool(options, max_connections))
}

/// The connections of a service, and how long it waits for one of their statements. The database gives up earlier,
/// and also a transaction whose owner says nothing any more: what it holds, others wait for. What the URL says wins.
pub(super) fn serving_pool(options: PgConnectOptions, settings: &Database) -> (PgPool, Duration) {
    let limit = format!("{}s", settings.statement.as_secs());
    let limits = [
        ("statement_timeout", limit.as_str()),
        ("idle_in_transaction_session_timeout", limit.as_str()),
        // A peer that is gone without a word takes up a connection until then.
        ("tcp_keepalives_idle", "60"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
    ];
    let said = options.get_options().unwrap_or_default().to_owned();
    let options = options.options(limits.into_iter().filter(|(name, _)| !said.contains(name)));
    (pool(&options, settings.max_connections), settings.statement + LATER)
}

fn pool(options: &PgConnectOptions, max_connections: u32) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(max_connections).acquire_timeout(DATABASE_PATIENCE);
    pool.connect_lazy_with(options.clone())
}
