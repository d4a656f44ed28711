//! What a caller is told when a call is refused: `application/problem+json` (RFC 9457).
//!
//! A [`Problem`] is made by meaning, from fixed sentences and parsed values; none of its constructors takes
//! a cause into its text (law 7). [`Problem::internal`] logs the cause, and the caller gets a sentence that
//! is always the same.

use std::{borrow::Cow, error::Error, fmt};

use actix_web::{
    HttpRequest, HttpResponse, Responder, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use serde::Serialize;

use crate::{domain::plugin::FieldError, flows::StoreError};

/// The media type of RFC 9457 §6.1.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A refusal. `code` is stable and for programs, `detail` is for people.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<(String, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Field<'a>>,
}

#[derive(Serialize)]
struct Field<'a> {
    field: &'a str,
    detail: &'a str,
}

impl Problem {
    /// Any status with a code and a sentence. Prefer a constructor that says what happened.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: no valid credential, with a Bearer challenge (RFC 6750 §3).
    pub fn unauthorized() -> Self {
        let detail = "Log in first, and send the access token as Authorization: Bearer.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 401 with a Basic challenge (RFC 7617), which makes browsers ask: for `/admin` alone.
    pub fn login_required() -> Self {
        let challenge = HeaderValue::from_static("Basic realm=\"cloudlink\", charset=\"UTF-8\"");
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Log in as the owner.")
            .with(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403: the right subject with the wrong kind of credential.
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This credential may not do that; use the other kind.")
    }

    /// 401 for a wrong name, device or password: which of them is not told (I04).
    pub fn wrong_login() -> Self {
        let detail = "The name or the password is wrong.";
        Self::new(StatusCode::UNAUTHORIZED, "wrong_login", detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: the old password, which a change needs, is wrong.
    pub fn wrong_password() -> Self {
        Self::new(StatusCode::FORBIDDEN, "wrong_password", "The old password is wrong; nothing was changed.")
    }

    /// 403: no device is enrolled with this code, or without one.
    pub fn enrolment_refused() -> Self {
        let detail = "This code is wrong, was used or has expired; ask the owner for a new one.";
        Self::new(StatusCode::FORBIDDEN, "enrolment_refused", detail)
    }

    /// 404: does not exist, or belongs to somebody else.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here, or nothing of yours.")
    }

    /// 409: not in this state.
    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 410: it was here and is over.
    pub fn gone(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::GONE, code, detail)
    }

    /// 413: more body than is read.
    pub fn too_large() -> Self {
        let detail = "The body is larger than is accepted here.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
    }

    /// 415: another media type than the one named.
    pub fn unsupported_media_type(detail: &'static str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// 422: members that do not fit, each with a JSON pointer (RFC 6901) and a sentence.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = "Some members do not fit; see errors.";
        Self {
            errors: errors.into_iter().map(|error| (error.field, error.detail)).collect(),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
        }
    }

    /// 422 for a rule that no single member breaks.
    pub fn unprocessable(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 429: try again after that many seconds.
    pub fn too_many_requests(retry_after_seconds: u64) -> Self {
        let detail = "Too many requests; wait before the next one.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
            .with(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds.max(1)))
    }

    /// 503: try again after that many seconds.
    pub fn unavailable(code: &'static str, retry_after_seconds: u64) -> Self {
        let detail = "This does not work at the moment; try again later.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .with(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds.max(1)))
    }

    /// 504: who should answer did not.
    pub fn no_answer(code: &'static str, detail: &'static str) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, code, detail)
    }

    /// 500. Logs the cause and its sources, once; the caller learns nothing of them.
    pub fn internal(cause: &dyn Error) -> Self {
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(cause = chain, "a request failed");
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The problem for a status that the framework chose.
    pub fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status.as_u16() {
            401 => return Self::unauthorized(),
            403 => return Self::forbidden(),
            404 => return Self::not_found(),
            405 => ("method_not_allowed", "This address does not take this method; see the Allow header."),
            408 => ("request_timeout", "The request took too long to arrive."),
            413 => return Self::too_large(),
            414 => ("uri_too_long", "The address is longer than is accepted."),
            415 => ("unsupported_media_type", "The body's media type is not accepted here."),
            426 => ("upgrade_required", "This address speaks another protocol; see the Upgrade header."),
            431 => ("headers_too_large", "The headers are larger than is accepted."),
            503 => ("unavailable", "This does not work at the moment; try again later."),
            500..=599 => ("internal", "Something went wrong here. Give the operator the x-request-id."),
            _ => ("bad_request", "The request cannot be understood."),
        };
        Self::new(status, code, detail)
    }

    /// 400: the relay's address, without the handshake of a WebSocket (RFC 6455 §4.1).
    pub fn websocket_required() -> Self {
        Self::bad_request("websocket_required", "This address speaks WebSocket.")
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable word.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Members that do not fit: JSON pointer and sentence.
    pub(super) fn fields(&self) -> &[(String, String)] {
        &self.errors
    }

    /// What goes with the answer besides its body, as `Retry-After`.
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// The JSON text of the body.
    pub(super) fn body(&self) -> String {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: self.errors.iter().map(|(field, detail)| Field { field, detail }).collect(),
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl From<StoreError> for Problem {
    /// A database that is away is a 503: nothing was lost, and trying again helps.
    fn from(error: StoreError) -> Self {
        if error.is_outage() {
            tracing::warn!(cause = &error as &dyn Error, "the database is away");
            return Self::unavailable("database_unavailable", 5);
        }
        Self::internal(&error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.code)
    }
}

impl Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        for (name, value) in &self.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        response.body(self.body())
    }
}

impl Responder for Problem {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse<BoxBody> {
        self.error_response()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    async fn parts(problem: Problem) -> (StatusCode, header::HeaderMap, Value) {
        let response = problem.error_response();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body()).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    #[actix_web::test]
    async fn a_problem_has_the_members_of_the_contract() {
        let error = FieldError { field: "/token_endpoint".to_owned(), detail: "must be https".to_owned() };
        let (status, headers, body) = parts(Problem::invalid(vec![error])).await;
        assert_eq!(status, 422);
        assert_eq!(headers.get("content-type").unwrap(), PROBLEM_JSON);
        let expected = json!({
            "type": "about:blank", "title": "Unprocessable Entity", "status": 422,
            "detail": "Some members do not fit; see errors.", "code": "invalid",
            "errors": [{"field": "/token_endpoint", "detail": "must be https"}],
        });
        assert_eq!(body, expected);
    }

    #[actix_web::test]
    async fn the_challenge_of_a_401_is_bearer_and_basic_only_where_a_browser_should_ask() {
        let (_, headers, body) = parts(Problem::unauthorized()).await;
        assert_eq!(headers.get("www-authenticate").unwrap(), "Bearer");
        assert_eq!(body.get("errors"), None);
        let (_, headers, _) = parts(Problem::login_required()).await;
        assert!(headers.get("www-authenticate").unwrap().to_str().unwrap().starts_with("Basic "));
    }

    #[actix_web::test]
    async fn e08_an_internal_error_tells_nothing_of_its_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("canary")]
        struct Cause;
        let (status, _, body) = parts(Problem::internal(&Cause)).await;
        assert_eq!((status.as_u16(), body["code"].as_str()), (500, Some("internal")));
        assert!(!body.to_string().contains("canary"));
    }

    #[actix_web::test]
    async fn who_must_wait_is_told_how_long() {
        let (_, headers, _) = parts(Problem::unavailable("provider_unavailable", 7)).await;
        assert_eq!(headers.get("retry-after").unwrap(), "7");
        let (_, headers, _) = parts(Problem::too_many_requests(0)).await;
        assert_eq!(headers.get("retry-after").unwrap(), "1");
    }
}
