//! What can be asked without changing anything.

use super::Broker;
use crate::{
    domain::ids::{DeviceId, FlowId, SlotAddress},
    store::{AuditRow, DeviceRow, FlowRow, SlotRow, StoreError, TrustedKeyRow},
};

impl Broker {
    /// A device.
    pub async fn show_device(&self, device: DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        self.store.find_device(device).await
    }

    /// All devices, oldest first.
    pub async fn show_devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        self.store.list_devices().await
    }

    /// The trusted keys of a device, oldest first; `None` where there is no such device.
    pub async fn show_trust(&self, device: DeviceId) -> Result<Option<Vec<TrustedKeyRow>>, StoreError> {
        match self.store.find_device(device).await? {
            Some(_) => self.store.list_trusted_keys(device).await.map(Some),
            None => Ok(None),
        }
    }

    /// A slot.
    pub async fn show_slot(&self, address: &SlotAddress) -> Result<Option<SlotRow>, StoreError> {
        self.store.find_slot(address).await
    }

    /// The slots of a device, by name; `None` where there is no such device.
    pub async fn show_slots(&self, device: DeviceId) -> Result<Option<Vec<SlotRow>>, StoreError> {
        match self.store.find_device(device).await? {
            Some(_) => self.store.list_slots(device).await.map(Some),
            None => Ok(None),
        }
    }

    /// A flow of a slot.
    pub async fn show_flow(
        &self,
        address: &SlotAddress,
        flow: FlowId,
    ) -> Result<Option<FlowRow>, StoreError> {
        let row = self.store.find_flow(flow, self.now()).await?;
        Ok(row.filter(|row| row.address == *address))
    }

    /// What was recorded before the entry `before`, newest first, `limit` entries at most.
    pub async fn show_audit(&self, before: Option<i64>, limit: u8) -> Result<Vec<AuditRow>, StoreError> {
        self.store.list_audit(before, limit).await
    }
}
