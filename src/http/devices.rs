//! `/api/devices`: devices and the keys that speak for them.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    caller::Caller,
    enrolment,
    error::Problem,
    extract::{ClientAddress, DevicePath, KeyPath, StrictJson},
};
use crate::{
    domain::{ids::SlotName, label::Label, plugin::FieldError},
    flows::{AddKeyError, Broker, DeviceRow, RemoveKey, TrustedKey},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/api/devices").route(web::post().to(enrolment::enrol)).route(web::get().to(list)),
        )
        .service(
            web::resource("/api/devices/{device}")
                .route(web::get().to(show))
                .route(web::patch().to(rename))
                .route(web::delete().to(remove)),
        )
        .service(
            web::resource("/api/devices/{device}/keys")
                .route(web::post().to(add_trust))
                .route(web::get().to(list_trust)),
        )
        .service(
            web::resource("/api/devices/{device}/keys/{key_hash}").route(web::delete().to(remove_trust)),
        );
}

#[derive(Deserialize)]
struct Renaming {
    name: String,
}

#[derive(Deserialize)]
struct NewKey {
    label: String,
    public_key: Value,
}

async fn list(broker: web::Data<Broker>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    let devices = broker.show_devices().await?;
    Ok(HttpResponse::Ok().json(devices.iter().map(rendered).collect::<Vec<_>>()))
}

async fn show(broker: web::Data<Broker>, caller: Caller, path: DevicePath) -> Result<HttpResponse, Problem> {
    caller.owner_or_device(path.device)?;
    let device = broker.show_device(path.device).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().json(rendered(&device)))
}

async fn rename(
    broker: web::Data<Broker>,
    caller: Caller,
    path: DevicePath,
    body: StrictJson<Renaming>,
) -> Result<HttpResponse, Problem> {
    caller.owner_or_device(path.device)?;
    let name = label("/name", &body.0.name)?;
    if !broker.rename_device(path.device, &name).await? {
        return Err(Problem::not_found());
    }
    Ok(HttpResponse::Ok().json(json!({ "device": path.device, "name": name })))
}

async fn remove(
    broker: web::Data<Broker>,
    caller: Caller,
    path: DevicePath,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    caller.owner_of(path.device)?;
    if broker.remove_device(path.device, &caller.origin(client)).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found())
    }
}

async fn add_trust(
    broker: web::Data<Broker>,
    caller: Caller,
    path: DevicePath,
    client: ClientAddress,
    body: StrictJson<NewKey>,
) -> Result<HttpResponse, Problem> {
    caller.owner_or_device(path.device)?;
    let label = label("/label", &body.0.label)?;
    let key = TrustedKey::parse(&body.0.public_key).map_err(|refused| misfit("/public_key", &refused))?;
    let key_hash = broker.add_trust(path.device, &label, &key, &caller.origin(client)).await?;
    Ok(HttpResponse::Created().json(json!({ "label": label, "key_hash": key_hash })))
}

async fn list_trust(
    broker: web::Data<Broker>,
    caller: Caller,
    path: DevicePath,
) -> Result<HttpResponse, Problem> {
    caller.owner_or_device(path.device)?;
    let keys = broker.show_trust(path.device).await?.ok_or_else(Problem::not_found)?;
    let keys: Vec<_> = keys
        .into_iter()
        .map(|key| {
            json!({
                "label": key.label,
                "key_hash": key.key_hash,
                "added_at": key.added_at.format(&Rfc3339).ok(),
                "last_used_at": key.last_used_at.and_then(|at| at.format(&Rfc3339).ok()),
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(keys))
}

async fn remove_trust(
    broker: web::Data<Broker>,
    caller: Caller,
    path: KeyPath,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    caller.owner_or_device(path.device)?;
    match broker.remove_trust(path.device, &path.key_hash, &caller.origin(client)).await? {
        RemoveKey::Removed => Ok(HttpResponse::NoContent().finish()),
        RemoveKey::UnknownKey => Err(Problem::not_found()),
        RemoveKey::InUse(slots) => Err(key_in_use(&slots)),
    }
}

/// Slots that are named where a key is in use.
const MOST_SLOTS_NAMED: usize = 8;

/// 409: sealed deliveries still go to this key.
pub(super) fn key_in_use(slots: &[SlotName]) -> Problem {
    let named: Vec<&str> = slots.iter().take(MOST_SLOTS_NAMED).map(SlotName::as_str).collect();
    let more = match slots.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = named.join(", ");
    let detail =
        format!("Tokens are sealed to this key in {named}{more}: change seal_to of these slots first.");
    Problem::conflict("key_in_use", detail)
}

fn rendered(device: &DeviceRow) -> Value {
    json!({
        "device": device.id,
        "name": device.name,
        "created_at": device.created_at.format(&Rfc3339).ok(),
    })
}

fn label(field: &str, text: &str) -> Result<Label, Problem> {
    text.parse().map_err(|error| misfit(field, &error))
}

fn misfit(field: &str, error: &impl ToString) -> Problem {
    Problem::invalid(vec![FieldError { field: field.to_owned(), detail: error.to_string() }])
}

impl From<AddKeyError> for Problem {
    fn from(error: AddKeyError) -> Self {
        match error {
            AddKeyError::UnknownDevice => Self::not_found(),
            AddKeyError::TooMany => {
                Self::conflict("too_many_keys", "This device has 32 trusted keys; remove one first.")
            }
            AddKeyError::Store(cause) => cause.into(),
        }
    }
}
