//! The provider's endpoints.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use askama::Template;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{
    super::folder::FolderError,
    CLIENT_ID, NAME, SCOPE,
    grants::{GrantError, Grants, Issued, LIFETIME, Request},
    pages::{Consent, Problem},
};
use crate::domain::{
    clock::{Clock, Entropy},
    ids::PluginId,
    secret::ClientSecret,
};

/// Bytes of a form that are read.
const LONGEST_FORM: usize = 16 * 1024;
/// The pages load nothing, and the code that a URL carries reaches nobody else.
const PAGE_HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
];

/// What the handlers share.
pub(super) struct Shared {
    pub(super) grants: Mutex<Grants>,
    pub(super) origin: String,
    /// Where cloudlink has its redirect URIs; each plugin's own is one segment below.
    pub(super) redirect_uris: String,
    pub(super) client_secret: ClientSecret,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Shared {
    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is the redirect URI of a plugin of this cloudlink's, whichever.
    fn is_redirect_uri(&self, asked: &str) -> bool {
        let plugin = asked.strip_prefix(self.redirect_uris.as_str()).and_then(|rest| rest.strip_prefix('/'));
        plugin.is_some_and(|plugin| plugin.parse::<PluginId>().is_ok())
    }

    /// The answer to the redirect URI (RFC 6749 §4.1.2, RFC 9207 §2).
    fn send_back(&self, redirect_uri: &str, members: &[(&str, &str)]) -> HttpResponse {
        let Ok(mut url) = Url::parse(redirect_uri) else {
            return problem(StatusCode::INTERNAL_SERVER_ERROR, "The way back is not known here.");
        };
        url.query_pairs_mut().extend_pairs(members).append_pair("iss", &self.origin);
        let mut answer = HttpResponse::SeeOther();
        answer.insert_header((header::LOCATION, url.as_str()));
        for header in PAGE_HEADERS {
            answer.insert_header(header);
        }
        answer.finish()
    }
}

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .app_data(web::FormConfig::default().limit(LONGEST_FORM))
        .route("/authorize", web::get().to(authorize))
        .route("/decision", web::post().to(decide))
        .route("/token", web::post().to(token))
        .route("/revoke", web::post().to(revoke))
        .route("/thermostats", web::get().to(thermostats));
}

#[derive(Deserialize)]
struct Authorize {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    state: String,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    code_challenge: String,
    #[serde(default)]
    code_challenge_method: String,
}

async fn authorize(shared: web::Data<Shared>, query: web::Query<Authorize>) -> HttpResponse {
    let asked = query.into_inner();
    // Whoever is not known is not sent anywhere (RFC 6749 §4.1.2.1).
    if asked.client_id != CLIENT_ID || !shared.is_redirect_uri(&asked.redirect_uri) {
        return problem(StatusCode::BAD_REQUEST, "This link was made for another run of the demo.");
    }
    let state = ("state", asked.state.as_str());
    if asked.response_type != "code" {
        return shared.send_back(&asked.redirect_uri, &[("error", "unsupported_response_type"), state]);
    }
    if asked.code_challenge_method != "S256" || asked.code_challenge.len() != 43 {
        return shared.send_back(&asked.redirect_uri, &[("error", "invalid_request"), state]);
    }
    let scope = asked.scope.unwrap_or_else(|| SCOPE.to_owned());
    let scope = scope.split_whitespace().collect::<Vec<_>>().join(" ");
    let request = Request {
        redirect_uri: asked.redirect_uri,
        state: asked.state,
        scope: scope.clone(),
        challenge: asked.code_challenge,
    };
    let name = shared.grants().ask(request, shared.clock.now(), shared.entropy.as_ref());
    page(StatusCode::OK, &Consent { name: NAME, scope: &scope, request: name.expose() })
}

#[derive(Deserialize)]
struct Decision {
    request: String,
    decision: String,
}

async fn decide(shared: web::Data<Shared>, form: web::Form<Decision>) -> HttpResponse {
    let now = shared.clock.now();
    let mut grants = shared.grants();
    let Some(request) = grants.decided(&form.request, now) else {
        return problem(StatusCode::GONE, "This page was used already, or has been open for too long.");
    };
    let (back, state) = (request.redirect_uri.clone(), request.state.clone());
    if form.decision != "allow" {
        return shared.send_back(&back, &[("error", "access_denied"), ("state", &state)]);
    }
    let code = grants.grant(request, now, shared.entropy.as_ref());
    shared.send_back(&back, &[("code", code.expose()), ("state", &state)])
}

#[derive(Deserialize)]
struct TokenForm {
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
    #[serde(default)]
    refresh_token: String,
}

async fn token(shared: web::Data<Shared>, form: web::Form<TokenForm>) -> HttpResponse {
    if !is_client(&shared, &form.client_id, &form.client_secret) {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let (now, entropy) = (shared.clock.now(), shared.entropy.as_ref());
    let issued = match form.grant_type.as_str() {
        "authorization_code" => {
            let mut grants = shared.grants();
            grants.redeem(&form.code, &form.redirect_uri, &form.code_verifier, now, entropy)
        }
        "refresh_token" => shared.grants().refresh(&form.refresh_token, now, entropy),
        _ => return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    };
    match issued {
        Ok(issued) => granted(&issued),
        Err(GrantError::Invalid) => refusal(StatusCode::BAD_REQUEST, "invalid_grant"),
        Err(GrantError::Folder(error)) => out_of_order(&error),
    }
}

#[derive(Deserialize)]
struct RevokeForm {
    token: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
}

async fn revoke(shared: web::Data<Shared>, form: web::Form<RevokeForm>) -> HttpResponse {
    if !is_client(&shared, &form.client_id, &form.client_secret) {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    match shared.grants().revoke(&form.token) {
        Ok(()) => HttpResponse::Ok().finish(),
        Err(error) => out_of_order(&error),
    }
}

/// The API that a plugin calls with its token (RFC 6750 §2.1).
async fn thermostats(shared: web::Data<Shared>, request: HttpRequest) -> HttpResponse {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
    let token = header.and_then(|header| header.strip_prefix("Bearer "));
    if token.is_some_and(|token| shared.grants().admits(token, shared.clock.now())) {
        return HttpResponse::Ok().json(json!([{ "name": "Living room", "celsius": 20.5 }]));
    }
    HttpResponse::Unauthorized()
        .insert_header((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""))
        .json(json!({ "error": "invalid_token" }))
}

fn is_client(shared: &Shared, id: &str, secret: &str) -> bool {
    id == CLIENT_ID && ClientSecret::new(secret) == shared.client_secret
}

fn granted(issued: &Issued) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({
        "access_token": issued.access.expose(),
        "token_type": "Bearer",
        "expires_in": LIFETIME.whole_seconds(),
        "refresh_token": issued.refresh.expose(),
        "scope": issued.scope,
    }))
}

fn refusal(status: StatusCode, error: &str) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "error": error }))
}

fn out_of_order(error: &FolderError) -> HttpResponse {
    tracing::error!(%error, "the demo provider can't keep its grants");
    refusal(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
}

fn problem(status: StatusCode, reason: &str) -> HttpResponse {
    page(status, &Problem { name: NAME, reason })
}

fn page(status: StatusCode, page: &impl Template) -> HttpResponse {
    let Ok(html) = page.render() else { return HttpResponse::InternalServerError().finish() };
    let mut answer = HttpResponse::build(status);
    for header in PAGE_HEADERS {
        answer.insert_header(header);
    }
    answer.content_type("text/html; charset=utf-8").body(html)
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
