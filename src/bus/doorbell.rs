//! Who waits for knocks in this process.
//!
//! Each subscriber has one doorbell: a set of slots to look at, so that a thousand knocks at one slot are
//! one. The set is bounded; beyond [`MOST_SLOTS`] it turns into "everything". A subscription takes its
//! doorbell away when it is dropped, so nothing is kept for those who are gone.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

use crate::domain::ids::{DeviceId, SlotAddress, SlotName};

/// Slots that one doorbell remembers apart.
const MOST_SLOTS: usize = 64;
/// Subscribers that are rung at once when everybody is, and the pause before the next ones: each asks the database
/// then, which may have only just come back.
const AT_ONCE: (usize, Duration) = (500, Duration::from_millis(100));

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knocked {
    /// These slots of the device.
    Slots(BTreeSet<SlotName>),
    /// All of the device: knocks may have been missed.
    Everything,
}

#[derive(Default)]
struct Doorbell {
    pending: Mutex<Option<Knocked>>,
    rung: Notify,
}

impl Doorbell {
    fn ring(&self, slot: &SlotName) {
        let mut pending = lock(&self.pending);
        match pending.get_or_insert_with(|| Knocked::Slots(BTreeSet::new())) {
            Knocked::Everything => {}
            Knocked::Slots(slots) => {
                slots.insert(slot.clone());
                if slots.len() > MOST_SLOTS {
                    *pending = Some(Knocked::Everything);
                }
            }
        }
        drop(pending);
        self.rung.notify_one();
    }

    fn ring_for_everything(&self) {
        *lock(&self.pending) = Some(Knocked::Everything);
        self.rung.notify_one();
    }
}

/// All doorbells of this process.
#[derive(Default)]
pub(super) struct Doorbells {
    by_device: Mutex<HashMap<DeviceId, Vec<Arc<Doorbell>>>>,
}

impl Doorbells {
    /// Wakes whoever waits for the slot's device.
    pub(super) fn ring(&self, address: &SlotAddress) {
        for bell in lock(&self.by_device).get(&address.device).into_iter().flatten() {
            bell.ring(&address.slot);
        }
    }

    /// Wakes everybody who subscribes now, some hundred after the other: knocks may have been lost.
    pub(super) async fn ring_everybody(&self) {
        let everybody: Vec<Arc<Doorbell>> = lock(&self.by_device).values().flatten().cloned().collect();
        let (count, pause) = AT_ONCE;
        for (number, some) in everybody.chunks(count).enumerate() {
            if number > 0 {
                sleep(pause).await;
            }
            for bell in some {
                bell.ring_for_everything();
            }
        }
    }
}

/// A subscription to the knocks at one device's slots.
pub struct Knocks {
    bells: Arc<Doorbells>,
    device: DeviceId,
    bell: Arc<Doorbell>,
}

impl Knocks {
    pub(super) fn new(bells: Arc<Doorbells>, device: DeviceId) -> Self {
        let bell = Arc::new(Doorbell::default());
        let mut by_device = lock(&bells.by_device);
        by_device.entry(device).or_insert_with(|| Vec::with_capacity(1)).push(Arc::clone(&bell));
        drop(by_device);
        Self { bells, device, bell }
    }

    /// Waits for a knock and takes all that came since the last call. Nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Knocked {
        loop {
            if let Some(knocked) = self.try_recv() {
                return knocked;
            }
            self.bell.rung.notified().await;
        }
    }

    /// Takes what came since the last call.
    pub fn try_recv(&mut self) -> Option<Knocked> {
        lock(&self.bell.pending).take()
    }
}

impl Drop for Knocks {
    fn drop(&mut self) {
        let mut by_device = lock(&self.bells.by_device);
        if let Some(bells) = by_device.get_mut(&self.device) {
            bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
            if bells.is_empty() {
                by_device.remove(&self.device);
            }
        }
    }
}

/// A panic elsewhere leaves these sets valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const HOME: DeviceId = DeviceId(Uuid::from_u128(1));

    fn at(slot: usize) -> SlotAddress {
        SlotAddress { device: HOME, slot: format!("slot-{slot}").parse().unwrap() }
    }

    #[tokio::test]
    async fn knocks_at_one_slot_become_one() {
        let bells = Arc::new(Doorbells::default());
        let mut knocks = Knocks::new(Arc::clone(&bells), HOME);
        for slot in [1, 1, 2, 1] {
            bells.ring(&at(slot));
        }
        assert_eq!(knocks.recv().await, Knocked::Slots([at(1).slot, at(2).slot].into()));
        assert_eq!(knocks.try_recv(), None);
    }

    #[tokio::test]
    async fn h11_who_does_not_keep_up_is_told_to_look_at_everything() {
        let bells = Arc::new(Doorbells::default());
        let mut knocks = Knocks::new(Arc::clone(&bells), HOME);
        (0..=MOST_SLOTS).for_each(|slot| bells.ring(&at(slot)));
        bells.ring(&at(0));
        assert_eq!(knocks.recv().await, Knocked::Everything);
        bells.ring(&at(0));
        assert_eq!(knocks.recv().await, Knocked::Slots([at(0).slot].into()));
    }

    #[tokio::test]
    async fn a_knock_wakes_who_already_waits() {
        let bells = Arc::new(Doorbells::default());
        let mut knocks = Knocks::new(Arc::clone(&bells), HOME);
        let (knocked, ()) = tokio::join!(knocks.recv(), bells.ring_everybody());
        assert_eq!(knocked, Knocked::Everything);
    }

    #[tokio::test]
    async fn everybody_is_everybody_however_many_there_are() {
        let bells = Arc::new(Doorbells::default());
        let device = |number: usize| DeviceId(Uuid::from_u128(number.try_into().unwrap()));
        let all: Vec<Knocks> =
            (0..=AT_ONCE.0).map(|number| Knocks::new(Arc::clone(&bells), device(number))).collect();
        bells.ring_everybody().await;
        for mut knocks in all {
            assert_eq!(knocks.try_recv(), Some(Knocked::Everything));
        }
    }

    #[test]
    fn nothing_is_kept_for_those_who_are_gone() {
        let bells = Arc::new(Doorbells::default());
        let one = Knocks::new(Arc::clone(&bells), HOME);
        let two = Knocks::new(Arc::clone(&bells), HOME);
        drop(one);
        assert_eq!(lock(&bells.by_device).get(&HOME).map(Vec::len), Some(1));
        drop(two);
        assert!(lock(&bells.by_device).is_empty());
    }
}
