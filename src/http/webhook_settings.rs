//! `/api/devices/{device}/slots/{slot}/webhook`: what web services must prove, decided by the device or the owner.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::{
    caller::Caller,
    error::Problem,
    extract::{ClientAddress, JsonBody, SlotPath},
};
use crate::{
    domain::{ids::SlotAddress, webhook::Webhook},
    flows::{Broker, WebhookError},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/api/devices/{device}/slots/{slot}/webhook")
            .route(web::get().to(show))
            .route(web::put().to(change))
            .route(web::delete().to(reset)),
    );
}

async fn show(broker: web::Data<Broker>, caller: Caller, path: SlotPath) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    let webhook = broker.show_webhook(&address).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().json(rendered(&broker, &address, &webhook)))
}

async fn change(
    broker: web::Data<Broker>,
    caller: Caller,
    path: SlotPath,
    client: ClientAddress,
    body: JsonBody,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    let mut wanted = body.0;
    // What `show` adds may be sent back.
    wanted.shift_remove("urls");
    let webhook = broker.change_webhook(&address, &wanted, &caller.origin(client)).await?;
    Ok(HttpResponse::Ok().json(rendered(&broker, &address, &webhook)))
}

async fn reset(
    broker: web::Data<Broker>,
    caller: Caller,
    path: SlotPath,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    let address = path.address();
    caller.owner_or_slot(&address)?;
    if broker.reset_webhook(&address, &caller.origin(client)).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found())
    }
}

fn rendered(broker: &Broker, address: &SlotAddress, webhook: &Webhook) -> Value {
    let url = |kind| {
        let SlotAddress { device, slot } = address;
        broker.settings().public_url.join(&format!("/api/eisy/pg3/webhook/{kind}/{device}/{slot}"))
    };
    let mut members = webhook.redacted();
    let urls = json!({"response": url("response"), "noresponse": url("noresponse")});
    members.insert("urls".to_owned(), urls);
    Value::Object(members)
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::UnknownSlot => Self::not_found(),
            WebhookError::Invalid(errors) => Self::invalid(errors),
            WebhookError::Store(cause) => cause.into(),
        }
    }
}
