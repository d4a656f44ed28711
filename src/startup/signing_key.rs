//! `keys rotate --signing`: a new signing key, beside a service that goes on running.

use anyhow::Result;

use super::database::{connect, database_beside};
use crate::{
    config::Settings,
    domain::{clock::Clock as _, secret::SecretValue},
    flows::{self, Retire},
    seams::{SystemClock, SystemEntropy},
    store::{self, Store},
    vault::ring::KeyRing,
};

/// Replaces the key that signs access tokens, in the database of the settings, and ends. The new key's id.
pub async fn rotate_signing_key(settings: &Settings, retire: Retire) -> Result<String> {
    let ring = std::sync::Arc::new(KeyRing::parse(settings.vault.keys.iter().map(SecretValue::expose))?);
    let (options, cluster) = database_beside(settings).await?;
    let rotated = async {
        let pool = connect(&options, 2).await?;
        // Proves that the vault's keys are this database's, and makes the table where the service never ran.
        store::migrate(&pool, &ring, &SystemEntropy).await?;
        let store = Store::new(pool.clone(), ring, std::sync::Arc::new(SystemEntropy));
        let kid = flows::rotate_signing_key(&store, &SystemEntropy, retire, SystemClock.now()).await;
        pool.close().await;
        anyhow::Ok(kid?)
    }
    .await;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    rotated
}
