//! The span of a request. The stock one records path and query, hence every authorization code; this one
//! has a closed list of fields, none of which a caller can choose.

use actix_web::{
    Error, HttpMessage as _,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode},
    web,
};
use tracing::{Span, field::Empty};
use tracing_actix_web::RootSpanBuilder;

use crate::http::{
    extract::ClientAddress,
    frame::{Frame, RequestId},
    hardening::{Route, UNMATCHED},
};

/// For `TracingLogger`, inside of `harden`, which draws the request id.
#[derive(Debug, Clone, Copy)]
pub struct RouteSpan;

impl RootSpanBuilder for RouteSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let route = request.extensions().get::<Route>().cloned();
        let id = request.extensions().get::<RequestId>().cloned();
        let network = request
            .app_data::<web::Data<Frame>>()
            .map(|frame| ClientAddress::of(request.peer_addr(), request.headers(), &frame.trusted_proxies).0);
        tracing::info_span!(
            "request",
            request_id = id.as_ref().map(RequestId::as_str),
            method = known(request.method()),
            route = route.as_ref().map_or(UNMATCHED, Route::as_str),
            network = network.map(tracing::field::display),
            status = Empty,
        )
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let status: StatusCode = match outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        span.record("status", status.as_u16());
        span.in_scope(|| tracing::debug!("answered"));
    }
}

/// A method can be any word.
fn known(method: &Method) -> &'static str {
    let words = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    words.into_iter().find(|word| *word == method.as_str()).unwrap_or("other")
}
