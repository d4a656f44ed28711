//! `POST /api/token` and the keys that verify what it issues.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{
    extract::OauthForm,
    oauth_error::{OauthError, OauthErrorCode},
    terminal::client_of,
};
use crate::{
    domain::{
        ids::SlotName,
        pkce::is_verifier,
        secret::{AuthorizationCode, CodeVerifier, DeviceCode},
    },
    flows::{Broker, GrantError, Issued, SignInGrantError},
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const AUTHORIZATION_CODE: &str = "authorization_code";

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/token").route(web::post().to(grant)))
        .service(web::resource("/.well-known/jwks.json").route(web::get().to(jwks)));
}

async fn grant(broker: web::Data<Broker>, form: OauthForm) -> Result<HttpResponse, OauthError> {
    let issued = match form.get("grant_type") {
        Some(JWT_BEARER) => by_assertion(&broker, &form).await?,
        Some(DEVICE_CODE) => by_device_code(&broker, &form).await?,
        Some(AUTHORIZATION_CODE) => by_code(&broker, &form).await?,
        Some(_) => {
            let description = "the grant types here are authorization_code, \
                urn:ietf:params:oauth:grant-type:device_code and urn:ietf:params:oauth:grant-type:jwt-bearer";
            return Err(OauthError::new(OauthErrorCode::UnsupportedGrantType, description));
        }
        None => return Err(OauthError::invalid_request("grant_type is missing")),
    };
    Ok(HttpResponse::Ok().insert_header(("pragma", "no-cache")).json(json!({
        "access_token": issued.token.expose(),
        "token_type": "Bearer",
        "expires_in": issued.life.whole_seconds(),
        "scope": issued.scope,
    })))
}

async fn by_assertion(broker: &Broker, form: &OauthForm) -> Result<Issued, OauthError> {
    let assertion =
        form.get("assertion").ok_or_else(|| OauthError::invalid_request("assertion is missing"))?;
    let slot: Option<SlotName> = match form.get("slot") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| OauthError::invalid_request("slot is no slot's name"))?),
    };
    Ok(broker.grant_by_assertion(assertion, slot.as_ref()).await?)
}

async fn by_device_code(broker: &Broker, form: &OauthForm) -> Result<Issued, OauthError> {
    let code =
        form.get("device_code").ok_or_else(|| OauthError::invalid_request("device_code is missing"))?;
    let client = client_of(form)?;
    Ok(broker.grant_by_device_code(&DeviceCode::new(code), client.as_ref()).await?)
}

async fn by_code(broker: &Broker, form: &OauthForm) -> Result<Issued, OauthError> {
    let member = |name, description| form.get(name).ok_or_else(|| OauthError::invalid_request(description));
    let code = member("code", "code is missing")?;
    let redirect_uri = member("redirect_uri", "redirect_uri is missing")?;
    let verifier = member("code_verifier", "code_verifier is missing")?;
    if !is_verifier(verifier) {
        return Err(OauthError::invalid_request("code_verifier has 43 to 128 unreserved characters"));
    }
    let redirect_uri = redirect_uri.parse().map_err(|_| OauthError::invalid_grant(NOT_GOOD))?;
    let (code, verifier) = (AuthorizationCode::new(code), CodeVerifier::new(verifier));
    Ok(broker.grant_by_code(&code, &redirect_uri, &verifier, client_of(form)?.as_ref()).await?)
}

const NOT_GOOD: &str =
    "the code is wrong, was used, has expired, or belongs to another request; sign in again";

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
            GrantError::Store(cause) => cause.into(),
        }
    }
}

impl From<SignInGrantError> for OauthError {
    fn from(error: SignInGrantError) -> Self {
        match error {
            SignInGrantError::Pending => {
                Self::new(OauthErrorCode::AuthorizationPending, "nobody has signed in yet; ask again")
            }
            SignInGrantError::SlowDown => Self::new(
                OauthErrorCode::SlowDown,
                "wait five seconds longer between two requests from now on",
            ),
            SignInGrantError::Expired => {
                Self::new(OauthErrorCode::ExpiredToken, "nobody signed in in time; start again")
            }
            SignInGrantError::Denied => Self::new(OauthErrorCode::AccessDenied, "the sign-in was refused"),
            SignInGrantError::Refused => Self::invalid_grant(NOT_GOOD),
            SignInGrantError::NotReady => Self::unavailable(1),
            SignInGrantError::Store(cause) => cause.into(),
        }
    }
}
