//! Putting the service together, running it, and ending it so that nobody loses anything.
//!
//! `main` and the tests build the same [`Application`].

mod application;
mod bounds;
mod database;
mod handlers;
mod maintenance;
mod memory;
mod parts;
mod reaping;
mod signing_key;
mod stopping;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use self::database::{connect, database};
pub use self::{
    application::{Application, Seams},
    database::cluster_folder,
    maintenance::maintain,
    memory::keep_memory_private,
    reaping::reap,
    signing_key::rotate_signing_key,
};
use crate::{
    config::Settings,
    http,
    seams::SystemEntropy,
    store,
    telemetry::Metrics,
    vault::{entry::KeyRingError, ring::KeyRing, source::WrittenKeys},
};

/// `serve`: runs until SIGTERM or SIGINT.
pub async fn serve(settings: &Settings) -> Result<()> {
    settings.fit_to_serve()?;
    if settings.admin.password.is_none() {
        tracing::warn!("admin.password is not set: nobody can log in as the owner");
    }
    let metrics = Metrics::install()?;
    raise_limits();
    let application = Application::build(settings, Seams::of_this_machine(Some(metrics))).await?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    application.run(stop).await
}

/// `migrate`: brings the database up to date and ends. Safe when several start at once.
pub async fn migrate(settings: &Settings) -> Result<()> {
    let ring = vault_ring(settings).await?;
    let (options, cluster) = database(settings).await?;
    let migrated = async {
        let pool = connect(&options, 2).await?;
        let done = store::migrate(&pool, &ring, &SystemEntropy).await;
        pool.close().await;
        Ok::<_, anyhow::Error>(done?)
    }
    .await;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    migrated
}

/// The keys that encrypt what is stored, before anything is touched. A key service would be asked here.
async fn vault_ring(settings: &Settings) -> Result<KeyRing, KeyRingError> {
    KeyRing::from_source(&WrittenKeys(&settings.vault.keys)).await
}

/// Cancels `stop` at the first SIGTERM or SIGINT.
pub async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind| match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(error) => {
            tracing::error!(%error, "signals can't be heard");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
    stop.cancel();
}

fn raise_limits() {
    match http::server::raise_open_files() {
        Ok(Some(limit)) => tracing::info!(limit, "open files"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files could not be raised"),
    }
}
