//! `POST /api/token` and the keys that verify what it issues.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{
    extract::OauthForm,
    oauth_error::{OauthError, OauthErrorCode},
};
use crate::{
    domain::ids::SlotName,
    flows::{Broker, GrantError},
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/token").route(web::post().to(grant)))
        .service(web::resource("/.well-known/jwks.json").route(web::get().to(jwks)));
}

async fn grant(broker: web::Data<Broker>, form: OauthForm) -> Result<HttpResponse, OauthError> {
    match form.get("grant_type") {
        Some(JWT_BEARER) => {}
        Some(_) => {
            let description = "the only grant type here is urn:ietf:params:oauth:grant-type:jwt-bearer";
            return Err(OauthError::new(OauthErrorCode::UnsupportedGrantType, description));
        }
        None => return Err(OauthError::invalid_request("grant_type is missing")),
    }
    let assertion =
        form.get("assertion").ok_or_else(|| OauthError::invalid_request("assertion is missing"))?;
    let slot: Option<SlotName> = match form.get("slot") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| OauthError::invalid_request("slot is no slot's name"))?),
    };
    let issued = broker.grant_by_assertion(assertion, slot.as_ref()).await?;
    Ok(HttpResponse::Ok().insert_header(("pragma", "no-cache")).json(json!({
        "access_token": issued.token.expose(),
        "token_type": "Bearer",
        "expires_in": issued.life.whole_seconds(),
        "scope": issued.scope,
    })))
}

async fn jwks(broker: web::Data<Broker>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "public, max-age=60"))
        .json(broker.access.jwks(broker.now()))
}

impl From<GrantError> for OauthError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Assertion(refused) => Self::invalid_grant(refused.to_string()),
            GrantError::Spent => Self::invalid_grant(
                "the assertion was used before: sign a new one, with a new jti, for each token",
            ),
            GrantError::NotReady => Self::unavailable(1),
            GrantError::Store(cause) if cause.is_outage() => {
                tracing::warn!(cause = &cause as &dyn std::error::Error, "the database is away");
                Self::unavailable(5)
            }
            GrantError::Store(cause) => Self::internal(&cause),
        }
    }
}
