//! Knocks on their way to other replicas: a bounded queue between whoever changes slots and the one task that sends.

use std::collections::BTreeSet;

use metrics::{Counter, Gauge};
use tokio::sync::mpsc;

use crate::domain::{ids::SlotAddress, metric};

/// Knocks that wait to be sent.
pub(super) const LIMIT: u32 = 4096;
/// Knocks taken at once.
pub(super) const BATCH: usize = 256;

/// Where knocks are put.
#[derive(Clone)]
pub(super) struct Outgoing {
    sender: mpsc::Sender<SlotAddress>,
    waiting: Gauge,
    dropped: Counter,
}

/// Where they are taken from.
pub(super) struct Queue {
    receiver: mpsc::Receiver<SlotAddress>,
    waiting: Gauge,
    sent: Counter,
    dropped: Counter,
}

/// Both ends.
pub(super) fn queue() -> (Outgoing, Queue) {
    let (sender, receiver) = mpsc::channel(usize::try_from(LIMIT).unwrap_or(usize::MAX));
    let (waiting, dropped) =
        (metrics::gauge!(metric::KNOCKS_WAITING), metrics::counter!(metric::KNOCKS_DROPPED));
    metrics::gauge!(metric::KNOCKS_WAITING_LIMIT).set(f64::from(LIMIT));
    waiting.set(0.0);
    let outgoing = Outgoing { sender, waiting: waiting.clone(), dropped: dropped.clone() };
    let sent = metrics::counter!(metric::KNOCKS_SENT);
    (outgoing, Queue { receiver, waiting, sent, dropped })
}

impl Outgoing {
    /// Puts a knock behind the others; drops it where the queue is full.
    pub(super) fn send(&self, address: &SlotAddress) {
        match self.sender.try_send(address.clone()) {
            Ok(()) => self.waiting.set(number(self.sender.max_capacity() - self.sender.capacity())),
            Err(_) => self.dropped.increment(1),
        }
    }
}

impl Queue {
    /// Waits for knocks, and takes those that wait, each slot once. None once nobody can knock any more.
    pub(super) async fn take(&mut self) -> Option<BTreeSet<SlotAddress>> {
        let mut batch = Vec::new();
        let taken = self.receiver.recv_many(&mut batch, BATCH).await;
        self.waiting.set(number(self.receiver.len()));
        (taken > 0).then(|| batch.into_iter().collect())
    }

    /// Takes no more knocks: who takes them now gets those that wait, and then none.
    pub(super) fn close(&mut self) {
        self.receiver.close();
    }

    /// Counts knocks that were sent.
    pub(super) fn sent(&self, knocks: usize) {
        self.sent.increment(u64::try_from(knocks).unwrap_or(u64::MAX));
    }

    /// Counts knocks that were taken and not sent.
    pub(super) fn dropped(&self, knocks: usize) {
        self.dropped.increment(u64::try_from(knocks).unwrap_or(u64::MAX));
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn at(slot: usize) -> SlotAddress {
        let device = crate::domain::ids::DeviceId(uuid::Uuid::from_u128(1));
        SlotAddress { device, slot: format!("slot-{slot}").parse().unwrap() }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted_and_nothing_waits() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let limit = usize::try_from(LIMIT).unwrap();
        let (outgoing, mut queue) = metrics::with_local_recorder(&recorder, queue);
        (0..limit + 3).for_each(|slot| outgoing.send(&at(slot)));
        let said = recorder.handle().render();
        for line in ["knocks_waiting 4096", "knocks_waiting_limit 4096", "knocks_dropped_total 3"] {
            assert!(said.contains(&format!("cloudlink_{line}\n")), "{line} in {said}");
        }
        queue.close();
        let mut taken = 0;
        while let Some(batch) = queue.take().await {
            taken += batch.len();
        }
        assert_eq!(taken, limit);
        assert!(recorder.handle().render().contains("cloudlink_knocks_waiting 0\n"));
    }

    #[tokio::test]
    async fn knocks_at_one_slot_that_wait_are_one() {
        let (outgoing, mut queue) = queue();
        for slot in [1, 2, 1] {
            outgoing.send(&at(slot));
        }
        assert_eq!(queue.take().await, Some([at(1), at(2)].into()));
        drop(outgoing);
        assert_eq!(queue.take().await, None);
    }
}
