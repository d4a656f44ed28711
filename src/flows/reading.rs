//! What can be asked without changing anything.

use std::collections::BTreeMap;

use super::{Broker, PluginView};
use crate::{
    domain::{
        audit::Action,
        ids::{DeviceId, FlowId, PluginId, SlotAddress},
        plugin,
    },
    store::{
        AuditRow, Counts, DeviceRow, FlowRow, NamedSlot, SlotRow, StoreError, TrustedKeyRow, WaitingFlow,
    },
};

/// Rows on one page of a list.
const PAGE: u8 = 100;
/// Slots that the overview names.
const SLOTS_NAMED: u8 = 20;
/// The ends of a flow, and what else happens to a slot's link.
const OF_LINKS: [Action; 5] =
    [Action::FlowLinked, Action::FlowDenied, Action::FlowFailed, Action::FlowCancelled, Action::SlotUnlinked];

/// A page of a list.
#[derive(Debug)]
pub struct Listed<T> {
    /// What is on it.
    pub rows: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}

impl<T> Listed<T> {
    /// Of one row more than fits, if there is one.
    fn of(mut rows: Vec<T>, limit: u8) -> Self {
        let more = rows.len() > usize::from(limit);
        rows.truncate(limit.into());
        Self { rows, more }
    }
}

/// What the owner is shown first.
#[derive(Debug)]
pub struct Overview {
    /// How much there is.
    pub counts: Counts,
    /// Plugins that wait for approval, or that their author should look at.
    pub plugins: Vec<PluginView>,
    /// Slots whose user must link them again, some of them.
    pub slots: Vec<NamedSlot>,
}

/// Which part of the audit record is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditPage {
    /// What was recorded before this entry, or the newest.
    Before(Option<i64>),
    /// What was recorded right after this entry.
    After(i64),
    /// What was recorded of one subject before this entry, or the newest.
    Of(String, Option<i64>),
}

/// What is asked when a plugin is installed in a slot.
#[derive(Debug)]
pub struct Installation {
    /// The plugin.
    pub plugin: PluginView,
    /// Its variables, by name.
    pub variables: Vec<VariableView>,
    /// Whether the slot that was asked about is there.
    pub again: bool,
}

/// A variable of a plugin.
#[derive(Debug)]
pub struct VariableView {
    /// Its name.
    pub name: String,
    /// What the home owner is asked for.
    pub title: Option<String>,
    /// Its value in the slot, or the default.
    pub value: Option<String>,
    /// The only values allowed, where not empty.
    pub allowed: Vec<String>,
}

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

    /// A page of the audit record, newest first.
    pub async fn show_audit_page(&self, page: &AuditPage) -> Result<Listed<AuditRow>, StoreError> {
        let limit = PAGE + 1;
        Ok(match page {
            AuditPage::Before(before) => Listed::of(self.store.list_audit(*before, limit).await?, PAGE),
            AuditPage::Of(subject, before) => {
                Listed::of(self.store.list_audit_of_subject(subject, *before, limit).await?, PAGE)
            }
            // What is too much here is the newest.
            AuditPage::After(after) => {
                Listed { rows: self.store.list_audit_after(*after, PAGE).await?, more: true }
            }
        })
    }

    /// What last happened to the link of each of these slots.
    pub async fn show_last_links(&self, slots: &[SlotAddress]) -> Result<Vec<AuditRow>, StoreError> {
        let subjects: Vec<String> = slots.iter().map(|address| format!("slot:{address}")).collect();
        self.store.list_latest_audit(&subjects, &OF_LINKS).await
    }

    /// What the owner is shown first.
    pub async fn show_overview(&self) -> Result<Overview, StoreError> {
        let counts = self.store.count_all().await?;
        let mut plugins = self.show_plugins().await?;
        plugins.retain(|plugin| plugin.quarantined || !plugin.warnings.is_empty());
        plugins.sort_by_key(|plugin| !plugin.quarantined);
        let slots = self.store.list_slots_to_reauthorize(SLOTS_NAMED).await?;
        Ok(Overview { counts, plugins, slots })
    }

    /// Plugins by id, from behind `after` on.
    pub async fn list_plugins(&self, after: Option<&PluginId>) -> Result<Listed<PluginView>, StoreError> {
        let rows = self.store.list_plugins_after(after, PAGE + 1).await?;
        Ok(Listed::of(rows.iter().map(|row| self.view_plugin(row)).collect(), PAGE))
    }

    /// Devices, oldest first, from behind `after` on.
    pub async fn list_devices(&self, after: Option<DeviceId>) -> Result<Listed<DeviceRow>, StoreError> {
        Ok(Listed::of(self.store.list_devices_after(after, PAGE + 1).await?, PAGE))
    }

    /// What people call these devices.
    pub async fn name_devices(&self, devices: &[DeviceId]) -> Result<BTreeMap<DeviceId, String>, StoreError> {
        Ok(self.store.list_device_names(devices).await?.into_iter().collect())
    }

    /// The flows of a device that wait for their confirm code, newest first.
    pub async fn show_waiting_flows(&self, device: DeviceId) -> Result<Vec<WaitingFlow>, StoreError> {
        self.store.list_flows_to_confirm(device, self.now()).await
    }

    /// What is asked when `plugin` is installed at `address`, filled in with what the slot has; `None` where there
    /// is no such plugin.
    pub async fn show_installation(
        &self,
        plugin: &PluginId,
        address: Option<&SlotAddress>,
    ) -> Result<Option<Installation>, StoreError> {
        let Some(row) = self.store.find_plugin(plugin).await? else { return Ok(None) };
        let state = match address {
            Some(address) => self.store.find_state(address).await?,
            None => None,
        };
        let present = state.as_ref().map(|state| &state.configuration.variables);
        // A configuration that today's rules refuse can't be installed, and asks for nothing.
        let known = plugin::parse(&row.configuration, self.settings.egress)
            .map(|parsed| parsed.configuration.variables);
        let view = |(name, variable): (String, plugin::Variable)| VariableView {
            value: present.and_then(|present| present.get(&name).cloned()).or(variable.default),
            title: variable.title,
            allowed: variable.allowed.into_iter().collect(),
            name,
        };
        let variables = known.unwrap_or_default().into_iter().map(view).collect();
        Ok(Some(Installation { plugin: self.view_plugin(&row), variables, again: state.is_some() }))
    }
}
