//! Installing a plugin in a slot of a device: which slot, and the values that the plugin asks for.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use askama::Template;

use super::{
    page::{Around, Complaint, Section, done, page, status},
    refused::Refused,
    visit::{Posted, Visit},
    words::{device_page, slot_page},
};
use crate::{
    domain::ids::{DeviceId, PluginId, SlotAddress, SlotName},
    flows::{Broker, Installation, Installed},
    http::{
        extract::{DevicePath, QueryPairs},
        pages::{Shown, assets},
    },
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/admin/devices/{device}/install")
            .route(web::get().to(show))
            .route(web::post().to(install)),
    );
}

#[derive(Template)]
#[template(path = "console/install.html")]
struct InstallPage {
    around: Around,
    complaint: Option<Complaint>,
    action: String,
    back: String,
    device_name: Shown,
    plugin: PluginId,
    slot: Shown,
    variables: Vec<VariableField>,
    again: bool,
}

struct VariableField {
    name: String,
    title: Shown,
    value: String,
    allowed: Vec<String>,
}

/// What the form says by now.
#[derive(Default)]
struct Typed {
    slot: String,
    variables: BTreeMap<String, String>,
}

async fn show(
    broker: web::Data<Broker>,
    visit: Visit,
    path: DevicePath,
    query: QueryPairs,
) -> Result<HttpResponse, Refused> {
    let plugin: PluginId =
        query.one("plugin")?.and_then(|id| id.parse().ok()).ok_or_else(Refused::not_found)?;
    let slot = query.one("slot")?.and_then(|name| name.parse::<SlotName>().ok());
    let address = slot.map(|slot| SlotAddress { device: path.device, slot });
    let found = broker.show_installation(&plugin, address.as_ref()).await?.ok_or_else(Refused::not_found)?;
    let slot = address.map_or_else(|| plugin.to_string(), |address| address.slot.to_string());
    install_page(&broker, visit, path.device, found, Typed { slot, ..Typed::default() }, None).await
}

async fn install(
    broker: web::Data<Broker>,
    posted: Posted,
    path: DevicePath,
) -> Result<HttpResponse, Refused> {
    let plugin: PluginId = posted.field("plugin").parse().map_err(|_| Refused::not_found())?;
    let again = posted.field("again") == "yes";
    // A field that is left empty says nothing: the default holds.
    let given = posted.fields_below("variable.").filter(|(_, value)| !value.is_empty());
    let variables: BTreeMap<String, String> =
        given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let typed = posted.field("slot").trim().to_owned();
    let address = typed.parse().map(|slot| SlotAddress { device: path.device, slot });
    let complaint = match &address {
        Err(error) => Complaint::about("/slot", error),
        Ok(address) if !again && broker.show_slot(address).await?.is_some() => Complaint::about(
            "/slot",
            &"is there already: choose another name, or install again on its own page",
        ),
        Ok(address) => {
            match broker.install(address, &plugin, Some(variables.clone()), &posted.visit.origin()).await {
                Ok(Installed::Created) => return Ok(done(&slot_page(address), "slot-installed")),
                Ok(Installed::Replaced) => return Ok(done(&slot_page(address), "slot-again")),
                Err(error) => Complaint::of(error)?,
            }
        }
    };
    let known = address.ok().filter(|_| again);
    let found = broker.show_installation(&plugin, known.as_ref()).await?.ok_or_else(Refused::not_found)?;
    let typed = Typed { slot: typed, variables };
    install_page(&broker, posted.visit, path.device, found, typed, Some(complaint)).await
}

async fn install_page(
    broker: &Broker,
    visit: Visit,
    device: DeviceId,
    found: Installation,
    typed: Typed,
    complaint: Option<Complaint>,
) -> Result<HttpResponse, Refused> {
    let row = broker.show_device(device).await?.ok_or_else(Refused::not_found)?;
    let Typed { slot, mut variables } = typed;
    let fields = found
        .variables
        .into_iter()
        .map(|variable| VariableField {
            title: Shown::capped(variable.title.as_deref().unwrap_or(&variable.name), 120),
            value: variables.remove(&variable.name).or(variable.value).unwrap_or_default(),
            allowed: variable.allowed,
            name: variable.name,
        })
        .collect();
    let page_of = InstallPage {
        around: visit.around(Section::Devices),
        action: format!("{}/install", device_page(device)),
        back: device_page(device),
        device_name: Shown::name(&row.name),
        plugin: found.plugin.id,
        slot: Shown::capped(&slot, 63),
        variables: fields,
        again: found.again,
        complaint,
    };
    Ok(page(status(page_of.complaint.as_ref()), &page_of))
}
