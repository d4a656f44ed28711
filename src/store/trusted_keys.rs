//! The public keys that speak for a device.

use time::OffsetDateTime;

use super::{Store, StoreError, parse_column};
use crate::domain::{
    audit::{Action, Origin},
    ids::{DeviceId, KeyHash, SlotName},
};

/// Trusted keys a device may have.
const MOST_KEYS: i64 = 32;

/// A trusted key as it is stored.
#[derive(Debug, Clone)]
pub struct TrustedKeyRow {
    /// Names it.
    pub key_hash: KeyHash,
    /// What people call it.
    pub label: String,
    /// Its SPKI, DER.
    pub spki: Vec<u8>,
    /// Since when it is trusted.
    pub added_at: OffsetDateTime,
    /// When it last obtained a token.
    pub last_used_at: Option<OffsetDateTime>,
}

/// What became of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddKey {
    /// It is trusted.
    Added,
    /// It was trusted already; its label is the new one.
    Relabelled,
    /// The device has as many as it may.
    TooMany,
    /// There is no such device.
    UnknownDevice,
}

/// What became of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoveKey {
    /// It is no longer trusted, and neither are the tokens that it obtained.
    Removed,
    /// It was not trusted.
    UnknownKey,
    /// Tokens of these slots are sealed to it, so it stays.
    InUse(Vec<SlotName>),
}

impl Store {
    /// Trusts a key. Tokens that were withheld for want of it are news again. Who adds keys to one device takes turns:
    /// each counts what the one before has added.
    pub async fn add_trusted_key(
        &self,
        device: DeviceId,
        key_hash: &KeyHash,
        label: &str,
        spki: &[u8],
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<AddKey, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let held = sqlx::query_scalar!(
            "-- hold_device_for_a_key\nselect id from devices where id = $1 for no key update",
            device.0
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if held.is_none() {
            return Ok(AddKey::UnknownDevice);
        }
        let fresh = sqlx::query_scalar!(
            r#"-- add_trusted_key
            with room as (select count(*) < $6 or bool_or(key_hash = $2) as free from trusted_keys where device = $1),
            added as (
                insert into trusted_keys (device, key_hash, label, spki, added_at)
                select $1, $2, $3, $4, $5 from room where room.free
                on conflict (device, key_hash) do update set label = excluded.label
                returning (xmax = 0) as fresh),
            resumed as (
                update slots set version = version + 1, tokens_version = version + 1
                from added where fresh and device = $1 and seal_to = $2),
            audited as (
                insert into audit (at, actor, address, action, subject, detail)
                select $5, $7, $8, $9, 'device:' || $1::uuid, $2 from added where fresh)
            select fresh as "fresh!" from added"#,
            device.0,
            key_hash.0,
            label,
            spki,
            now,
            MOST_KEYS,
            by.actor.to_string(),
            by.address(),
            Action::KeyAdded.as_str()
        )
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(match fresh {
            None => AddKey::TooMany,
            Some(true) => AddKey::Added,
            Some(false) => AddKey::Relabelled,
        })
    }

    /// The keys of a device, oldest first.
    pub async fn list_trusted_keys(&self, device: DeviceId) -> Result<Vec<TrustedKeyRow>, StoreError> {
        let rows = sqlx::query!(
            "-- list_trusted_keys
            select key_hash, label, spki, added_at, last_used_at from trusted_keys
            where device = $1 order by added_at, key_hash",
            device.0
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| TrustedKeyRow {
                key_hash: KeyHash(row.key_hash),
                label: row.label,
                spki: row.spki,
                added_at: row.added_at,
                last_used_at: row.last_used_at,
            })
            .collect())
    }

    /// Ends the trust in a key and in the tokens that it obtained, at once and together; but not where a slot's
    /// tokens are sealed to it. Who makes a slot so holds the key's row meanwhile, and is waited for: only what is
    /// asked after that sees the slot.
    pub async fn remove_trusted_key(
        &self,
        device: DeviceId,
        key_hash: &KeyHash,
        by: &Origin,
        now: OffsetDateTime,
        forget_at: OffsetDateTime,
    ) -> Result<RemoveKey, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let held = sqlx::query!(
            "-- hold_trusted_key
            with owner as (select id from devices where id = $1 for no key update)
            select from trusted_keys k join owner on k.device = owner.id where k.key_hash = $2 for update of k",
            device.0,
            key_hash.0
        )
        .execute(&mut *transaction)
        .await?;
        if held.rows_affected() == 0 {
            return Ok(RemoveKey::UnknownKey);
        }
        let sealed = sqlx::query_scalar!(
            "-- list_slots_sealed_to\nselect name from slots where device = $1 and seal_to = $2 order by name",
            device.0,
            key_hash.0
        )
        .fetch_all(&mut *transaction)
        .await?;
        if !sealed.is_empty() {
            let slots =
                sealed.iter().map(|name| parse_column("slots.name", name)).collect::<Result<_, _>>()?;
            return Ok(RemoveKey::InUse(slots));
        }
        sqlx::query!(
            "-- remove_trusted_key
            with gone as (
                delete from trusted_keys where device = $1 and key_hash = $2 returning device, key_hash),
            audited as (
                insert into audit (at, actor, address, action, subject, detail)
                select $3, $5, $6, $7, 'device:' || device, key_hash from gone)
            insert into revocations (device, key_hash, revoked_at, forget_at)
            select device, key_hash, $3, $4 from gone",
            device.0,
            key_hash.0,
            now,
            forget_at,
            by.actor.to_string(),
            by.address(),
            Action::KeyRemoved.as_str()
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(RemoveKey::Removed)
    }
}
