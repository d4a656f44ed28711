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

/// A slot's state, or why it can't be read, with the device that it belongs to.
pub type StateOf = (DeviceId, Result<SlotState, StoreError>);

/// Reads slots' newest states and acknowledges them.
pub trait SlotSource: Send + Sync + 'static {
    /// The states of all slots of these devices.
    fn list_states<'a>(&'a self, devices: &'a [DeviceId]) -> Answer<'a, Vec<StateOf>>;

    /// The states of these slots, as far as they exist.
    fn find_states<'a>(&'a self, addresses: &'a [SlotAddress]) -> Answer<'a, Vec<StateOf>>;

    /// The newest version of every slot of these devices.
    fn list_versions<'a>(&'a self, devices: &'a [DeviceId])
    -> Answer<'a, Vec<(DeviceId, SlotName, Version)>>;

    /// Acknowledges all versions of a slot up to this one.
    fn ack<'a>(&'a self, address: &'a SlotAddress, version: Version) -> Answer<'a, Ack>;
}

impl SlotSource for Store {
    fn list_states<'a>(&'a self, devices: &'a [DeviceId]) -> Answer<'a, Vec<StateOf>> {
        Box::pin(self.list_states(devices))
    }

    fn find_states<'a>(&'a self, addresses: &'a [SlotAddress]) -> Answer<'a, Vec<StateOf>> {
        Box::pin(self.find_states(addresses))
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
