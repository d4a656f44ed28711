//! `/api/devices/{device}/commands/{name}`: what a hub itself is to do.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{
    caller::Caller,
    error::Problem,
    extract::{ClientAddress, CommandPath, JsonBody},
    throttle::Throttles,
};
use crate::{
    domain::{
        command::CommandError,
        inquiry::{Command, Inquiry, Reply},
    },
    flows::Broker,
    relay::Relay,
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/devices/{device}/commands/{name}").route(web::post().to(command)));
}

async fn command(
    broker: web::Data<Broker>,
    relay: web::Data<Relay>,
    throttles: web::Data<Throttles>,
    caller: Caller,
    path: CommandPath,
    client: ClientAddress,
    body: JsonBody,
) -> Result<HttpResponse, Problem> {
    let device = path.device;
    caller.owner_or_whole_device(device)?;
    let command = Command::of(&path.name, body.0)?;
    broker.show_device(device).await?.ok_or_else(Problem::not_found)?;
    let admitted = throttles.commands.take(device, broker.now());
    admitted.map_err(|wait| Problem::too_many_requests(wait.as_secs()))?;
    let place = relay.reserve(device, None)?;
    broker.record_command(device, command.name, &caller.origin(client)).await?;
    match relay.ask(device, &Inquiry::Command(command), place).await? {
        Reply::Outcome { ok, data } => Ok(HttpResponse::Ok().json(json!({"ok": ok, "data": data}))),
        Reply::HandedOver | Reply::Response(_) => Ok(HttpResponse::Ok().finish()),
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Unknown => Self::not_found(),
            CommandError::Invalid(errors) => Self::invalid(errors),
        }
    }
}
