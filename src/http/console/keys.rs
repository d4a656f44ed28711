//! A device's trusted keys. What was pasted as a key is never shown again: it may be the wrong half.

use actix_web::{HttpResponse, web};
use serde_json::Value;

use super::{
    device_page::{DeviceForm, device_answer},
    page::{Complaint, Section, SurePage, done},
    refused::Refused,
    visit::{Posted, Visit},
    words::device_page,
};
use crate::{
    domain::{
        ids::{DeviceId, KeyHash},
        json,
        label::Label,
    },
    flows::{Broker, RemoveKey, TrustedKey},
    http::{
        devices::key_in_use,
        extract::{DevicePath, QueryPairs},
        pages::Shown,
    },
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/admin/devices/{device}/keys").route(web::post().to(add))).service(
        web::resource("/admin/devices/{device}/keys/remove")
            .route(web::get().to(ask_to_remove))
            .route(web::post().to(remove)),
    );
}

async fn add(broker: web::Data<Broker>, posted: Posted, path: DevicePath) -> Result<HttpResponse, Refused> {
    match trust(&broker, &posted, path.device).await? {
        None => Ok(done(&device_page(path.device), "key-added")),
        Some(complaint) => {
            let complaint = DeviceForm::Key.complains(complaint);
            device_answer(&broker, posted.visit, path.device, Some(complaint)).await
        }
    }
}

/// Trusts what was pasted; or says why not.
async fn trust(broker: &Broker, posted: &Posted, device: DeviceId) -> Result<Option<Complaint>, Refused> {
    let label = match posted.field("label").parse::<Label>() {
        Ok(label) => label,
        Err(error) => return Ok(Some(Complaint::about("/label", &error))),
    };
    let text = posted.field("public_key").trim();
    let written =
        if text.starts_with('{') { json::parse(text.as_bytes()) } else { Ok(Value::String(text.to_owned())) };
    let key = match written.map(|written| TrustedKey::parse(&written)) {
        Ok(Ok(key)) => key,
        Ok(Err(refused)) => return Ok(Some(Complaint::about("/public_key", &refused))),
        Err(error) => return Ok(Some(Complaint::about("/public_key", &error))),
    };
    match broker.add_trust(device, &label, &key, &posted.visit.origin()).await {
        Ok(_) => Ok(None),
        Err(error) => Complaint::of(error).map(Some),
    }
}

async fn ask_to_remove(
    broker: web::Data<Broker>,
    visit: Visit,
    path: DevicePath,
    query: QueryPairs,
) -> Result<HttpResponse, Refused> {
    let key_hash = query.one("key_hash")?.unwrap_or_default();
    let keys = broker.show_trust(path.device).await?.ok_or_else(Refused::not_found)?;
    let key = keys.into_iter().find(|key| key.key_hash.0 == key_hash).ok_or_else(Refused::not_found)?;
    let sure = SurePage {
        around: visit.around(Section::Devices),
        heading: format!("Remove the key {}?", Shown::name(&key.label)),
        what: "Whoever holds it can't speak for the device any more. Tokens that it obtained end within five \
               seconds, open connections included.",
        action: format!("/admin/devices/{}/keys/remove", path.device),
        hidden: Some(("key_hash", key.key_hash.0)),
        button: "Remove",
        back: device_page(path.device),
    };
    Ok(sure.answer())
}

async fn remove(
    broker: web::Data<Broker>,
    posted: Posted,
    path: DevicePath,
) -> Result<HttpResponse, Refused> {
    let key_hash = KeyHash(posted.field("key_hash").to_owned());
    match broker.remove_trust(path.device, &key_hash, &posted.visit.origin()).await? {
        RemoveKey::Removed => Ok(done(&device_page(path.device), "key-removed")),
        RemoveKey::UnknownKey => Err(Refused::not_found()),
        RemoveKey::InUse(slots) => {
            let complaint = DeviceForm::Key.complains(Complaint::of(key_in_use(&slots))?);
            device_answer(&broker, posted.visit, path.device, Some(complaint)).await
        }
    }
}
