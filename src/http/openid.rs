//! `/api/login/callback`: a browser comes back from the OpenID provider.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    browser::Browser,
    connect::see_other,
    extract::{ClientAddress, QueryPairs},
    outcomes::{self, PageError},
    pages::{Outcome, SignInEnd},
    redirect::is_prefetch,
};
use crate::{
    domain::secret::{AuthorizationCode, FlowState},
    flows::{Broker, OpenIdAnswer, Returned, SignInOutcome},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/login/callback").route(web::get().to(callback)));
}

async fn callback(
    broker: web::Data<Broker>,
    request: HttpRequest,
    browser: Browser,
    client: ClientAddress,
    query: QueryPairs,
) -> Result<HttpResponse, PageError> {
    if is_prefetch(&request) {
        return Ok(outcomes::page(Outcome::Prefetch));
    }
    let refused = || outcomes::page(Outcome::SignIn(SignInEnd::BadCallback));
    let (Some(answer), Some(cookie)) = (read(&query), &browser.cookie) else { return Ok(refused()) };
    // The code leaves the address bar with each of these (D04).
    Ok(match broker.return_from_provider(&answer, cookie, client.0).await? {
        Returned::Unknown => refused(),
        Returned::Decided(_, SignInOutcome::Return(url)) => see_other(&url),
        Returned::Decided(handle, SignInOutcome::Page(_)) => {
            see_other(&format!("/login/{}", handle.expose()))
        }
        Returned::Decided(handle, SignInOutcome::Wrong) | Returned::Failed(handle) => {
            see_other(&format!("/login/{}?problem=provider", handle.expose()))
        }
    })
}

/// Nothing where a member is missing, there twice, or there together with what it excludes.
fn read(query: &QueryPairs) -> Option<OpenIdAnswer> {
    let one = |name| query.one(name).map(|value: Option<&str>| value.filter(|value| !value.is_empty())).ok();
    let (code, error) = (one("code")?, one("error")?);
    if code.is_some() == error.is_some() {
        return None;
    }
    Some(OpenIdAnswer {
        state: FlowState::new(one("state")??),
        code: code.map(AuthorizationCode::new),
        issuer: one("iss")?.map(str::to_owned),
    })
}
