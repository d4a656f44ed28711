//! The page of one device: its name, its keys, its slots, its password.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use askama::Template;

use super::{
    page::{Around, Complaint, Section, page_with, status},
    refused::Refused,
    slots::SlotCard,
    visit::Visit,
    words::Moment,
};
use crate::{
    domain::ids::{DeviceId, PluginId, SlotAddress},
    flows::{Broker, TrustedKeyRow},
    http::pages::{Shown, assets, policy_with_forms_to},
};

/// The forms of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceForm {
    Name,
    Key,
    Password,
}

/// A form that was not accepted, and why.
pub(super) struct Complained {
    form: DeviceForm,
    complaint: Complaint,
}

impl DeviceForm {
    /// This form was not accepted.
    pub(super) fn complains(self, complaint: Complaint) -> Complained {
        Complained { form: self, complaint }
    }
}

#[derive(Template)]
#[template(path = "console/device.html")]
struct DevicePage {
    around: Around,
    device: DeviceId,
    name: Shown,
    enrolled: Moment,
    keys: Vec<KeyLine>,
    slots: Vec<SlotCard>,
    plugins: Vec<PluginId>,
    more_plugins: bool,
    name_complaint: Option<Complaint>,
    key_complaint: Option<Complaint>,
    password_complaint: Option<Complaint>,
}

struct KeyLine {
    label: Shown,
    key_hash: String,
    added: Moment,
    used: Option<Moment>,
}

impl From<TrustedKeyRow> for KeyLine {
    fn from(row: TrustedKeyRow) -> Self {
        Self {
            label: Shown::name(&row.label),
            key_hash: row.key_hash.0,
            added: Moment::of(row.added_at),
            used: row.last_used_at.map(Moment::of),
        }
    }
}

/// The page of a device, with what was wrong with one of its forms.
pub(super) async fn device_answer(
    broker: &Broker,
    visit: Visit,
    device: DeviceId,
    complained: Option<Complained>,
) -> Result<HttpResponse, Refused> {
    let row = broker.show_device(device).await?.ok_or_else(Refused::not_found)?;
    let keys = broker.show_trust(device).await?.unwrap_or_default();
    let slots = broker.show_slots(device).await?.unwrap_or_default();
    let addresses: Vec<SlotAddress> =
        slots.iter().map(|slot| SlotAddress { device, slot: slot.name.clone() }).collect();
    let last = broker.show_last_links(&addresses).await?;
    let waiting = broker.show_waiting_flows(device).await?;
    let plugins = broker.list_plugins(None).await?;
    let status = status(complained.as_ref().map(|complained| &complained.complaint));
    let (mut name_complaint, mut key_complaint, mut password_complaint) = (None, None, None);
    if let Some(Complained { form, complaint }) = complained {
        match form {
            DeviceForm::Name => name_complaint = Some(complaint),
            DeviceForm::Key => key_complaint = Some(complaint),
            DeviceForm::Password => password_complaint = Some(complaint),
        }
    }
    let names = BTreeMap::from([(row.id, row.name.clone())]);
    let policy = policy_with_forms_to(broker.settings().public_url.origin());
    let page = DevicePage {
        around: visit.around(Section::Devices),
        device,
        name: Shown::name(&row.name),
        enrolled: Moment::of(row.created_at),
        keys: keys.into_iter().map(KeyLine::from).collect(),
        slots: slots
            .iter()
            .zip(&addresses)
            .map(|(slot, address)| SlotCard::of(slot, address, &last, &waiting, &names))
            .collect(),
        more_plugins: plugins.more,
        plugins: plugins.rows.into_iter().map(|plugin| plugin.id).collect(),
        name_complaint,
        key_complaint,
        password_complaint,
    };
    Ok(page_with(status, &page, &policy))
}
