//! Knocks: "look at this slot", from whoever changed it to every replica that has somebody waiting for it.
//!
//! A knock carries an address and nothing else (law 5). It may come late, twice or not at all: whoever is
//! woken reads the database, and behind every knock stands the relay's slow poll. So nothing here retries,
//! stores or waits: a full queue drops knocks, and a subscriber that does not keep up is told to look at
//! everything. Knock after the commit, never inside the transaction.

mod doorbell;
mod incoming;
#[cfg(feature = "nats")]
mod nats;
mod outgoing;
mod payload;
mod postgres;

use std::{sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

use doorbell::Doorbells;
pub use doorbell::{Knocked, Knocks};
#[cfg(feature = "nats")]
pub use nats::{NatsBus, NatsBusError};
use outgoing::Outgoing;
pub use postgres::PostgresBus;

use crate::domain::{
    backoff::Backoff,
    ids::{DeviceId, SlotAddress},
};

/// The waits between attempts to connect, or to send.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
/// A connection that lasted this long was a good one: the next wait is short again. What a server took and dropped is
/// none, so that it is not asked all the time.
const GOOD: Duration = Duration::from_secs(10);
/// For the last knocks at a stop.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends knocks and hands out subscriptions. Clones are the same bus.
#[derive(Clone)]
pub struct Bus {
    bells: Arc<Doorbells>,
    /// The other replicas, where there can be any.
    others: Option<Outgoing>,
    /// What carries knocks to and from them.
    tasks: TaskTracker,
}

impl Bus {
    /// A bus within this process.
    pub fn in_process() -> Self {
        Self { bells: Arc::default(), others: None, tasks: TaskTracker::new() }
    }

    fn new(bells: Arc<Doorbells>, others: Outgoing, tasks: TaskTracker) -> Self {
        Self { bells, others: Some(others), tasks }
    }

    /// Wakes everybody, here and on other replicas, who subscribes to the slot's device. Never waits.
    pub fn knock(&self, address: &SlotAddress) {
        self.bells.ring(address);
        if let Some(others) = &self.others {
            others.send(address);
        }
    }

    /// From now on collects the knocks at a device's slots, until dropped. Subscribe before reading the
    /// database: what changes in between is then found.
    pub fn subscribe(&self, device: DeviceId) -> Knocks {
        Knocks::new(Arc::clone(&self.bells), device)
    }

    /// Waits, once the bus was told to stop, until its last knocks are sent, and no longer than for these.
    pub async fn stopped(&self) {
        self.tasks.close();
        // What is still busy then hangs, and ends with the process.
        let _ = tokio::time::timeout(2 * FAREWELL, self.tasks.wait()).await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Draws one byte over and over.
    pub(in crate::bus) struct Constant(pub(in crate::bus) u8);

    impl crate::domain::clock::Entropy for Constant {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[tokio::test]
    async fn a_knock_reaches_every_subscriber_of_its_device_and_no_other() {
        let bus = Bus::in_process();
        let (home, other) = (DeviceId(uuid::Uuid::from_u128(1)), DeviceId(uuid::Uuid::from_u128(2)));
        let (mut one, mut two, mut stranger) =
            (bus.subscribe(home), bus.subscribe(home), bus.subscribe(other));
        let slot: crate::domain::ids::SlotName = "ecobee".parse().unwrap();
        bus.knock(&SlotAddress { device: home, slot: slot.clone() });
        let expected = Knocked::Slots([slot].into());
        assert_eq!(one.recv().await, expected);
        assert_eq!(two.recv().await, expected);
        assert!(stranger.try_recv().is_none());
    }
}
