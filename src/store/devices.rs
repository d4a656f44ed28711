//! Devices.

use time::OffsetDateTime;

use super::{Store, StoreError};
use crate::{domain::ids::DeviceId, vault::password::PasswordHash};

/// A device as it is stored, its password apart.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceId,
    /// What people call it.
    pub name: String,
    /// When it was enrolled.
    pub created_at: OffsetDateTime,
}

impl Store {
    /// Enrols a device.
    pub async fn put_device(
        &self,
        id: DeviceId,
        name: &str,
        password: &PasswordHash,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- put_device
            insert into devices (id, name, password_hash, created_at) values ($1, $2, $3, $4)",
            id.0,
            name,
            password.as_str(),
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A device by its id.
    pub async fn find_device(&self, id: DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        let row =
            sqlx::query!("-- find_device\nselect id, name, created_at from devices where id = $1", id.0)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|row| DeviceRow { id: DeviceId(row.id), name: row.name, created_at: row.created_at }))
    }

    /// All devices, oldest first, 10,000 at most.
    pub async fn list_devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        let rows = sqlx::query!(
            "-- list_devices\nselect id, name, created_at from devices order by created_at, id limit 10000"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DeviceRow { id: DeviceId(row.id), name: row.name, created_at: row.created_at })
            .collect())
    }

    /// Renames a device. Whether there is one.
    pub async fn rename_device(&self, id: DeviceId, name: &str) -> Result<bool, StoreError> {
        let done = sqlx::query!("-- rename_device\nupdate devices set name = $2 where id = $1", id.0, name)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Removes a device with its keys, slots, grants and flows, and voids its tokens. Whether there was one.
    pub async fn delete_device(
        &self,
        id: DeviceId,
        now: OffsetDateTime,
        forget_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "-- delete_device
            with gone as (delete from devices where id = $1 returning id)
            insert into revocations (device, key_hash, revoked_at, forget_at) select id, null, $2, $3 from gone",
            id.0,
            now,
            forget_at
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
