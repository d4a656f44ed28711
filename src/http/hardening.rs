//! What holds for every answer, errors included: [`harden`], the outermost middleware.
//!
//! - Headers: a request id of our own, no caching, no referrer, no sniffing, no framing, no CORS, HSTS where
//!   browsers come over TLS (D04, D06, D09). A handler's own `Content-Security-Policy` and `Cache-Control`
//!   stand.
//! - Requests over the frame's limits are refused before they are routed (J04).
//! - Errors that the framework makes by itself come out as problems, without its texts.
//! - Beyond so many requests at once, one more is told to come back ([`load`](crate::http::load)).
//! - A panic in a handler ends that request as a 500, and nothing else.
//!
//! Requests that cannot be parsed (both `Content-Length` and `Transfer-Encoding`, a broken head) never get
//! here: the server answers them with an empty 400, 408 or 431 and closes the connection.

use std::{panic::AssertUnwindSafe, rc::Rc};

use actix_web::{
    Error, HttpMessage as _, HttpResponse, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, StatusCode, Uri,
        header::{self, ContentType, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};
use futures_util::FutureExt as _;

use crate::{
    domain::metric,
    http::{
        connection::{Busy, PiecedBody},
        error::{PROBLEM_JSON, Problem},
        frame::{Frame, Limits, RequestId},
        health::Readiness,
    },
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const NOTHING_LOADS: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// How browsers reach the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Tls,
    Plain,
}

impl Edge {
    pub(super) fn of(frame: &Frame) -> Self {
        if frame.public_url.is_https() { Self::Tls } else { Self::Plain }
    }
}

/// Marks an answer, by its extensions, that is somebody else's word: errors in it are not explained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verbatim;

/// The label and the field for what no route matches.
pub const UNMATCHED: &str = "unmatched";

/// The pattern of a request's route. To find it takes a look at all of them, so it is looked for once.
#[derive(Debug, Clone)]
pub(super) struct Route(Rc<str>);

impl Route {
    fn of(request: &ServiceRequest) -> Self {
        Self(request.match_pattern().as_deref().unwrap_or(UNMATCHED).into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Wraps the whole app: `.wrap(from_fn(harden))`, registered last, so that it is outermost. The app needs
/// `web::Data<Frame>`.
pub async fn harden<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (id, edge, limits, load) = match Frame::of(request.request()) {
        Ok(frame) => (RequestId::draw(&*frame.entropy), Edge::of(frame), frame.limits, frame.load.clone()),
        Err(problem) => return Ok(request.into_response(problem.error_response())),
    };
    let route = Route::of(&request);
    let handled = load.take(route.as_str()).map(Rc::new);
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(route.clone());
    if let Some(handled) = &handled {
        request.extensions_mut().insert(Rc::clone(handled));
    }
    let busy = Busy::with(request.request());

    let refusal = match &handled {
        None => Some(Problem::unavailable("overloaded", 1)),
        Some(_) => over_limit(request.uri(), request.headers(), &limits),
    };
    let outcome = match refusal {
        Some(problem) => Ok(request.into_response(problem.error_response())),
        None => answered(request, next, &id).await,
    };
    if let Some(handled) = handled {
        handled.leave();
    }
    match outcome {
        Ok(response) => {
            let mut response = explained(response);
            let readiness = response.request().app_data::<Data<Readiness>>();
            if readiness.is_some_and(|readiness| readiness.is_draining())
                && !response.response().head().upgrade()
            {
                // The next request is for a process that stays.
                response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
            }
            dress(response.headers_mut(), &id, edge);
            count(route.as_str(), response.status());
            if matches!(response.response().body().size(), BodySize::None | BodySize::Sized(0)) {
                busy.end_without_body().await;
                return Ok(response);
            }
            Ok(response.map_body(|_, body| BoxBody::new(PiecedBody::new(body, busy))))
        }
        Err(mut error) => {
            count(route.as_str(), error.as_response_error().status_code());
            error.add_response_mapper(move |mut response: HttpResponse| {
                if let Some(problem) = unexplained(&response, response.headers()) {
                    response = problem.error_response();
                }
                dress(response.headers_mut(), &id, edge);
                response
            });
            Err(error)
        }
    }
}

/// Calls the app. The panic's text may hold anything, so that neither the caller nor the log gets it from
/// here.
async fn answered<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
    id: &RequestId,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let call = AssertUnwindSafe(async { next.call(request).await });
    match call.catch_unwind().await {
        Ok(outcome) => outcome.map(ServiceResponse::map_into_boxed_body),
        Err(_panic) => {
            tracing::error!(request_id = id.as_str(), "a handler panicked");
            Err(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).into())
        }
    }
}

fn over_limit(uri: &Uri, headers: &HeaderMap, limits: &Limits) -> Option<Problem> {
    if uri.path_and_query().is_some_and(|text| text.as_str().len() > limits.uri_bytes) {
        return Some(Problem::of_status(StatusCode::URI_TOO_LONG));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (bytes > limits.header_bytes).then(|| Problem::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
}

/// Gives an error of the framework's own a body that says what it is.
fn explained(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    match unexplained(response.response(), response.headers()) {
        None => response,
        Some(problem) => {
            let mut response = response.map_body(|_, _| BoxBody::new(problem.body()));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
            headers.remove(header::CONTENT_LENGTH);
            response
        }
    }
}

/// The problem for an error that has no body, or only the framework's plain text.
fn unexplained<B: MessageBody>(response: &HttpResponse<B>, headers: &HeaderMap) -> Option<Problem> {
    let status = response.status();
    if response.extensions().get::<Verbatim>().is_some() {
        return None;
    }
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let stock = match headers.get(header::CONTENT_TYPE) {
        None => true,
        Some(media_type) => response.error().is_some() && *media_type == ContentType::plaintext().to_string(),
    };
    let bare = matches!(response.body().size(), BodySize::None | BodySize::Sized(0));
    (bare || stock).then(|| Problem::of_status(status))
}

pub(super) fn dress(headers: &mut HeaderMap, id: &RequestId, edge: Edge) {
    let foreign: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    if edge == Edge::Tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, ONE_YEAR);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, NOTHING_LOADS),
    ] {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
}

pub(super) fn count(route: &str, status: StatusCode) {
    metrics::counter!(metric::HTTP_REQUESTS, "route" => route.to_owned(), "status" => status.as_str().to_owned())
        .increment(1);
}

#[cfg(test)]
mod tests;
