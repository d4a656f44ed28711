//! `/api/eisy/pg3/webhook/…`: what a web service sends is brought to a plugin, and what that answers goes back.
//!
//! The order is the order of what things cost: what can be decided before the body is there
//! ([`Broker::admit_webhook`]), the body, of which only so many are read at once, its signature, and only then a place
//! among those under way, which strangers could hold otherwise. Nothing is relayed before all of them. What a plugin answers is somebody's content under this service's own name:
//! a browser that opens it runs nothing of it.

use std::time::Duration;

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    web,
};
use futures_util::future::LocalBoxFuture;

use super::{
    error::Problem,
    extract::{ClientAddress, QueryPairs, SlotPath, read_body},
    hardening::Verbatim,
    webhook_bodies::WebhookBodies,
    webhook_message::{headers, may_answer_with, query},
};
use crate::{
    domain::{
        inquiry::{Inquiry, LARGEST_BODY, Reply, Request, Response, Wanted},
        metric,
    },
    flows::{Broker, WebhookCall, WebhookHead, WebhookRates, WebhookRefusal},
    relay::{AskError, Crowded, Place, Relay},
};

/// From the first to the last byte of a body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// No script, no form, no frame, nothing loaded, and no origin to act in.
const SANDBOX: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

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
    bodies: web::Data<WebhookBodies>,
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
                bodies: web::Data::extract(&request).await?,
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
        let address = self.path.address();
        let head = Head { headers: self.request.headers(), query: &self.query };
        let announced = announced(&self.request);
        let call = WebhookCall { address: &address, network: self.client.0, announced, head: &head };
        let admitted = self.broker.admit_webhook(&self.rates, call).await.map_err(refused)?;
        let mut reading = self.bodies.read(self.client.0).inspect_err(|_| count("bodies"))?;
        let body = read_body(&self.request, self.payload, LARGEST_BODY, BODY_TIME);
        let body = reading.finish(body).await.inspect_err(|_| count("bodies"))?;
        let body = body.inspect_err(|problem| {
            if problem.code() == "payload_too_large" {
                count("too_large");
            }
        })?;
        admitted.prove_body(&head, &body, self.broker.now()).map_err(refused)?;
        let place: Result<Place, Crowded> = self.relay.reserve(address.device, Some(&address.slot));
        let place = place.inspect_err(|_| count("in_flight"))?;
        let secret = admitted.secret_place();
        let inquiry = Inquiry::Request(Request {
            slot: address.slot.clone(),
            method: self.request.method().as_str().to_owned(),
            headers: headers(head.headers, secret.and_then(|place| place.header())),
            query: query(head.query, secret.and_then(|place| place.query())),
            body: body.to_vec(),
            wanted,
        });
        drop((body, reading));
        Ok(self.relay.ask(address.device, &inquiry, place).await?)
    }
}

/// What a request shows besides its body.
struct Head<'a> {
    headers: &'a HeaderMap,
    query: &'a QueryPairs,
}

impl WebhookHead for Head<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.headers.get_all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value.as_bytes()),
            (_, _) => None,
        }
    }

    fn member(&self, name: &str) -> Option<&str> {
        self.query.one(name).ok().flatten()
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

/// Of webhooks alone: commands find their places at the same counter.
fn count(reason: &'static str) {
    metrics::counter!(metric::WEBHOOKS_REFUSED, "reason" => reason).increment(1);
}

fn refused(refusal: WebhookRefusal) -> Problem {
    let too_often = |reason, wait: Duration| {
        count(reason);
        Problem::too_many_requests(wait.as_secs())
    };
    match refusal {
        WebhookRefusal::NetworkRate(wait) => too_often("network_rate", wait),
        WebhookRefusal::SlotRate(wait) => too_often("slot_rate", wait),
        WebhookRefusal::UnprovenRate(wait) => too_often("unproven_rate", wait),
        WebhookRefusal::TooLarge => {
            count("too_large");
            Problem::too_large()
        }
        WebhookRefusal::Unknown => Problem::not_found(),
        WebhookRefusal::NotProven => {
            count("proof");
            let detail = "The secret or signature that this webhook asks for is missing or wrong.";
            Problem::new(StatusCode::FORBIDDEN, "webhook_refused", detail)
        }
        WebhookRefusal::Store(cause) => cause.into(),
    }
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
