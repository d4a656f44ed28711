//! What the relay asks of the database, as a seam: tests put a database of their own behind it.

use futures_util::future::BoxFuture;

use crate::{
    domain::{
        ids::{DeviceId, SlotAddress, SlotName, Version},
        slot::{Ack, SlotState},
    },
    store::{Store, StoreError},
};

/// A question to the database that may fail.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Reads slots' newest states and acknowledges them.
pub trait SlotSource: Send + Sync + 'static {
    /// The states of all slots of a device.
    fn list_states(&self, device: DeviceId) -> Answer<'_, Vec<SlotState>>;

    /// The state of one slot, where it exists.
    fn find_state<'a>(&'a self, address: &'a SlotAddress) -> Answer<'a, Option<SlotState>>;

    /// The newest version of every slot of these devices.
    fn list_versions<'a>(&'a self, devices: &'a [DeviceId])
    -> Answer<'a, Vec<(DeviceId, SlotName, Version)>>;

    /// Acknowledges all versions of a slot up to this one.
    fn ack<'a>(&'a self, address: &'a SlotAddress, version: Version) -> Answer<'a, Ack>;
}

impl SlotSource for Store {
    fn list_states(&self, device: DeviceId) -> Answer<'_, Vec<SlotState>> {
        Box::pin(self.list_states(device))
    }

    fn find_state<'a>(&'a self, address: &'a SlotAddress) -> Answer<'a, Option<SlotState>> {
        Box::pin(self.find_state(address))
    }

    fn list_versions<'a>(
        &'a self,
        devices: &'a [DeviceId],
    ) -> Answer<'a, Vec<(DeviceId, SlotName, Version)>> {
        Box::pin(self.list_versions(devices))
    }

    fn ack<'a>(&'a self, address: &'a SlotAddress, version: Version) -> Answer<'a, Ack> {
        Box::pin(self.ack(address, version))
    }
}
