//! Starting a flow: one at a time for a device, on the configuration that its slot has at that very moment.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::{
    Store, StoreError,
    flows::{CONFIGURATION, FlowConfiguration, redirect_word},
    parse_column, slots,
};
use crate::{
    domain::{
        binding::{ClientNetwork, ConsentBinding},
        flow::ReturnUrl,
        ids::{FlowId, KeyHash, PluginId, SlotAddress, Version},
        plugin::RedirectUriKind,
        secret::UserCode,
        slot::SlotConfiguration,
    },
    vault::lookup_hash,
};

/// A flow to start.
pub struct NewFlow<'a> {
    /// Its id.
    pub id: FlowId,
    /// The slot to link.
    pub address: &'a SlotAddress,
    /// The slot's plugin.
    pub plugin: &'a PluginId,
    /// What people call the plugin's service.
    pub plugin_name: &'a str,
    /// What it fixes.
    pub configuration: &'a FlowConfiguration,
    /// The version of the slot's configuration that this was read from.
    pub configuration_version: Version,
    /// The redirect URI it will send.
    pub redirect_uri: &'a str,
    /// Which of the two that is.
    pub redirect_kind: RedirectUriKind,
    /// Where the browser goes in the end.
    pub return_url: Option<&'a ReturnUrl>,
    /// Whether a code will be asked.
    pub binding: ConsentBinding,
    /// Where the device, or the owner, calls from.
    pub device_network: ClientNetwork,
    /// What a person can type at `/link`.
    pub user_code: &'a UserCode,
    /// When it runs out.
    pub expires_at: OffsetDateTime,
}

/// A slot as a flow needs it: neither its tokens nor its secrets.
#[derive(Debug)]
pub struct SlotToLink {
    /// Which one.
    pub address: SlotAddress,
    /// Its plugin.
    pub plugin: PluginId,
    /// What it is configured with.
    pub configuration: SlotConfiguration,
    /// The version of that.
    pub configuration_version: Version,
    /// The authorization origin that the plugin claims as the store has it, where nobody else's claim could stand
    /// against that one.
    pub uncontested: Option<String>,
}

/// Bounds on the flows of one device.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Under way at once.
    pub open: u32,
    /// Started since `recently`, ended ones included: who starts and cancels in a loop fills no table.
    pub started: u32,
    /// Since when `started` counts.
    pub recently: OffsetDateTime,
}

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It is pending.
    Pending,
    /// The device has too many under way.
    TooMany,
    /// The slot was configured anew meanwhile, or is gone: read it again.
    Conflict,
}

impl Store {
    /// Starts a flow, unless the device has too many under way, or the slot's configuration has changed since it
    /// was read. One statement: holding the device makes starts take turns, so that parallel ones can't exceed the
    /// bound (`may_start_flow` counts once it is held); holding the slot lets a change of its configuration come before,
    /// or find the flow and end it.
    pub async fn start_flow(
        &self,
        new: &NewFlow<'_>,
        limits: Limits,
        now: OffsetDateTime,
    ) -> Result<Started, StoreError> {
        let fixed = json!({
            "document": new.configuration.document.members(),
            "variables": new.configuration.variables,
        });
        let sealed = self.seal(CONFIGURATION, &new.id.to_string(), fixed.to_string().as_bytes());
        let done = sqlx::query!(
            "-- start_flow
            with held as (
                select s.device, s.name from devices d join slots s on s.device = d.id
                where d.id = $2 and s.name = $3 and s.configuration_version = $18 for no key update),
            started as (
                insert into flows (id, device, slot, plugin, plugin_name, status, configuration, redirect_uri,
                    redirect_kind, return_url, binding, device_network, user_code_hash, created_at, expires_at)
                select $1, device, name, $4, $5, 'pending', $6, $7, $8, $9, $10, $11, $12, $13, $14
                from held where may_start_flow(device, $13, $15, $16, $17)
                returning id)
            select exists (select from held) as \"held!\", exists (select from started) as \"started!\"",
            new.id.0,
            new.address.device.0,
            new.address.slot.as_str(),
            new.plugin.as_str(),
            new.plugin_name,
            sealed,
            new.redirect_uri,
            redirect_word(new.redirect_kind),
            new.return_url.map(ReturnUrl::as_str),
            new.binding.as_str(),
            new.device_network.to_string(),
            lookup_hash("user code", new.user_code.expose()).to_vec(),
            now,
            new.expires_at,
            i64::from(limits.open),
            limits.recently,
            i64::from(limits.started),
            new.configuration_version.0
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(match (done.held, done.started) {
            (_, true) => Started::Pending,
            (true, false) => Started::TooMany,
            (false, false) => Started::Conflict,
        })
    }

    /// What a flow of this slot would start from.
    pub async fn find_slot_to_link(&self, address: &SlotAddress) -> Result<Option<SlotToLink>, StoreError> {
        let row = sqlx::query!(
            "-- find_slot_to_link
            select s.plugin, s.configuration, s.overrides, s.seal_to, s.configuration_version,
                s.variables as \"variables: Json<BTreeMap<String, String>>\",
                case when not exists (
                    select from plugins other where not other.quarantined and other.id <> p.id
                      and (other.auth_origin = p.auth_origin or strpos(other.auth_origin, '{') > 0
                           or strpos(p.auth_origin, '{') > 0)) then p.auth_origin end as uncontested
            from slots s left join plugins p on p.id = s.plugin
            where s.device = $1 and s.name = $2",
            address.device.0,
            address.slot.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let place = address.to_string();
        Ok(Some(SlotToLink {
            address: address.clone(),
            plugin: parse_column("slots.plugin", &row.plugin)?,
            configuration: SlotConfiguration {
                copy: self.open_document(slots::CONFIGURATION, &place, &row.configuration)?,
                overrides: self.open_document(slots::OVERRIDES, &place, &row.overrides)?,
                variables: row.variables.0,
                seal_to: row.seal_to.map(KeyHash),
            },
            configuration_version: Version(row.configuration_version),
            uncontested: row.uncontested,
        }))
    }
}
