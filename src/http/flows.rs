//! A slot's flows, for the plugin that starts them.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{
    caller::Caller,
    error::Problem,
    extract::{ClientAddress, FlowPath, OptionalJson, SlotPath, StrictJson},
    slots::contended,
};
use crate::{
    domain::{flow::ReturnUrl, plugin::FieldError, secret::ConfirmCode},
    flows::{Broker, ConfirmError, ConnectError},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/devices/{device}/slots/{slot}/connect").route(web::post().to(connect)))
        .service(web::resource("/api/devices/{device}/slots/{slot}/flows/{flow}").route(web::get().to(show)))
        .service(
            web::resource("/api/devices/{device}/slots/{slot}/flows/{flow}/confirm")
                .route(web::post().to(confirm)),
        );
}

#[derive(Deserialize)]
struct ConnectRequest {
    return_url: Option<String>,
}

#[derive(Deserialize)]
struct Confirmation {
    code: String,
}

async fn connect(
    broker: web::Data<Broker>,
    caller: Caller,
    path: SlotPath,
    client: ClientAddress,
    body: OptionalJson<ConnectRequest>,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    let return_url = match body.0.and_then(|body| body.return_url) {
        None => None,
        Some(text) => Some(text.parse::<ReturnUrl>().map_err(|error| {
            Problem::invalid(vec![FieldError { field: "/return_url".to_owned(), detail: error.to_string() }])
        })?),
    };
    let connection = broker.connect(&address, return_url.as_ref(), client.0).await?;
    let public_url = &broker.settings().public_url;
    let code = connection.user_code.shown();
    Ok(HttpResponse::Created().json(json!({
        "flow": connection.flow,
        "connect_url": public_url.join(&format!("/connect/{}", connection.handle.expose())),
        "user_code": code,
        "verification_uri": public_url.join("/link"),
        "verification_uri_complete": public_url.join(&format!("/link?user_code={code}")),
        "expires_in": connection.expires_in.whole_seconds(),
        "interval": connection.interval.whole_seconds(),
    })))
}

async fn show(broker: web::Data<Broker>, caller: Caller, path: FlowPath) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    let flow = broker.show_flow(&address, path.flow).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().json(match flow.error {
        Some(error) => json!({ "status": flow.status, "error": error }),
        None => json!({ "status": flow.status }),
    }))
}

async fn confirm(
    broker: web::Data<Broker>,
    caller: Caller,
    path: FlowPath,
    body: StrictJson<Confirmation>,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    if broker.show_flow(&address, path.flow).await?.is_none() {
        return Err(Problem::not_found());
    }
    let digits: String = body.0.code.chars().filter(|c| !matches!(c, ' ' | '-')).take(16).collect();
    broker.confirm(&address, path.flow, &ConfirmCode::new(digits)).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<ConnectError> for Problem {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::UnknownSlot => Self::not_found(),
            ConnectError::Configuration => Self::conflict(
                "invalid_configuration",
                "The slot's configuration is not valid any more; install the plugin again or change its settings.",
            ),
            ConnectError::AwaitingApproval => Self::conflict(
                "awaiting_approval",
                "Another plugin speaks for this authorization server: the owner must approve this one, or it must \
                 use its own redirect URI (\"redirect_uri\": \"own\").",
            ),
            ConnectError::PkceRequired => Self::conflict(
                "pkce_required",
                "This server demands PKCE (flow.require_pkce), which the configuration switches off.",
            ),
            ConnectError::TooManyFlows => Self::too_many_requests(60),
            ConnectError::Contended => contended(),
            ConnectError::Store(cause) => cause.into(),
        }
    }
}

impl From<ConfirmError> for Problem {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::WrongCode { tries_left } => {
                let detail = match tries_left {
                    0 => "The code is wrong. That was the last try: start a new flow.".to_owned(),
                    1 => "The code is wrong. One try is left.".to_owned(),
                    more => format!("The code is wrong. {more} tries are left."),
                };
                Self::unprocessable("wrong_code", detail)
            }
            ConfirmError::NotWaiting => {
                Self::conflict("not_waiting", "This flow does not wait for a code: look at its status.")
            }
            ConfirmError::Store(cause) => cause.into(),
        }
    }
}
