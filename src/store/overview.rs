//! What the owner is shown first: how much there is, and what waits for somebody.

use time::OffsetDateTime;

use super::{Store, StoreError, parse_column};
use crate::domain::ids::{DeviceId, FlowId, SlotAddress};

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Plugins in the store.
    pub plugins: i64,
    /// Devices.
    pub devices: i64,
    /// Slots, whatever their status.
    pub slots: i64,
    /// Slots that are linked.
    pub linked: i64,
    /// Slots whose user must link them again.
    pub reauthorize: i64,
}

/// A slot, with what people call its device.
#[derive(Debug, Clone)]
pub struct NamedSlot {
    /// Where it is.
    pub address: SlotAddress,
    /// What people call the device.
    pub device_name: String,
}

/// A flow that waits for its confirm code.
#[derive(Debug, Clone)]
pub struct WaitingFlow {
    /// The flow.
    pub id: FlowId,
    /// The slot to link.
    pub address: SlotAddress,
    /// When its time is up.
    pub expires_at: OffsetDateTime,
}

impl Store {
    /// Counts plugins, devices and slots.
    pub async fn count_all(&self) -> Result<Counts, StoreError> {
        let counts = sqlx::query_as!(
            Counts,
            r#"-- count_all
            select (select count(*) from plugins) as "plugins!", (select count(*) from devices) as "devices!",
                count(*) as "slots!", count(*) filter (where status = 'linked') as "linked!",
                count(*) filter (where status = 'reauthorize') as "reauthorize!"
            from slots"#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(counts)
    }

    /// Slots whose user must link them again, some of them.
    pub async fn list_slots_to_reauthorize(&self, limit: u8) -> Result<Vec<NamedSlot>, StoreError> {
        let rows = sqlx::query!(
            "-- list_slots_to_reauthorize
            select s.device, s.name, d.name as device_name from slots s join devices d on d.id = s.device
            where s.status = 'reauthorize' order by d.name, s.name limit $1",
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let slot = parse_column("slots.name", &row.name)?;
                let address = SlotAddress { device: DeviceId(row.device), slot };
                Ok(NamedSlot { address, device_name: row.device_name })
            })
            .collect()
    }

    /// What people call these devices; those that are gone are left out.
    pub async fn list_device_names(
        &self,
        devices: &[DeviceId],
    ) -> Result<Vec<(DeviceId, String)>, StoreError> {
        let devices: Vec<uuid::Uuid> = devices.iter().map(|device| device.0).collect();
        let rows =
            sqlx::query!("-- list_device_names\nselect id, name from devices where id = any($1)", &devices)
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().map(|row| (DeviceId(row.id), row.name)).collect())
    }

    /// The flows of a device that wait for their confirm code, newest first; flows that may be open are bounded.
    pub async fn list_flows_to_confirm(
        &self,
        device: DeviceId,
        now: OffsetDateTime,
    ) -> Result<Vec<WaitingFlow>, StoreError> {
        let rows = sqlx::query!(
            "-- list_flows_to_confirm
            select id, slot, expires_at from flows
            where device = $1 and status = 'confirm' and expires_at > $2 order by created_at desc limit 256",
            device.0,
            now
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let address = SlotAddress { device, slot: parse_column("flows.slot", &row.slot)? };
                Ok(WaitingFlow { id: FlowId(row.id), address, expires_at: row.expires_at })
            })
            .collect()
    }
}
