//! What token endpoints answer when they refuse: RFC 6749 §5.2, with the words of RFC 8628 §3.5.
//!
//! A Basic challenge makes browsers ask for a password, so `invalid_client` is a 401 with a Bearer challenge, except
//! where the client itself came with Basic: then RFC 6749 §5.2 demands it.

use std::{borrow::Cow, error::Error, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use serde_json::json;

use crate::{flows::StoreError, http::error::Problem};

/// The `error` of an answer (RFC 6749 §5.2, RFC 8628 §3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OauthErrorCode {
    /// The request is malformed.
    InvalidRequest,
    /// Client authentication failed.
    InvalidClient,
    /// The grant is wrong, expired, revoked or another client's.
    InvalidGrant,
    /// The client may not use this grant type.
    UnauthorizedClient,
    /// The grant type is not known here.
    UnsupportedGrantType,
    /// The scope is unknown or too wide.
    InvalidScope,
    /// The person has not decided yet.
    AuthorizationPending,
    /// As before, and the interval grows by five seconds.
    SlowDown,
    /// The device code is over.
    ExpiredToken,
    /// The person said no.
    AccessDenied,
    /// For now, it does not work (RFC 6749 §4.1.2.1 has the word).
    TemporarilyUnavailable,
    /// Something went wrong here.
    ServerError,
}

impl OauthErrorCode {
    /// The registered word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::AccessDenied => "access_denied",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

/// A refusal of a token endpoint.
#[derive(Debug, Clone)]
pub struct OauthError {
    status: StatusCode,
    code: OauthErrorCode,
    description: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl OauthError {
    /// A refusal with the status that the RFCs give its code: 401 for `invalid_client`, 500 for
    /// `server_error`, else 400.
    pub fn new(code: OauthErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        let (status, header) = match code {
            OauthErrorCode::InvalidClient => {
                let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                (StatusCode::UNAUTHORIZED, Some(challenge))
            }
            OauthErrorCode::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, None),
            OauthErrorCode::InvalidRequest
            | OauthErrorCode::InvalidGrant
            | OauthErrorCode::UnauthorizedClient
            | OauthErrorCode::UnsupportedGrantType
            | OauthErrorCode::InvalidScope
            | OauthErrorCode::AuthorizationPending
            | OauthErrorCode::SlowDown
            | OauthErrorCode::ExpiredToken
            | OauthErrorCode::AccessDenied
            | OauthErrorCode::TemporarilyUnavailable => (StatusCode::BAD_REQUEST, None),
        };
        Self { status, code, description: description.into(), header }
    }

    /// 400 `invalid_request`.
    pub fn invalid_request(description: &'static str) -> Self {
        Self::new(OauthErrorCode::InvalidRequest, description)
    }

    /// 401 `invalid_client`.
    pub fn invalid_client() -> Self {
        Self::new(OauthErrorCode::InvalidClient, "the client id or secret is wrong")
    }

    /// The same, for a client that came with Basic.
    pub fn invalid_basic_client() -> Self {
        let challenge = HeaderValue::from_static("Basic realm=\"cloudlink\", charset=\"UTF-8\"");
        Self { header: Some((header::WWW_AUTHENTICATE, challenge)), ..Self::invalid_client() }
    }

    /// 400 `invalid_grant`.
    pub fn invalid_grant(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(OauthErrorCode::InvalidGrant, description)
    }

    /// 503: the provider is away; the grant still stands.
    pub fn unavailable(retry_after_seconds: u64) -> Self {
        let mut error = Self::new(OauthErrorCode::TemporarilyUnavailable, "try again later");
        error.status = StatusCode::SERVICE_UNAVAILABLE;
        error.header = Some((header::RETRY_AFTER, HeaderValue::from(retry_after_seconds.max(1))));
        error
    }

    /// 429: too many requests.
    pub fn too_many_requests(retry_after_seconds: u64) -> Self {
        let mut error = Self::new(OauthErrorCode::SlowDown, "too many requests; wait before the next one");
        error.status = StatusCode::TOO_MANY_REQUESTS;
        error.header = Some((header::RETRY_AFTER, HeaderValue::from(retry_after_seconds.max(1))));
        error
    }

    /// 500. Logs the cause once, as [`Problem::internal`] does.
    pub fn internal(cause: &dyn Error) -> Self {
        let _logged = Problem::internal(cause);
        Self::new(OauthErrorCode::ServerError, "something went wrong here")
    }

    /// The code.
    pub fn code(&self) -> OauthErrorCode {
        self.code
    }
}

impl From<StoreError> for OauthError {
    /// A database that is away is a 503: nothing was lost, and trying again helps.
    fn from(error: StoreError) -> Self {
        if error.is_outage() {
            tracing::warn!(cause = &error as &dyn Error, "the database is away");
            return Self::unavailable(5);
        }
        Self::internal(&error)
    }
}

impl fmt::Display for OauthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())
    }
}

impl Error for OauthError {}

impl ResponseError for OauthError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(header) = self.header.clone() {
            response.insert_header(header);
        }
        response.json(json!({ "error": self.code.as_str(), "error_description": self.description }))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    #[actix_web::test]
    async fn a_refusal_has_the_form_of_rfc_6749() {
        let response = OauthError::invalid_grant("the clock is 5 minutes off").error_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
        assert_eq!(response.headers().get("content-type").unwrap(), "application/json");
        let body = to_bytes(response.into_body()).await.unwrap();
        let expected = json!({"error": "invalid_grant", "error_description": "the clock is 5 minutes off"});
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
    }

    #[test]
    fn a_provider_that_is_away_is_a_503_and_no_dead_grant() {
        let response = OauthError::unavailable(30).error_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get("retry-after").unwrap(), "30");
    }

    #[test]
    fn a_wrong_client_is_a_401_with_a_basic_challenge_only_where_it_came_with_basic() {
        for (error, scheme) in
            [(OauthError::invalid_client(), "Bearer"), (OauthError::invalid_basic_client(), "Basic")]
        {
            let response = error.error_response();
            assert_eq!(response.status(), 401);
            let challenge = response.headers().get("www-authenticate").unwrap().to_str().unwrap();
            assert_eq!(challenge.split(' ').next(), Some(scheme));
        }
    }
}
