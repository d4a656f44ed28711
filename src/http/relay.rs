//! `/api/cloudlink/relay`, `/api/cloudlink/events` and `/api/ack`: how a plugin hears and answers.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL},
    web,
};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::{
    caller::Caller,
    error::Problem,
    extract::{Bearer, ClientAddress, QueryPairs, StrictJson},
    frame::Frame,
    handshake::{self, Begun},
    relay_door::{Door, Entered},
    throttle::Throttles,
};
use crate::{
    domain::{
        ids::{SlotAddress, SlotName, Version},
        json::Object,
        plugin::FieldError,
        secret::BearerToken,
        slot::Ack,
    },
    flows::{AccessClaims, Broker, Need, OverrideError, TokenProof, TokenUnavailable},
    relay::{
        CallError, CallOutcome, PollError, Relay, RelayAccess, SUBPROTOCOL, SlotCalls, Standing, Wanted,
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
    throttles: web::Data<Throttles>,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    let (headers, public_url) = (request.headers(), &Frame::of(&request)?.public_url);
    let door = Door { broker: &broker, relay: &relay, throttles: &throttles, public_url };
    let Entered { places, access } = door.enter(headers, client).await?;
    let Begun { socket, mut answer } = handshake::upgrade(&request, payload)?;
    answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let calls = Arc::new(BrokerCalls(broker.into_inner()));
    actix_web::rt::spawn(relay.get_ref().clone().serve(places, access, calls, socket));
    Ok(answer)
}

async fn poll(
    broker: web::Data<Broker>,
    relay: web::Data<Relay>,
    caller: Caller,
    bearer: Option<Bearer>,
    query: QueryPairs,
) -> Result<HttpResponse, Problem> {
    let access = access(&broker, caller, bearer.as_ref().map(|bearer| &bearer.0))?;
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
    let access = access(&broker, caller, bearer.as_ref().map(|bearer| &bearer.0))?;
    let slot: SlotName = body.0.slot.parse().map_err(|_| Problem::not_found())?;
    match relay.ack(&access, slot, Version(body.0.version)).await? {
        Ack::Advanced | Ack::Unchanged => Ok(HttpResponse::NoContent().finish()),
        Ack::UnknownSlot => Err(Problem::not_found()),
    }
}

/// What the caller's token allows at the relay, by whichever way.
pub(super) fn access(
    broker: &web::Data<Broker>,
    caller: Caller,
    token: Option<&BearerToken>,
) -> Result<RelayAccess, Problem> {
    let (device, claims): (_, AccessClaims) = caller.device_key()?;
    let proof = TokenProof::of(token.ok_or_else(Problem::unauthorized)?, &claims);
    if claims.topics.subs.is_empty() {
        return Err(Problem::forbidden());
    }
    Ok(RelayAccess {
        device,
        topics: Arc::new(claims.topics),
        expires_at: claims.expires_at,
        standing: Arc::new(TokenStanding { broker: broker.clone().into_inner(), proof }),
    })
}

struct TokenStanding {
    broker: Arc<Broker>,
    proof: TokenProof,
}

impl Standing for TokenStanding {
    fn is_revoked(&self) -> bool {
        !self.broker.access.stands(&self.proof, self.broker.now())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.broker.access.changes()
    }
}

/// Answers what plugins ask over the relay.
pub(super) struct BrokerCalls(pub(super) Arc<Broker>);

impl SlotCalls for BrokerCalls {
    fn settings(&self, address: SlotAddress, patch: Object) -> BoxFuture<'static, CallOutcome> {
        let broker = Arc::clone(&self.0);
        Box::pin(async move { broker.override_settings(&address, &patch).await.map_err(CallError::from) })
    }

    fn token(&self, address: SlotAddress) -> BoxFuture<'static, CallOutcome> {
        let broker = Arc::clone(&self.0);
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
