//! Who is connected to this replica: a bound on how many, and the way the slow poll reaches them.
//!
//! Relay connections and waiting polls count alike. Each has an [`Admission`]; when it is dropped its place
//! is free. A device that is at its limit is refused, and its older connections stay: they end by themselves
//! within two heartbeats if nobody is behind them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::Gauge;
use tokio::sync::{Notify, watch};

use crate::domain::{
    ids::{DeviceId, SlotName, Version},
    metric,
};

/// The newest version of every slot of a device.
pub(super) type Versions = BTreeMap<SlotName, Version>;

/// How many connections there may be at once.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Of one device.
    pub per_device: usize,
    /// In all, on this replica.
    pub total: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { per_device: 32, total: 20_000 }
    }
}

/// Why a connection is not admitted. Answer 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The device has as many connections as it may.
    #[error("this device has too many connections: close some first")]
    Device,
    /// This replica has as many connections as it may.
    #[error("the server has too many connections: try again later")]
    Server,
}

/// Everybody who is connected. Clones are the same registry.
#[derive(Clone)]
pub(super) struct Connections(Arc<Registry>);

struct Registry {
    capacity: Capacity,
    by_device: Mutex<HashMap<DeviceId, Vec<Arc<Place>>>>,
    count: watch::Sender<usize>,
    gauge: Gauge,
}

/// What the slow poll found for one connection, until it is looked at. There are many of these: a watch channel would
/// take five times the memory.
#[derive(Default)]
struct Place {
    versions: Mutex<Option<Arc<Versions>>>,
    told: Notify,
}

/// A place among the connections, until dropped.
pub struct Admission {
    connections: Connections,
    device: DeviceId,
    place: Arc<Place>,
}

impl Connections {
    pub(super) fn new(capacity: Capacity) -> Self {
        let limit = u32::try_from(capacity.total).unwrap_or(u32::MAX);
        metrics::gauge!(metric::RELAY_PLACES_LIMIT).set(f64::from(limit));
        let (by_device, count) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Registry { capacity, by_device, count, gauge: metrics::gauge!(metric::RELAY_PLACES) }))
    }

    pub(super) fn admit(&self, device: DeviceId) -> Result<Admission, Refused> {
        let mut by_device = self.lock();
        if *self.0.count.borrow() >= self.0.capacity.total {
            return Err(Refused::Server);
        }
        let places = by_device.entry(device).or_insert_with(|| Vec::with_capacity(1));
        if places.len() >= self.0.capacity.per_device {
            return Err(Refused::Device);
        }
        let place = Arc::<Place>::default();
        places.push(Arc::clone(&place));
        self.0.count.send_modify(|count| *count += 1);
        self.0.gauge.increment(1.0);
        Ok(Admission { connections: self.clone(), device, place })
    }

    /// The devices that are connected.
    pub(super) fn devices(&self) -> Vec<DeviceId> {
        self.lock().keys().copied().collect()
    }

    /// Tells a device's connections what the database holds.
    pub(super) fn tell(&self, device: DeviceId, versions: &Arc<Versions>) {
        for place in self.lock().get(&device).into_iter().flatten() {
            *place.lock() = Some(Arc::clone(versions));
            place.told.notify_one();
        }
    }

    /// Waits until nobody is connected any more.
    pub(super) async fn empty(&self) {
        let mut count = self.0.count.subscribe();
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        *self.0.count.borrow()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Vec<Arc<Place>>>> {
        self.0.by_device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Versions>>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// The device it was given to.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Waits until the slow poll has asked the database again. Nothing is lost if the future is dropped.
    pub(super) async fn versions(&mut self) -> Arc<Versions> {
        loop {
            if let Some(versions) = self.place.lock().take() {
                return versions;
            }
            self.place.told.notified().await;
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut by_device = self.connections.lock();
        if let Some(places) = by_device.get_mut(&self.device) {
            places.retain(|place| !Arc::ptr_eq(place, &self.place));
            if places.is_empty() {
                by_device.remove(&self.device);
            }
        }
        self.connections.0.count.send_modify(|count| *count -= 1);
        self.connections.0.gauge.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::relay::fixture::HOME;

    #[test]
    fn h08_a_device_and_the_server_have_limits_and_a_place_given_back_is_free() {
        let connections = Connections::new(Capacity { per_device: 2, total: 3 });
        let other = DeviceId(Uuid::from_u128(2));
        let one = connections.admit(HOME).unwrap();
        let two = connections.admit(HOME).unwrap();
        assert_eq!(connections.admit(HOME).err(), Some(Refused::Device));
        let three = connections.admit(other).unwrap();
        assert_eq!(connections.admit(other).err(), Some(Refused::Server));
        drop(three);
        assert!(connections.admit(other).is_ok());
        drop((one, two));
        assert!(connections.lock().is_empty());
    }

    #[tokio::test]
    async fn only_the_devices_own_connections_are_told() {
        let connections = Connections::new(Capacity::default());
        let mut mine = connections.admit(HOME).unwrap();
        let other = connections.admit(DeviceId(Uuid::from_u128(2))).unwrap();
        let versions: Arc<Versions> = Arc::new([("a".parse().unwrap(), Version(1))].into());
        connections.tell(HOME, &versions);
        assert_eq!(mine.versions().await, versions);
        assert!(other.place.lock().is_none());
    }

    #[tokio::test]
    async fn the_registry_is_empty_when_the_last_has_gone() {
        let connections = Connections::new(Capacity::default());
        let admission = connections.admit(HOME).unwrap();
        tokio::join!(connections.empty(), async { drop(admission) });
        connections.empty().await;
    }
}
