//! How many inquiries are under way: of a slot, of a device, and in all. Each takes memory for its body and its
//! answer, and the patience of a connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::{
    ids::{DeviceId, SlotName},
    metric,
};

/// How many may be under way at once.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// In all, in this process.
    pub total: usize,
    /// Of one device.
    pub per_device: usize,
    /// Of one slot, and of commands for one hub.
    pub per_slot: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self { total: 256, per_device: 16, per_slot: 8 }
    }
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// Of this slot or device, enough are under way. Answer 429.
    #[error("too much is under way for this device")]
    Device,
    /// In all, enough are under way. Answer 503.
    #[error("too much is under way on this server")]
    Server,
}

/// The places that are taken. Clones are the same.
#[derive(Clone)]
pub(super) struct Taken(Arc<Counts>);

struct Counts {
    limits: Places,
    /// By slot, of each device; what is for the hub has no slot.
    taken: Mutex<HashMap<DeviceId, HashMap<Option<SlotName>, usize>>>,
    gauge: metrics::Gauge,
}

/// A place, until dropped.
pub struct Place {
    taken: Taken,
    device: DeviceId,
    slot: Option<SlotName>,
}

impl Taken {
    pub(super) fn new(limits: Places) -> Self {
        for (of, limit) in
            [("process", limits.total), ("device", limits.per_device), ("slot", limits.per_slot)]
        {
            let limit = f64::from(u32::try_from(limit).unwrap_or(u32::MAX));
            metrics::gauge!(metric::INQUIRIES_LIMIT, "of" => of).set(limit);
        }
        let gauge = metrics::gauge!(metric::INQUIRIES_UNDER_WAY);
        gauge.set(0.0);
        Self(Arc::new(Counts { limits, taken: Mutex::default(), gauge }))
    }

    pub(super) fn take(&self, device: DeviceId, slot: Option<&SlotName>) -> Result<Place, Crowded> {
        let Counts { limits, taken, gauge } = &*self.0;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().flat_map(HashMap::values).sum();
        if all >= limits.total {
            return Err(Crowded::Server);
        }
        let of_device = taken.get(&device);
        let of_slot = of_device.and_then(|slots| slots.get(&slot.cloned())).copied().unwrap_or_default();
        let of_device: usize = of_device.map(|slots| slots.values().sum()).unwrap_or_default();
        if of_device >= limits.per_device || of_slot >= limits.per_slot {
            return Err(Crowded::Device);
        }
        taken.entry(device).or_default().insert(slot.cloned(), of_slot + 1);
        gauge.increment(1.0);
        Ok(Place { taken: self.clone(), device, slot: slot.cloned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Counts { taken, gauge, .. } = &*self.taken.0;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = taken.get_mut(&self.device) {
            if let Some(count) = slots.get_mut(&self.slot) {
                *count = count.saturating_sub(1);
            }
            slots.retain(|_, count| *count > 0);
            if slots.is_empty() {
                taken.remove(&self.device);
            }
        }
        gauge.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::relay::fixture::HOME;

    #[test]
    fn a_slot_a_device_and_the_server_have_limits_and_a_place_given_back_is_free() {
        let taken = Taken::new(Places { total: 4, per_device: 3, per_slot: 2 });
        let (a, b): (SlotName, SlotName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let other = DeviceId(Uuid::from_u128(2));
        let mut places = vec![taken.take(HOME, Some(&a)).unwrap(), taken.take(HOME, Some(&a)).unwrap()];
        assert_eq!(taken.take(HOME, Some(&a)).err(), Some(Crowded::Device), "the slot");
        places.push(taken.take(HOME, None).unwrap());
        assert_eq!(taken.take(HOME, Some(&b)).err(), Some(Crowded::Device), "the device");
        places.push(taken.take(other, Some(&a)).unwrap());
        assert_eq!(taken.take(other, Some(&a)).err(), Some(Crowded::Server));
        places.remove(0);
        places.push(taken.take(HOME, Some(&b)).unwrap());
        drop(places);
        assert!(taken.0.taken.lock().unwrap().is_empty());
    }
}
