//! `reap`: one round over what is of no use any more, beside a service that goes on running.

use std::sync::Arc;

use anyhow::Result;

use super::database::{LONG_STATEMENT, connect, database_beside};
use crate::{
    config::Settings,
    domain::{clock::Clock as _, secret::SecretValue},
    flows::{self, Reap},
    seams::{SystemClock, SystemEntropy},
    store::{self, Reapable, Store},
    vault::ring::KeyRing,
};

/// Does a round in the database of the settings, and ends. What it found, by kind.
pub async fn reap(settings: &Settings, how: Reap) -> Result<Reapable> {
    let ring = Arc::new(KeyRing::parse(settings.vault.keys.iter().map(SecretValue::expose))?);
    let (options, cluster) = database_beside(settings).await?;
    let reaped = async {
        let pool = connect(&options, 2).await?;
        // Proves that the vault's keys are this database's.
        store::migrate(&pool, &ring, &SystemEntropy).await?;
        let store = Store::new(pool, LONG_STATEMENT, ring, Arc::new(SystemEntropy));
        let retention = settings.audit.retention.try_into().unwrap_or(time::Duration::days(90));
        let found = flows::reap(&store, how, retention, SystemClock.now()).await;
        store.close().await;
        anyhow::Ok(found?)
    }
    .await;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    reaped
}
