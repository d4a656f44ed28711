//! `/api/cloudlink/relay`, `/api/cloudlink/events` and `/api/ack`: how a plugin hears and answers.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL},
    web,
};
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::{
    caller::Caller,
    error::Problem,
    extract::{Bearer, QueryPairs, StrictJson},
    frame::Frame,
};
use crate::{
    domain::{
        ids::{SlotAddress, SlotName, Version},
        json::Object,
        plugin::FieldError,
        secret::BearerToken,
        slot::Ack,
    },
    flows::{AccessClaims, Broker, Need, OverrideError, TokenUnavailable},
    relay::{
        CallError, CallOutcome, HangUp, PollError, Relay, RelayAccess, SUBPROTOCOL, SlotCalls, Socket,
        Standing, Wanted,
    },
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/cloudlink/relay").route(web::get().to(connect)))
        .service(web::resource("/api/cloudlink/events").route(web::get().to(poll)))
        .service(web::resource("/api/ack").route(web::post().to(ack)));
}

#[derive(Deserialize)]
struct Acknowledgement {
    slot: String,
    version: i64,
}

async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
    relay: web::Data<Relay>,
    caller: Caller,
    bearer: Option<Bearer>,
) -> Result<HttpResponse, Problem> {
    refuse_foreign_origin(&request)?;
    let access = access(&broker, caller, bearer)?;
    if !offers_subprotocol(&request) {
        return Err(Problem::bad_request(
            "subprotocol_required",
            "Offer the WebSocket subprotocol cloudlink.v1.",
        ));
    }
    let admission = relay.admit(access.device).map_err(|_| Problem::too_many_requests(5))?;
    let (mut response, session, stream) = actix_ws::handle(&request, payload)
        .map_err(|_| Problem::bad_request("websocket_required", "This address speaks WebSocket."))?;
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let socket = Socket { session, stream, hang_up: request.conn_data::<HangUp>().cloned() };
    let calls: Arc<dyn SlotCalls> = Arc::new(BrokerCalls(broker.get_ref().clone()));
    actix_web::rt::spawn(relay.get_ref().clone().serve(admission, access, calls, socket));
    Ok(response)
}

async fn poll(
    broker: web::Data<Broker>,
    relay: web::Data<Relay>,
    caller: Caller,
    bearer: Option<Bearer>,
    query: QueryPairs,
) -> Result<HttpResponse, Problem> {
    let access = access(&broker, caller, bearer)?;
    let wait = match query.one("wait")? {
        None | Some("") => 0,
        Some(text) => text.parse::<u64>().ok().filter(|seconds| *seconds <= 60).ok_or_else(|| {
            Problem::bad_request("bad_wait", "wait is a whole number of seconds, from 0 to 60.")
        })?,
    };
    let wanted = match query.one("state")? {
        None => Wanted::Unacknowledged,
        Some("all") => Wanted::All,
        Some(_) => return Err(Problem::bad_request("bad_state", "state can only be all.")),
    };
    let events = relay.poll(&access, Duration::from_secs(wait), wanted).await?;
    if events.is_empty() {
        return Ok(HttpResponse::NoContent().finish());
    }
    Ok(HttpResponse::Ok().json(json!({ "events": events })))
}

async fn ack(
    broker: web::Data<Broker>,
    relay: web::Data<Relay>,
    caller: Caller,
    bearer: Option<Bearer>,
    body: StrictJson<Acknowledgement>,
) -> Result<HttpResponse, Problem> {
    let access = access(&broker, caller, bearer)?;
    let slot: SlotName = body.0.slot.parse().map_err(|_| Problem::not_found())?;
    match relay.ack(&access, slot, Version(body.0.version)).await? {
        Ack::Advanced | Ack::Unchanged => Ok(HttpResponse::NoContent().finish()),
        Ack::UnknownSlot => Err(Problem::not_found()),
    }
}

fn access(broker: &Broker, caller: Caller, bearer: Option<Bearer>) -> Result<RelayAccess, Problem> {
    let (device, claims): (_, AccessClaims) = caller.device_key()?;
    let bearer = bearer.ok_or_else(Problem::unauthorized)?;
    if claims.topics.subs.is_empty() {
        return Err(Problem::forbidden());
    }
    Ok(RelayAccess {
        device,
        topics: claims.topics,
        expires_at: claims.expires_at,
        standing: Arc::new(TokenStanding { broker: broker.clone(), token: bearer.0 }),
    })
}

/// A browser's page can open sockets to anywhere; plugins send no `Origin` at all (H02).
fn refuse_foreign_origin(request: &HttpRequest) -> Result<(), Problem> {
    let ours = Frame::of(request)?.public_url.origin();
    match request.headers().get(ORIGIN) {
        Some(origin) if origin.as_bytes() != ours.as_bytes() => Err(Problem::forbidden()),
        Some(_) | None => Ok(()),
    }
}

fn offers_subprotocol(request: &HttpRequest) -> bool {
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut names = offers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.any(|name| name.trim() == SUBPROTOCOL)
}

struct TokenStanding {
    broker: Broker,
    token: BearerToken,
}

impl Standing for TokenStanding {
    fn is_revoked(&self) -> bool {
        self.broker.access.verify(self.token.expose(), self.broker.now()).is_err()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.broker.access.changes()
    }
}

struct BrokerCalls(Broker);

impl SlotCalls for BrokerCalls {
    fn settings(&self, address: SlotAddress, patch: Object) -> LocalBoxFuture<'static, CallOutcome> {
        let broker = self.0.clone();
        Box::pin(async move { broker.override_settings(&address, &patch).await.map_err(CallError::from) })
    }

    fn token(&self, address: SlotAddress) -> LocalBoxFuture<'static, CallOutcome> {
        let broker = self.0.clone();
        Box::pin(async move { broker.deliver_token(&address, Need::ForUse).await.map_err(CallError::from) })
    }
}

impl From<OverrideError> for CallError {
    fn from(error: OverrideError) -> Self {
        if let OverrideError::Invalid(errors) = error {
            let said: Vec<_> =
                errors.into_iter().map(|FieldError { field, detail }| format!("{field} {detail}")).collect();
            return Self { code: "invalid", detail: said.join("; ") };
        }
        let problem = Problem::from(error);
        Self { code: problem.code(), detail: problem.detail().to_owned() }
    }
}

impl From<TokenUnavailable> for CallError {
    fn from(error: TokenUnavailable) -> Self {
        let problem = Problem::from(error);
        Self { code: problem.code(), detail: problem.detail().to_owned() }
    }
}

impl From<PollError> for Problem {
    fn from(error: PollError) -> Self {
        match error {
            PollError::Refused(_) => Self::too_many_requests(5),
            PollError::TokenEnded => Self::unauthorized(),
            PollError::Store(cause) => cause.into(),
            PollError::Timeout => Self::unavailable("database_unavailable", 5),
        }
    }
}
