//! The slow poll behind every knock (law 5): what it finds within `poll` seconds needs no bus at all.
//!
//! It keeps no memory. Each round it asks for the versions of the slots of all devices connected here, in
//! chunks, and hands every connection the answer; each compares that with what it has told its peer. So a
//! lost knock, a failed read and a deleted slot are all found by the next round.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    connections::{Connections, Versions},
    source::SlotSource,
};
use crate::domain::ids::DeviceId;

/// Devices asked for by one query.
const CHUNK: usize = 1000;

/// Polls every `period`, until dropped.
pub(super) async fn run(source: Arc<dyn SlotSource>, connections: Connections, period: Duration) {
    let mut rounds = interval(period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        for chunk in connections.devices().chunks(CHUNK) {
            round(source.as_ref(), &connections, chunk, period.max(Duration::from_secs(5))).await;
        }
    }
}

async fn round(source: &dyn SlotSource, connections: &Connections, devices: &[DeviceId], patience: Duration) {
    let rows = match timeout(patience, source.list_versions(devices)).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => {
            let error: &(dyn Error + 'static) = &error;
            return tracing::warn!(error, "the slow poll failed; the next round tries again");
        }
        Err(_) => return tracing::warn!("the slow poll took too long; the next round tries again"),
    };
    let mut by_device: BTreeMap<DeviceId, Versions> =
        devices.iter().map(|device| (*device, Versions::new())).collect();
    for (device, slot, version) in rows {
        by_device.entry(device).or_default().insert(slot, version);
    }
    for (device, versions) in by_device {
        connections.tell(device, &Arc::new(versions));
    }
}
