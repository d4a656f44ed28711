//! `keys rotate --signing`: a new signing key, beside a service that goes on running.

use anyhow::Result;

use super::maintain;
use crate::{
    config::Settings,
    domain::clock::Clock as _,
    flows::{self, Retire},
    seams::{SystemClock, SystemEntropy},
};

/// Replaces the key that signs access tokens, in the database of the settings, and ends. The new key's id.
pub async fn rotate_signing_key(settings: &Settings, retire: Retire) -> Result<String> {
    maintain(settings, async |store| {
        // It is sealed, so every replica must have the key that seals.
        store.check_resealing().await?;
        Ok(flows::rotate_signing_key(&store, &SystemEntropy, retire, SystemClock.now()).await?)
    })
    .await
}
