//! `/api/devices/{device}/slots`: plugins installed on a device, their settings and their access token.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    caller::Caller,
    error::Problem,
    extract::{ClientAddress, DevicePath, JsonBody, NewSlot, QueryPairs, SlotPath, StrictJson},
};
use crate::{
    domain::{
        ids::{DeviceId, PluginId, SlotAddress},
        plugin::FieldError,
        topic::Channel,
    },
    flows::{
        Broker, ImportError, InstallError, Installed, Need, OverrideError, SlotRow, TokenUnavailable,
        TooManyWait, Unlinked,
    },
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/devices/{device}/slots").route(web::get().to(list)))
        .service(
            web::resource("/api/devices/{device}/slots/{slot}")
                .route(web::put().to(install))
                .route(web::get().to(show))
                .route(web::delete().to(remove)),
        )
        .service(
            web::resource("/api/devices/{device}/slots/{slot}/oauth")
                .route(web::get().to(show_settings))
                .route(web::patch().to(override_settings)),
        )
        .service(web::resource("/api/devices/{device}/slots/{slot}/token").route(web::get().to(token)))
        .service(web::resource("/api/devices/{device}/slots/{slot}/refresh").route(web::post().to(refresh)))
        .service(
            web::resource("/api/devices/{device}/slots/{slot}/tokens")
                .route(web::put().to(import))
                .route(web::delete().to(unlink)),
        );
}

#[derive(Deserialize)]
struct Installation {
    plugin: String,
    variables: Option<BTreeMap<String, String>>,
}

async fn install(
    broker: web::Data<Broker>,
    caller: Caller,
    path: NewSlot,
    client: ClientAddress,
    body: StrictJson<Installation>,
) -> Result<HttpResponse, Problem> {
    let address = path.0;
    caller.owner_or_slot(&address)?;
    let plugin: PluginId = body.0.plugin.parse().map_err(|_| unknown_plugin())?;
    let installed = broker.install(&address, &plugin, body.0.variables, &caller.origin(client)).await?;
    let slot = broker.show_slot(&address).await?.ok_or_else(Problem::not_found)?;
    let mut response = match installed {
        Installed::Created => HttpResponse::Created(),
        Installed::Replaced => HttpResponse::Ok(),
    };
    Ok(response.json(rendered(&slot)))
}

async fn list(
    broker: web::Data<Broker>,
    caller: Caller,
    path: DevicePath,
    query: QueryPairs,
) -> Result<HttpResponse, Problem> {
    let device: DeviceId = path.device;
    caller.owner_or_device_key(device)?;
    let only_writable = match query.one("writable")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::bad_request("bad_query", "writable is true or false.")),
    };
    let mut slots = broker.show_slots(device).await?.ok_or_else(Problem::not_found)?;
    slots.retain(|slot| {
        let address = SlotAddress { device, slot: slot.name.clone() };
        caller.sees(device, &slot.name) && (!only_writable || caller.owner_or_slot(&address).is_ok())
    });
    Ok(HttpResponse::Ok().json(slots.iter().map(rendered).collect::<Vec<_>>()))
}

async fn show(broker: web::Data<Broker>, caller: Caller, path: SlotPath) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    let slot = broker.show_slot(&address).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().json(rendered(&slot)))
}

async fn remove(
    broker: web::Data<Broker>,
    caller: Caller,
    path: SlotPath,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    if broker.remove_slot(&address, &caller.origin(client)).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found())
    }
}

async fn show_settings(
    broker: web::Data<Broker>,
    caller: Caller,
    path: SlotPath,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    Ok(HttpResponse::Ok().json(broker.show_settings(&address).await?))
}

async fn override_settings(
    broker: web::Data<Broker>,
    caller: Caller,
    path: SlotPath,
    body: JsonBody,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    Ok(HttpResponse::Ok().json(broker.override_settings(&address, &body.0).await?))
}

async fn token(broker: web::Data<Broker>, caller: Caller, path: SlotPath) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.slot(&address, Channel::Events)?;
    Ok(HttpResponse::Ok().json(broker.current_token(&address, Need::ForUse).await?))
}

async fn import(
    broker: web::Data<Broker>,
    caller: Caller,
    path: SlotPath,
    client: ClientAddress,
    body: JsonBody,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.slot(&address, Channel::Settings)?;
    broker.import_tokens(&address, body.0, &caller.origin(client)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn refresh(broker: web::Data<Broker>, caller: Caller, path: SlotPath) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.slot(&address, Channel::Events)?;
    Ok(HttpResponse::Ok().json(broker.current_token(&address, Need::Now).await?))
}

async fn unlink(
    broker: web::Data<Broker>,
    caller: Caller,
    path: SlotPath,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    match broker.unlink(&address, &caller.origin(client)).await? {
        Unlinked::Erased(_) | Unlinked::Already => Ok(HttpResponse::NoContent().finish()),
        Unlinked::UnknownSlot => Err(Problem::not_found()),
    }
}

fn rendered(slot: &SlotRow) -> Value {
    json!({
        "slot": slot.name,
        "plugin": slot.plugin,
        "status": slot.status,
        "expiry": slot.expires_at.and_then(|at| at.replace_nanosecond(0).ok()).and_then(|at| at.format(&Rfc3339).ok()),
        "scope": slot.scope,
        "version": slot.version,
        "acked_version": slot.acked_version,
    })
}

fn unknown_plugin() -> Problem {
    let detail = "there is no such plugin in the store: the owner adds it with PUT /api/plugins/{plugin}";
    Problem::invalid(vec![FieldError { field: "/plugin".to_owned(), detail: detail.to_owned() }])
}

pub(super) fn contended() -> Problem {
    Problem::conflict("changed_meanwhile", "The slot was changed by others at the same time; try again.")
}

impl From<InstallError> for Problem {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::UnknownDevice => Self::not_found(),
            InstallError::UnknownPlugin => unknown_plugin(),
            InstallError::Invalid(errors) => Self::invalid(errors),
            InstallError::TooManySlots => {
                Self::conflict("too_many_slots", "This device has 256 slots; remove one first.")
            }
            InstallError::Contended => contended(),
            InstallError::Store(cause) => cause.into(),
        }
    }
}

impl From<OverrideError> for Problem {
    fn from(error: OverrideError) -> Self {
        match error {
            OverrideError::UnknownSlot => Self::not_found(),
            OverrideError::Invalid(errors) => Self::invalid(errors),
            OverrideError::Contended => contended(),
            OverrideError::Store(cause) => cause.into(),
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::UnknownSlot => Self::not_found(),
            ImportError::Invalid(errors) => Self::invalid(errors),
            ImportError::OwnHandle => Self::unprocessable(
                "own_handle",
                "This refresh_token is what the broker gave the plugin in place of one: the tokens are here already, \
                 or were unlinked.",
            ),
            ImportError::ProviderAway { retry_after } => {
                Self::unavailable("provider_unavailable", retry_after.as_secs())
            }
            ImportError::TooManyWait(too_many) => too_many.into(),
            ImportError::Contended => contended(),
            ImportError::Store(cause) => cause.into(),
        }
    }
}

impl From<TooManyWait> for Problem {
    fn from(TooManyWait { retry_after }: TooManyWait) -> Self {
        Self::too_many_requests(retry_after.as_secs())
    }
}

impl From<TokenUnavailable> for Problem {
    fn from(error: TokenUnavailable) -> Self {
        match error {
            TokenUnavailable::UnknownSlot => Self::not_found(),
            TokenUnavailable::AuthorizationRequired => Self::conflict(
                "authorization_required",
                "The user has to link this slot first: start a flow with POST …/connect.",
            ),
            TokenUnavailable::TokensWithDevice => Self::conflict(
                "tokens_with_device",
                "The plugin keeps the tokens itself (custody is device).",
            ),
            TokenUnavailable::Withheld => Self::conflict(
                "tokens_withheld",
                "The key that this slot's tokens are sealed to is not trusted any more: name another one in seal_to, \
                 or set it to null.",
            ),
            TokenUnavailable::NotEncrypted(cause) => Self::internal(&cause),
            TokenUnavailable::ProviderAway { retry_after } => {
                Self::unavailable("provider_unavailable", retry_after.as_secs())
            }
            TokenUnavailable::TooManyWait(too_many) => too_many.into(),
            TokenUnavailable::Store(cause) => cause.into(),
        }
    }
}
