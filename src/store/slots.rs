//! Slots: a plugin's copy of its configuration, installed on a device.

use std::collections::BTreeMap;

use sqlx::types::Json;
use time::OffsetDateTime;

use super::{
    Column, Store, StoreError,
    audit::{NewAudit, put_audit},
    column, parse_column,
    unlink::end_flows_of_slot,
};
use crate::{
    domain::{
        audit::{Action, Origin},
        ids::{DeviceId, KeyHash, PluginId, SlotAddress, SlotName, Version},
        plugin::Document,
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
    /// Fresh credentials; a slot that exists keeps its own.
    pub credentials: &'a SlotCredentials,
}

/// What becomes of a slot's tokens when its configuration changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokensAfterChange {
    /// They are still for the same client at the same hosts.
    Keep,
    /// They must not go to the new client or hosts: erased, and flows under way ended.
    Erase,
}

/// Why a slot's configuration changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconfiguration<'a> {
    /// The plugin was installed again, by somebody.
    Installed(&'a Origin),
    /// Its overrides changed.
    Overridden(SealTo<'a>),
}

/// What becomes of a slot's `seal_to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealTo<'a> {
    /// It stays, be the key trusted or not.
    AsBefore,
    /// This trusted key.
    Key(&'a KeyHash),
    /// None any more.
    Nobody,
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
    /// Installs a slot that does not exist yet.
    pub async fn create_slot(
        &self,
        new: &NewSlot<'_>,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<PutSlot, StoreError> {
        let place = new.address.to_string();
        let done = sqlx::query!(
            "-- create_slot
            with created as (
                insert into slots (device, name, plugin, configuration, overrides, variables, client_id,
                    client_secret, handle, handle_hash, status, version, acked_version, configuration_version,
                    tokens_version, link_version, configured_at, installed_at)
                select id, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'unlinked', 1, 0, 1, 0, 0, $11, $11
                from devices where id = $1 and (select count(*) from slots where device = $1) < $12
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
            lookup_hash("refresh handle", new.credentials.handle.expose()).to_vec(),
            now,
            MOST_SLOTS,
            by.actor.to_string(),
            by.address(),
            Action::SlotInstalled.as_str(),
            subject(new.address)
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

    /// Gives a slot another configuration, guarded by the version that the caller looked at. Where tokens must not
    /// outlive the change they go in the same transaction, and so do the flows that would bring new ones. Another
    /// `seal_to` makes the tokens news, in their new form; the lock keeps its key trusted until this is committed.
    pub async fn reconfigure_slot(
        &self,
        new: &NewSlot<'_>,
        overrides: &Document,
        seen: Version,
        tokens: TokensAfterChange,
        why: Reconfiguration<'_>,
        now: OffsetDateTime,
    ) -> Result<PutSlot, StoreError> {
        let place = new.address.to_string();
        let (device, slot) = (new.address.device.0, new.address.slot.as_str());
        let (resealed, seal_to) = match why {
            Reconfiguration::Installed(_) | Reconfiguration::Overridden(SealTo::AsBefore) => (false, None),
            Reconfiguration::Overridden(SealTo::Nobody) => (true, None),
            Reconfiguration::Overridden(SealTo::Key(key)) => (true, Some(key.0.as_str())),
        };
        let mut transaction = self.pool.begin().await?;
        let done = sqlx::query!(
            "-- reconfigure_slot
            with recipient as (
                select key_hash from trusted_keys where device = $1 and key_hash = $10 for key share)
            update slots set plugin = $3, configuration = $4, overrides = $5, variables = $6, configured_at = $7,
                version = version + 1, configuration_version = version + 1,
                seal_to = case when $9::boolean then $10 else seal_to end,
                tokens_version = case when $9 then version + 1 else tokens_version end
            where device = $1 and name = $2 and version = $8
                and ($10::text is null or exists (select from recipient))",
            device,
            slot,
            new.plugin.as_str(),
            self.seal(CONFIGURATION, &place, &new.copy.to_plaintext()),
            self.seal(OVERRIDES, &place, &overrides.to_plaintext()),
            Json(new.variables) as _,
            now,
            seen.0,
            resealed,
            seal_to
        )
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(PutSlot::Conflict);
        }
        if tokens == TokensAfterChange::Erase {
            sqlx::query!(
                "-- erase_tokens
                with gone as (delete from grants where device = $1 and slot = $2)
                update slots set status = 'unlinked', reason = null, link_version = version, tokens_version = version,
                    handle = $3, handle_hash = $4
                where device = $1 and name = $2 and status <> 'unlinked'",
                device,
                slot,
                self.seal(HANDLE, &place, new.credentials.handle.expose().as_bytes()),
                lookup_hash("refresh handle", new.credentials.handle.expose()).to_vec()
            )
            .execute(&mut *transaction)
            .await?;
            end_flows_of_slot(&mut transaction, new.address, now).await?;
        }
        if tokens == TokensAfterChange::Keep {
            // Another margin, custody or secret: look again. Not while the provider asks for a rest; and who is
            // asking it now sees by the configuration's version that somebody must look again.
            sqlx::query!(
                "-- look_again_at_grant
                update grants set refresh_at = $3, refresh_set_at = $3, refresh_hold_until = null
                where device = $1 and slot = $2 and refresh_lease_until is null
                  and refresh_trouble is distinct from 'provider'",
                device,
                slot,
                now
            )
            .execute(&mut *transaction)
            .await?;
        }
        if let Reconfiguration::Installed(by) = why {
            let done = NewAudit { by, action: Action::SlotInstalled, subject: Some(&subject(new.address)) };
            put_audit(&mut *transaction, &done, now).await?;
        }
        transaction.commit().await?;
        Ok(PutSlot::Done)
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

    /// Removes a slot with its tokens and flows. Whether there was one.
    pub async fn delete_slot(
        &self,
        address: &SlotAddress,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "-- delete_slot
            with gone as (delete from slots where device = $1 and name = $2 returning name)
            insert into audit (at, actor, address, action, subject) select $3, $4, $5, $6, $7 from gone",
            address.device.0,
            address.slot.as_str(),
            now,
            by.actor.to_string(),
            by.address(),
            Action::SlotRemoved.as_str(),
            subject(address)
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
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
