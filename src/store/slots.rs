//! Slots: a plugin's copy of its configuration, installed on a device.

use std::collections::BTreeMap;

use sqlx::types::Json;
use time::OffsetDateTime;

use super::{
    Column, Store, StoreError,
    audit::{NewAudit, put_audit},
    column, parse_column,
    unlink::hold_slot,
};
use crate::{
    domain::{
        audit::{Action, Origin},
        ids::{DeviceId, PluginId, SlotAddress, SlotName, Version},
        plugin::{Custody, Document},
        secret::RefreshHandle,
        slot::{SlotCredentials, SlotStatus},
    },
    vault::lookup_hash,
};

pub(super) const CONFIGURATION: Column = column!("slots", "configuration");
pub(super) const OVERRIDES: Column = column!("slots", "overrides");
pub(super) const CLIENT_SECRET: Column = column!("slots", "client_secret");
pub(super) const HANDLE: Column = column!("slots", "handle");

/// Slots a device may have.
const MOST_SLOTS: i64 = 256;

/// A slot as the API shows it.
#[derive(Debug, Clone)]
pub struct SlotRow {
    /// Its name.
    pub name: SlotName,
    /// The installed plugin.
    pub plugin: PluginId,
    /// Whether it is linked.
    pub status: SlotStatus,
    /// When the access token expires.
    pub expires_at: Option<OffsetDateTime>,
    /// The granted scope.
    pub scope: Option<String>,
    /// The newest version.
    pub version: Version,
    /// The highest version acknowledged.
    pub acked_version: Version,
}

/// A slot to install.
pub struct NewSlot<'a> {
    /// Where.
    pub address: &'a SlotAddress,
    /// Which plugin.
    pub plugin: &'a PluginId,
    /// The copy of its configuration.
    pub copy: &'a Document,
    /// The values of its variables.
    pub variables: &'a BTreeMap<String, String>,
    /// Who keeps its tokens, by the effective configuration.
    pub custody: Custody,
    /// Fresh credentials; a slot that exists keeps its own.
    pub credentials: &'a SlotCredentials,
}

/// What became of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutSlot {
    /// Done.
    Done,
    /// Somebody else changed the slot meanwhile, or ended the trust in the key to seal to: read it again.
    Conflict,
    /// The device has as many slots as it may, or does not exist.
    NoRoom,
}

impl Store {
    /// Installs a slot that does not exist yet. Its versions begin above those of slots that the device had before:
    /// the lock waits for whoever deletes one, so that the mark is read after it was raised.
    pub async fn create_slot(
        &self,
        new: &NewSlot<'_>,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<PutSlot, StoreError> {
        let place = new.address.to_string();
        let done = sqlx::query!(
            "-- create_slot
            with home as (
                select id, versions_spent as spent from devices where id = $1 for no key update),
            created as (
                insert into slots (device, name, plugin, configuration, overrides, variables, client_id,
                    client_secret, handle, handle_hash, status, version, acked_version, configuration_version,
                    tokens_version, link_version, configured_at, installed_at, custody)
                select id, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'unlinked', spent + 1, spent, spent + 1, 0, 0,
                    $11, $11, $17
                from home where (select count(*) from slots where device = $1) < $12
                on conflict (device, name) do nothing
                returning name)
            insert into audit (at, actor, address, action, subject) select $11, $13, $14, $15, $16 from created",
            new.address.device.0,
            new.address.slot.as_str(),
            new.plugin.as_str(),
            self.seal(CONFIGURATION, &place, &new.copy.to_plaintext()),
            self.seal(OVERRIDES, &place, &Document::default().to_plaintext()),
            Json(new.variables) as _,
            new.credentials.client_id,
            self.seal(CLIENT_SECRET, &place, new.credentials.client_secret.expose().as_bytes()),
            self.seal(HANDLE, &place, new.credentials.handle.expose().as_bytes()),
            handle_hash(&new.credentials.handle).to_vec(),
            now,
            MOST_SLOTS,
            by.actor.to_string(),
            by.address(),
            Action::SlotInstalled.as_str(),
            subject(new.address),
            new.custody.as_str()
        )
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(PutSlot::Done);
        }
        let existing = sqlx::query_scalar!(
            "-- is_slot\nselect exists (select 1 from slots where device = $1 and name = $2) as \"known!\"",
            new.address.device.0,
            new.address.slot.as_str()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(if existing { PutSlot::Conflict } else { PutSlot::NoRoom })
    }

    /// The slots of a device, by name.
    pub async fn list_slots(&self, device: DeviceId) -> Result<Vec<SlotRow>, StoreError> {
        let rows = sqlx::query_as!(
            PlainSlot,
            r#"-- list_slots
            select s.name, s.plugin, s.status, g.expires_at as "expires_at?", g.scope as "scope?", s.version,
                s.acked_version
            from slots s left join grants g on g.device = s.device and g.slot = s.name
            where s.device = $1 order by s.name"#,
            device.0
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(SlotRow::try_from).collect()
    }

    /// A slot by its address.
    pub async fn find_slot(&self, address: &SlotAddress) -> Result<Option<SlotRow>, StoreError> {
        let row = sqlx::query_as!(
            PlainSlot,
            r#"-- find_slot
            select s.name, s.plugin, s.status, g.expires_at as "expires_at?", g.scope as "scope?", s.version,
                s.acked_version
            from slots s left join grants g on g.device = s.device and g.slot = s.name
            where s.device = $1 and s.name = $2"#,
            address.device.0,
            address.slot.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(SlotRow::try_from).transpose()
    }

    /// Removes a slot with its tokens and flows; what is to be revoked at its provider stays, and its versions are
    /// spent for good, with the one more that its `unlinked` may carry. Whether there was one.
    pub async fn delete_slot(
        &self,
        address: &SlotAddress,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await?;
        // The device comes first, as wherever both are held: nobody waits in a ring.
        sqlx::query_scalar!(
            "-- hold_device_of_slot\nselect id from devices where id = $1 for no key update",
            address.device.0
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if hold_slot(&mut transaction, address).await?.is_none() {
            return Ok(false);
        }
        self.revoke_grants_of(&mut transaction, address.device, Some(&address.slot), now).await?;
        sqlx::query!(
            "-- delete_slot
            with gone as (delete from slots where device = $1 and name = $2 returning device, version)
            update devices set versions_spent = greatest(versions_spent, gone.version + 1)
            from gone where id = gone.device",
            address.device.0,
            address.slot.as_str()
        )
        .execute(&mut *transaction)
        .await?;
        let done = NewAudit { by, action: Action::SlotRemoved, subject: Some(&subject(address)) };
        put_audit(&mut *transaction, &done, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// When the copy or the overrides of a slot last changed: an approval given later covers them.
    pub async fn find_configured_at(
        &self,
        address: &SlotAddress,
    ) -> Result<Option<OffsetDateTime>, StoreError> {
        let at = sqlx::query_scalar!(
            "-- find_configured_at\nselect configured_at from slots where device = $1 and name = $2",
            address.device.0,
            address.slot.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(at)
    }
}

pub(super) fn handle_hash(handle: &RefreshHandle) -> [u8; 32] {
    lookup_hash("refresh handle", handle.expose())
}

/// How the audit record names a slot.
pub(super) fn subject(address: &SlotAddress) -> String {
    format!("slot:{address}")
}

struct PlainSlot {
    name: String,
    plugin: String,
    status: String,
    expires_at: Option<OffsetDateTime>,
    scope: Option<String>,
    version: i64,
    acked_version: i64,
}

impl TryFrom<PlainSlot> for SlotRow {
    type Error = StoreError;
    fn try_from(row: PlainSlot) -> Result<Self, StoreError> {
        Ok(Self {
            name: parse_column("slots.name", &row.name)?,
            plugin: parse_column("slots.plugin", &row.plugin)?,
            status: parse_column("slots.status", &row.status)?,
            expires_at: row.expires_at,
            scope: row.scope,
            version: Version(row.version),
            acked_version: Version(row.acked_version),
        })
    }
}
