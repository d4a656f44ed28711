//! `reap`: one round over what is of no use any more, beside a service that goes on running.

use anyhow::Result;

use super::maintenance::maintain;
use crate::{
    config::Settings,
    domain::clock::Clock as _,
    flows::{self, Reap},
    seams::SystemClock,
    store::Reapable,
};

/// Does a round in the database of the settings, and ends. What it found, by kind.
///
/// # Errors
/// In words for the operator, where there is no such database, or it is not this version's.
pub async fn reap(settings: &Settings, how: Reap) -> Result<Reapable> {
    let retention = settings.audit.retention.try_into().unwrap_or(time::Duration::days(90));
    maintain(settings, async |store| Ok(flows::reap(&store, how, retention, SystemClock.now()).await?)).await
}
