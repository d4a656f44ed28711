//! Starting a flow: one at a time for a device, on the configuration that its slot has at that very moment.

use serde_json::json;
use time::OffsetDateTime;

use super::{
    Store, StoreError,
    flows::{CONFIGURATION, FlowConfiguration, redirect_word},
};
use crate::{
    domain::{
        binding::{ClientNetwork, ConsentBinding},
        flow::ReturnUrl,
        ids::{FlowId, PluginId, SlotAddress, Version},
        plugin::RedirectUriKind,
        secret::UserCode,
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
    /// was read. Holding the device makes starts take turns, so that parallel ones can't exceed the bound; holding
    /// the slot lets a change of its configuration come before, or find the flow and end it.
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
        let mut transaction = self.pool.begin().await?;
        let version = sqlx::query_scalar!(
            "-- hold_device_and_slot
            select s.configuration_version from devices d join slots s on s.device = d.id
            where d.id = $1 and s.name = $2 for no key update",
            new.address.device.0,
            new.address.slot.as_str()
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if version != Some(new.configuration_version.0) {
            return Ok(Started::Conflict);
        }
        let done = sqlx::query!(
            "-- start_flow
            insert into flows (id, device, slot, plugin, plugin_name, status, configuration, redirect_uri,
                redirect_kind, return_url, binding, device_network, user_code_hash, created_at, expires_at)
            select $1, device, name, $4, $5, 'pending', $6, $7, $8, $9, $10, $11, $12, $13, $14
            from slots where device = $2 and name = $3
              and (select count(*) from flows where device = $2
                   and status in ('pending', 'authorizing', 'exchanging', 'confirm') and expires_at > $13) < $15
              and (select count(*) from flows where device = $2 and created_at > $16) < $17",
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
            i64::from(limits.started)
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(if done.rows_affected() == 1 { Started::Pending } else { Started::TooMany })
    }
}
