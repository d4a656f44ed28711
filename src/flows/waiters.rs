//! How many callers wait for a provider at once: of a slot, of a device or a network, and in all.
//!
//! Each holds one of the requests that this process handles at once, for as long as half a minute, and looks at the
//! database while it waits. Without these bounds one slot whose provider hangs would take all of them. Who finds no
//! place does not wait: it makes do with what there is, or is told to come back.
//!
//! A slot has more places than a plugin has threads, so that all of them share the one refresh that is under way; a
//! device has twice as many, so that one plugin leaves places to its neighbours; all together have half of the
//! requests, so that however many devices conspire, calls that wait for no provider are served.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::domain::{
    binding::ClientNetwork,
    ids::{DeviceId, SlotAddress, SlotName},
};

/// Of one slot, or of one network that calls for no slot.
const PER_SLOT: usize = 32;
/// Of one device.
const PER_DEVICE: usize = 64;
/// When it is worth to ask again: places become free as providers answer.
const RETRY: Duration = Duration::from_secs(5);

/// How many may wait at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaiterLimits {
    /// In all, in this process.
    pub total: usize,
    /// Of one device.
    pub per_device: usize,
    /// Of one slot, or of one network that calls for no slot.
    pub per_slot: usize,
}

impl WaiterLimits {
    /// For a process that handles `requests` at once, at least 16: at most half of them wait, a quarter of those for
    /// one device, and half of that for one slot.
    pub fn within(requests: usize) -> Self {
        let total = (requests / 2).max(1);
        let per_device = PER_DEVICE.min(total.div_ceil(4));
        Self { total, per_device, per_slot: PER_SLOT.min(per_device.div_ceil(2)) }
    }
}

/// As many wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many wait for a provider")]
pub struct TooManyWait {
    /// When it is worth to ask again.
    pub retry_after: Duration,
}

/// For whom somebody waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Party {
    Device(DeviceId),
    Network(String),
}

/// Everybody who waits. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Waiters(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    limits: WaiterLimits,
    /// By slot; who calls for no slot has none.
    waiting: Mutex<HashMap<Party, HashMap<Option<SlotName>, usize>>>,
}

/// A place to wait at, until dropped.
#[derive(Debug)]
pub(super) struct WaitingPlace {
    waiters: Waiters,
    party: Party,
    slot: Option<SlotName>,
}

impl Waiters {
    pub(super) fn new(limits: WaiterLimits) -> Self {
        Self(Arc::new(Counts { limits, waiting: Mutex::default() }))
    }

    /// A place for a caller who waits for a slot's provider.
    pub(super) fn enter_for_slot(&self, address: &SlotAddress) -> Result<WaitingPlace, TooManyWait> {
        self.enter(Party::Device(address.device), Some(&address.slot))
    }

    /// A place for a caller whom no device vouches for.
    pub(super) fn enter_from(&self, network: ClientNetwork) -> Result<WaitingPlace, TooManyWait> {
        self.enter(Party::Network(network.to_string()), None)
    }

    fn enter(&self, party: Party, slot: Option<&SlotName>) -> Result<WaitingPlace, TooManyWait> {
        let Counts { limits, waiting } = &*self.0;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().flat_map(HashMap::values).sum();
        let of_party = waiting.get(&party);
        let of_slot = of_party.and_then(|slots| slots.get(&slot.cloned())).copied().unwrap_or_default();
        let of_party: usize = of_party.map(|slots| slots.values().sum()).unwrap_or_default();
        if all >= limits.total || of_party >= limits.per_device || of_slot >= limits.per_slot {
            return Err(TooManyWait { retry_after: RETRY });
        }
        waiting.entry(party.clone()).or_default().insert(slot.cloned(), of_slot + 1);
        Ok(WaitingPlace { waiters: self.clone(), party, slot: slot.cloned() })
    }

    /// How many wait now.
    pub(super) fn count(&self) -> usize {
        let waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.values().flat_map(HashMap::values).sum()
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        let mut waiting = self.waiters.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = waiting.get_mut(&self.party) {
            if let Some(count) = slots.get_mut(&self.slot) {
                *count = count.saturating_sub(1);
            }
            slots.retain(|_, count| *count > 0);
            if slots.is_empty() {
                waiting.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn slot(device: u128, slot: &str) -> SlotAddress {
        SlotAddress { device: DeviceId(Uuid::from_u128(device)), slot: slot.parse().unwrap() }
    }

    #[test]
    fn a_slot_leaves_places_to_its_neighbours_and_a_device_to_others() {
        let waiters = Waiters::new(WaiterLimits { total: 4, per_device: 3, per_slot: 2 });
        let mut places: Vec<_> = (0..2).map(|_| waiters.enter_for_slot(&slot(1, "a")).unwrap()).collect();
        assert!(waiters.enter_for_slot(&slot(1, "a")).is_err(), "the slot");
        places.push(waiters.enter_for_slot(&slot(1, "b")).unwrap());
        assert!(waiters.enter_for_slot(&slot(1, "b")).is_err(), "the device");
        let network = ClientNetwork::of("192.0.2.1".parse().unwrap());
        places.push(waiters.enter_from(network).unwrap());
        assert_eq!(waiters.count(), 4);
        assert!(waiters.enter_for_slot(&slot(2, "a")).is_err(), "all");
        places.remove(0);
        places.push(waiters.enter_for_slot(&slot(2, "a")).unwrap());
        drop(places);
        assert!(waiters.0.waiting.lock().unwrap().is_empty());
    }

    #[test]
    fn those_who_wait_leave_half_of_the_requests_to_those_who_do_not() {
        let limits = |total, per_device, per_slot| WaiterLimits { total, per_device, per_slot };
        assert_eq!(WaiterLimits::within(2000), limits(1000, 64, 32));
        assert_eq!(WaiterLimits::within(200), limits(100, 25, 13));
        assert_eq!(WaiterLimits::within(16), limits(8, 2, 1));
        assert_eq!(WaiterLimits::within(0), limits(1, 1, 1));
    }
}
