//! What the relay reads: slots in their newest state, and acknowledgements.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::types::Json;

use super::{
    Store, StoreError,
    grants::TOKENS,
    parse_column,
    slots::{CLIENT_SECRET, CONFIGURATION, HANDLE, OVERRIDES, handle_hash},
};
use crate::{
    domain::{
        delivery::Delivery,
        ids::{DeviceId, KeyHash, SlotAddress, SlotName, Version},
        secret::{ClientSecret, RefreshHandle},
        slot::{Ack, SlotConfiguration, SlotCredentials, SlotState, SlotStatus},
        tokens::TokenSet,
    },
    vault::{jwe::RecipientKey, trusted::TrustedKey},
};

macro_rules! select_states {
    ($name:literal, $condition:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            SealedState,
            "-- " + $name + "
            select s.device, s.name, s.plugin, s.configuration, s.overrides,
                s.variables as \"variables: Json<BTreeMap<String, String>>\", s.client_id, s.client_secret, s.handle,
                s.custody, s.status, s.reason, s.version, s.acked_version, s.configuration_version, s.tokens_version,
                s.link_version, g.tokens as \"tokens?\", s.seal_to, k.spki as \"recipient?\"
            from slots s left join grants g on g.device = s.device and g.slot = s.name
                left join trusted_keys k on k.device = s.device and k.key_hash = s.seal_to
            where " + $condition,
            $($argument),*
        )
    };
}

impl Store {
    /// The states of all slots of these devices, by name, each with its device. One query. What can't be opened or
    /// understood is an error of its own, so that it does not keep others from being read.
    pub async fn list_states(
        &self,
        devices: &[DeviceId],
    ) -> Result<Vec<(DeviceId, Result<SlotState, StoreError>)>, StoreError> {
        let devices: Vec<uuid::Uuid> = devices.iter().map(|device| device.0).collect();
        let rows = select_states!("list_states", "s.device = any($1) order by s.device, s.name", &devices)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|row| (DeviceId(row.device), self.open_state(row))).collect())
    }

    /// The same of these slots alone, as far as they exist. One query.
    pub async fn find_states(
        &self,
        addresses: &[SlotAddress],
    ) -> Result<Vec<(DeviceId, Result<SlotState, StoreError>)>, StoreError> {
        let devices: Vec<uuid::Uuid> = addresses.iter().map(|address| address.device.0).collect();
        let slots: Vec<String> = addresses.iter().map(|address| address.slot.to_string()).collect();
        let rows = select_states!(
            "find_states",
            "(s.device, s.name) in (select device, name from unnest($1::uuid[], $2::text[]) as wanted (device, name))",
            &devices,
            &slots
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (DeviceId(row.device), self.open_state(row))).collect())
    }

    /// The state of one slot.
    pub async fn find_state(&self, address: &SlotAddress) -> Result<Option<SlotState>, StoreError> {
        let row = select_states!(
            "find_state",
            "s.device = $1 and s.name = $2",
            address.device.0,
            address.slot.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| self.open_state(row)).transpose()
    }

    /// The state of the slot whose plugin holds this in place of a refresh token.
    pub async fn find_state_by_handle(
        &self,
        handle: &RefreshHandle,
    ) -> Result<Option<SlotState>, StoreError> {
        let hash = handle_hash(handle).to_vec();
        let row = select_states!("find_state_by_handle", "s.handle_hash = $1", hash)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| self.open_state(row)).transpose()
    }

    /// The state of the slot that has this client id of its own.
    pub async fn find_state_by_client(&self, client_id: &str) -> Result<Option<SlotState>, StoreError> {
        let row = select_states!("find_state_by_client", "s.client_id = $1", client_id)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| self.open_state(row)).transpose()
    }

    /// The newest version of every slot of these devices.
    pub async fn list_versions(
        &self,
        devices: &[DeviceId],
    ) -> Result<Vec<(DeviceId, SlotName, Version)>, StoreError> {
        let devices: Vec<uuid::Uuid> = devices.iter().map(|device| device.0).collect();
        let rows = sqlx::query!(
            "-- list_versions\nselect device, name, version from slots where device = any($1)",
            &devices
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok((DeviceId(row.device), parse_column("slots.name", &row.name)?, Version(row.version)))
            })
            .collect()
    }

    /// Acknowledges all versions of a slot up to `version`, and under device custody erases the tokens that this
    /// covers: they are the plugin's now. One guarded statement: what is repeated or lies in the future changes
    /// nothing, and tokens that came meanwhile stay, since the slot is read anew once it is held. So do tokens that are being
    /// refreshed, from before the custody changed: what the refresh brings is told, and handed over, in its turn.
    pub async fn ack(&self, address: &SlotAddress, version: Version) -> Result<Ack, StoreError> {
        let acked = sqlx::query_scalar!(
            "-- ack
            with acked as (
                update slots set acked_version = $3
                where device = $1 and name = $2 and acked_version < $3 and $3 <= version
                returning device, name, custody, tokens_version, seal_to),
            handed_over as (
                delete from grants g using acked a
                where g.device = a.device and g.slot = a.name and a.custody = 'device' and a.tokens_version <= $3
                  and g.refresh_lease_until is null
                  -- Not what was withheld: the plugin has never seen it.
                  and (a.seal_to is null or exists (
                      select 1 from trusted_keys k where k.device = a.device and k.key_hash = a.seal_to)))
            select device from acked",
            address.device.0,
            address.slot.as_str(),
            version.0
        )
        .fetch_optional(&self.pool)
        .await?;
        if acked.is_some() {
            return Ok(Ack::Advanced);
        }
        let known = sqlx::query_scalar!(
            "-- ack_of_known_slot
            select exists (select 1 from slots where device = $1 and name = $2) as \"known!\"",
            address.device.0,
            address.slot.as_str()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(if known { Ack::Unchanged } else { Ack::UnknownSlot })
    }

    fn open_state(&self, row: SealedState) -> Result<SlotState, StoreError> {
        let slot: SlotName = parse_column("slots.name", &row.name)?;
        let address = SlotAddress { device: DeviceId(row.device), slot };
        let place = address.to_string();
        let tokens = match row.tokens {
            None => None,
            Some(sealed) => {
                let plaintext = self.open(TOKENS, &place, &sealed)?;
                let tokens = TokenSet::from_plaintext(&plaintext);
                Some(tokens.map_err(|_| StoreError::Row { column: TOKENS.name })?)
            }
        };
        let delivery = delivery(row.seal_to.as_deref(), row.recipient.as_deref())?;
        Ok(SlotState {
            plugin: parse_column("slots.plugin", &row.plugin)?,
            configuration: SlotConfiguration {
                copy: self.open_document(CONFIGURATION, &place, &row.configuration)?,
                overrides: self.open_document(OVERRIDES, &place, &row.overrides)?,
                variables: row.variables.0,
                seal_to: row.seal_to.map(KeyHash),
            },
            credentials: SlotCredentials {
                client_id: row.client_id,
                client_secret: ClientSecret::new(
                    self.open_text(CLIENT_SECRET, &place, &row.client_secret)?.as_str(),
                ),
                handle: RefreshHandle::new(self.open_text(HANDLE, &place, &row.handle)?.as_str()),
            },
            custody: parse_column("slots.custody", &row.custody)?,
            status: parse_column::<SlotStatus>("slots.status", &row.status)?,
            version: Version(row.version),
            acked_version: Version(row.acked_version),
            configuration_version: Version(row.configuration_version),
            tokens_version: Version(row.tokens_version),
            link_version: Version(row.link_version),
            reason: row.reason,
            tokens,
            delivery,
            address,
        })
    }
}

/// How a slot's tokens leave: its `seal_to`, and the trusted key that this names.
pub(super) fn delivery(seal_to: Option<&str>, spki: Option<&[u8]>) -> Result<Delivery, StoreError> {
    Ok(match (seal_to, spki) {
        (None, _) => Delivery::Plain,
        (Some(_), Some(spki)) => Delivery::Sealed(Arc::new(recipient(spki)?)),
        (Some(_), None) => Delivery::Withheld,
    })
}

fn recipient(spki: &[u8]) -> Result<RecipientKey, StoreError> {
    let key = TrustedKey::from_spki(spki).ok();
    key.as_ref().and_then(RecipientKey::of).ok_or(StoreError::Row { column: "trusted_keys.spki" })
}

struct SealedState {
    device: uuid::Uuid,
    name: String,
    plugin: String,
    configuration: Vec<u8>,
    overrides: Vec<u8>,
    variables: Json<BTreeMap<String, String>>,
    client_id: String,
    client_secret: Vec<u8>,
    handle: Vec<u8>,
    custody: String,
    status: String,
    reason: Option<String>,
    version: i64,
    acked_version: i64,
    configuration_version: i64,
    tokens_version: i64,
    link_version: i64,
    tokens: Option<Vec<u8>>,
    seal_to: Option<String>,
    recipient: Option<Vec<u8>>,
}
