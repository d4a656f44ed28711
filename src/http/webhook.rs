//! `/api/eisy/pg3/webhook/…`: what a web service sends is brought to a plugin, and what that answers goes back.
//!
//! The order of the checks is the order of what they cost: the caller's rate, the announced size, the slot, the slot's
//! rate, the secret, a place, the body, its signature. Nothing is relayed before all of them, and nothing is read of
//! a body for which there is no place. What a plugin answers is somebody's content under this service's own name:
//! a browser that opens it runs nothing of it.

use std::time::Duration;

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web,
};
use futures_util::future::LocalBoxFuture;

use super::{
    error::Problem,
    extract::{ClientAddress, QueryPairs, SlotPath, read_body},
    hardening::Verbatim,
    throttle::Throttle,
    webhook_message::{headers, may_answer_with, query},
};
use crate::{
    domain::{
        inquiry::{Inquiry, LARGEST_BODY, Reply, Request, Response, Wanted},
        metric,
        webhook::{Proof, Webhook, is_secret},
    },
    flows::Broker,
    relay::{AskError, Crowded, Place, Relay},
};

/// From the first to the last byte of a body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// No script, no form, no frame, nothing loaded, and no origin to act in.
const SANDBOX: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// How often web services may call.
#[derive(Debug)]
pub struct WebhookRates {
    network: Throttle,
    slot: Throttle,
}

impl WebhookRates {
    /// So many requests a minute from one network, and to one slot.
    pub fn new(per_network: u32, per_slot: u32) -> Self {
        let minute = Duration::from_mins(1);
        Self { network: Throttle::new(per_network, minute), slot: Throttle::new(per_slot, minute) }
    }
}

/// The routes. Every method is taken; the reference tells of one.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/api/eisy/pg3/webhook/response/{device}/{slot}")
                .route(web::post().to(answered))
                .default_service(web::to(answered)),
        )
        .service(
            web::resource("/api/eisy/pg3/webhook/noresponse/{device}/{slot}")
                .route(web::post().to(handed_over))
                .default_service(web::to(handed_over)),
        );
}

/// What a call is handled with.
struct Call {
    request: HttpRequest,
    payload: Payload,
    path: SlotPath,
    query: QueryPairs,
    client: ClientAddress,
    broker: web::Data<Broker>,
    relay: web::Data<Relay>,
    rates: web::Data<WebhookRates>,
}

impl FromRequest for Call {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            Ok(Self {
                path: SlotPath::extract(&request).await?,
                query: QueryPairs::extract(&request).await?,
                client: ClientAddress::extract(&request).await?,
                broker: web::Data::extract(&request).await?,
                relay: web::Data::extract(&request).await?,
                rates: web::Data::extract(&request).await?,
                request,
                payload,
            })
        })
    }
}

async fn answered(call: Call) -> Result<HttpResponse, Problem> {
    match call.brought(Wanted::Response).await? {
        Reply::Response(response) => Ok(rendered(response)),
        Reply::HandedOver | Reply::Outcome { .. } => Ok(HttpResponse::Ok().finish()),
    }
}

async fn handed_over(call: Call) -> Result<HttpResponse, Problem> {
    call.brought(Wanted::Nothing).await?;
    Ok(HttpResponse::Ok().finish())
}

impl Call {
    async fn brought(self, wanted: Wanted) -> Result<Reply, Problem> {
        let now = self.broker.now();
        self.rates.network.take(self.client.0, now).map_err(|wait| too_often("network_rate", wait))?;
        if announced(&self.request).is_some_and(|bytes| bytes > LARGEST_BODY) {
            return Err(too_large());
        }
        let address = self.path.clone().address();
        let webhook = self.broker.show_webhook(&address).await?;
        let webhook = webhook.filter(|webhook| webhook.enabled).ok_or_else(Problem::not_found)?;
        self.rates.slot.take(&address, now).map_err(|wait| too_often("slot_rate", wait))?;
        self.prove_secret(&webhook)?;
        let place: Result<Place, Crowded> = self.relay.reserve(address.device, Some(&address.slot));
        let place = place.inspect_err(|_| refused("in_flight"))?;
        let body = read_body(&self.request, self.payload, LARGEST_BODY, BODY_TIME).await;
        let body = body.inspect_err(|problem| {
            if problem.code() == "payload_too_large" {
                refused("too_large");
            }
        })?;
        let head = self.request.headers();
        if let Proof::Hmac(signature) = &webhook.proof {
            let sent = one(head, &signature.header).unwrap_or_default();
            if !signature.is_of(&String::from_utf8_lossy(sent), &body) {
                return Err(not_proven());
            }
        }
        let secret = match &webhook.proof {
            Proof::Secret(place, _) => Some(place),
            Proof::Hmac(_) | Proof::None => None,
        };
        let inquiry = Inquiry::Request(Request {
            slot: address.slot,
            method: self.request.method().as_str().to_owned(),
            headers: headers(head, secret.and_then(|place| place.header())),
            query: query(&self.query, secret.and_then(|place| place.query())),
            body: body.to_vec(),
            wanted,
        });
        drop(body);
        Ok(self.relay.ask(address.device, &inquiry, place).await?)
    }

    fn prove_secret(&self, webhook: &Webhook) -> Result<(), Problem> {
        let Proof::Secret(place, secret) = &webhook.proof else { return Ok(()) };
        let sent = match (place.header(), place.query()) {
            (Some(name), _) => one(self.request.headers(), name),
            (None, name) => name.and_then(|name| self.query.one(name).ok().flatten()).map(str::as_bytes),
        };
        if sent.is_some_and(|sent| is_secret(sent, secret)) { Ok(()) } else { Err(not_proven()) }
    }
}

/// A header that stands there once.
fn one<'a>(head: &'a header::HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = head.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        (_, _) => None,
    }
}

fn announced(request: &HttpRequest) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn rendered(response: Response) -> HttpResponse {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
    let mut answer = HttpResponse::build(status);
    for (name, value) in &response.headers {
        let parsed = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
        if let (Ok(name), Ok(value)) = parsed
            && may_answer_with(&name)
        {
            answer.append_header((name, value));
        }
    }
    answer.insert_header((header::CONTENT_SECURITY_POLICY, SANDBOX));
    let bodiless =
        matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let mut answer = if bodiless { answer.finish() } else { answer.body(response.body) };
    answer.extensions_mut().insert(Verbatim);
    answer
}

fn refused(reason: &'static str) {
    metrics::counter!(metric::WEBHOOKS_REFUSED, "reason" => reason).increment(1);
}

fn too_often(reason: &'static str, wait: Duration) -> Problem {
    refused(reason);
    Problem::too_many_requests(wait.as_secs())
}

fn too_large() -> Problem {
    refused("too_large");
    Problem::too_large()
}

fn not_proven() -> Problem {
    refused("proof");
    let detail = "The secret or signature that this webhook asks for is missing or wrong.";
    Problem::new(StatusCode::FORBIDDEN, "webhook_refused", detail)
}

impl From<Crowded> for Problem {
    fn from(crowded: Crowded) -> Self {
        match crowded {
            Crowded::Device => Self::too_many_requests(1),
            Crowded::Server => Self::unavailable("busy", 1),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Nobody => Self::unavailable("not_connected", 10),
            AskError::Busy => Self::unavailable("busy", 1),
            AskError::Disconnected => Self::new(
                StatusCode::BAD_GATEWAY,
                "disconnected",
                "Who was asked lost the connection before answering; it may have done what was asked.",
            ),
            AskError::NoAnswer => Self::no_answer(
                "no_answer",
                "Who was asked did not answer in time; it may have done what was asked.",
            ),
            AskError::Draining => Self::unavailable("draining", 1),
            AskError::Store(cause) => cause.into(),
            AskError::DatabaseTimeout => Self::unavailable("database_unavailable", 5),
        }
    }
}
