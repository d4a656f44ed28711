//! `/api/device_authorization` (RFC 8628) and `/api/authorize` (RFC 8252, RFC 7636): a terminal asks for somebody to
//! sign in. Neither needs a credential: what they start waits for a person, and is worth nothing before that.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::{
    connect::see_other,
    extract::{ClientAddress, OauthForm, QueryPairs},
    oauth_error::{OauthError, OauthErrorCode},
    outcomes::{self, PageError},
    pages::Outcome,
    redirect::is_prefetch,
    throttle::Throttles,
};
use crate::{
    domain::{
        pkce::CodeChallenge,
        secret::SecretValue,
        sign_in::{ClientId, LONGEST_STATE, LoginScope, LoopbackUri},
    },
    flows::{Broker, StartSignInError, Terminal},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/device_authorization").route(web::post().to(authorize_device)))
        .service(web::resource("/api/authorize").route(web::get().to(authorize_browser)));
}

async fn authorize_device(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    client: ClientAddress,
    form: OauthForm,
) -> Result<HttpResponse, OauthError> {
    let terminal = Terminal {
        client: client_of(&form)?,
        asked: asked(form.get("scope")).map_err(|()| {
            let description = "scope is either owner, or device: and the device's id";
            OauthError::new(OauthErrorCode::InvalidScope, description)
        })?,
        network: client.0,
    };
    let taken = throttles.sign_ins.take(client.0, broker.now());
    taken.map_err(|wait| OauthError::too_many_requests(wait.as_secs()))?;
    let started = broker.authorize_device(&terminal).await?;
    let (public_url, user_code) = (&broker.settings().public_url, started.user_code.shown());
    Ok(HttpResponse::Ok().insert_header(("pragma", "no-cache")).json(json!({
        "device_code": started.device_code.expose(),
        "user_code": user_code,
        "verification_uri": public_url.join("/link"),
        "verification_uri_complete": public_url.join(&format!("/link?user_code={user_code}")),
        "expires_in": started.expires_in.whole_seconds(),
        "interval": started.interval.whole_seconds(),
    })))
}

/// Until the redirect URI is known to be one of this machine's own, no error is sent anywhere but to the person.
async fn authorize_browser(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    client: ClientAddress,
    request: HttpRequest,
    query: QueryPairs,
) -> Result<HttpResponse, PageError> {
    if is_prefetch(&request) {
        return Ok(outcomes::page(Outcome::Prefetch));
    }
    let names: BTreeSet<&str> = query.iter().map(|(name, _)| name).collect();
    let redirect_uri = query.one("redirect_uri")?.and_then(|uri| uri.parse::<LoopbackUri>().ok());
    let (Some(redirect_uri), true) = (redirect_uri, names.len() == query.iter().count()) else {
        return Ok(outcomes::page(Outcome::BadRequest));
    };
    let state = query.one("state")?.filter(|state| !state.is_empty());
    let returned = state.filter(|state| state.len() <= LONGEST_STATE).map(SecretValue::new);
    let refuse = |error: &str| see_other(&broker.answer(&redirect_uri, ("error", error), returned.as_ref()));
    let asked = match read(&query, state) {
        Ok(asked) => asked,
        Err(error) => return Ok(refuse(error)),
    };
    if let Err(wait) = throttles.sign_ins.take(client.0, broker.now()) {
        return Ok(outcomes::page(Outcome::TooManyRequests(wait)));
    }
    let terminal = Terminal { client: asked.client, asked: asked.scope, network: client.0 };
    let started =
        broker.authorize_browser(&terminal, &redirect_uri, returned.as_ref(), &asked.challenge).await;
    match started {
        Ok(handle) => Ok(see_other(&format!("/login/{}", handle.expose()))),
        Err(StartSignInError::TooMany) => Ok(refuse("temporarily_unavailable")),
        Err(StartSignInError::Store(cause)) => Err(cause.into()),
    }
}

/// An authorization request whose redirect URI was read already.
struct Asked {
    client: Option<ClientId>,
    scope: Option<LoginScope>,
    challenge: CodeChallenge,
}

/// The `error` of RFC 6749 §4.1.2.1 where a member does not fit.
fn read(query: &QueryPairs, state: Option<&str>) -> Result<Asked, &'static str> {
    let one = |name| query.one(name).ok().flatten().filter(|value: &&str| !value.is_empty());
    match one("response_type") {
        Some("code") => {}
        Some(_) => return Err("unsupported_response_type"),
        None => return Err("invalid_request"),
    }
    let challenge = one("code_challenge").and_then(|challenge| challenge.parse().ok());
    let (Some(challenge), Some("S256")) = (challenge, one("code_challenge_method")) else {
        return Err("invalid_request");
    };
    if state.is_some_and(|state| state.len() > LONGEST_STATE) {
        return Err("invalid_request");
    }
    let client = one("client_id").map(str::parse).transpose().map_err(|_| "invalid_request")?;
    let scope = asked(one("scope")).map_err(|()| "invalid_scope")?;
    Ok(Asked { client, scope, challenge })
}

fn asked(scope: Option<&str>) -> Result<Option<LoginScope>, ()> {
    scope.map(str::parse).transpose().map_err(|_| ())
}

/// What a program calls itself in a form.
pub(super) fn client_of(form: &OauthForm) -> Result<Option<ClientId>, OauthError> {
    let client = form.get("client_id").map(str::parse).transpose();
    client.map_err(|_| {
        OauthError::invalid_request("client_id has 1 to 64 characters of letters, digits, dot, _ and -")
    })
}

impl From<StartSignInError> for OauthError {
    fn from(error: StartSignInError) -> Self {
        match error {
            StartSignInError::TooMany => Self::too_many_requests(60),
            StartSignInError::Store(cause) => cause.into(),
        }
    }
}
