//! The two redirect URIs: where providers send browsers back.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    browser::Browser,
    connect::see_other,
    outcomes::{self, PageError},
    pages::Outcome,
};
use crate::{
    domain::{callback::CallbackQuery, ids::PluginId},
    flows::{Broker, CallbackPath, Redirected, Refusal},
};

/// The routes. No method but GET: nothing else takes a flow (D01).
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/cloudlink/redirect").route(web::get().to(shared)))
        .service(web::resource("/api/cloudlink/redirect/{plugin}").route(web::get().to(own)));
}

async fn shared(
    broker: web::Data<Broker>,
    request: HttpRequest,
    browser: Browser,
) -> Result<HttpResponse, PageError> {
    callback(&broker, &CallbackPath::Shared, &request, &browser).await
}

async fn own(
    broker: web::Data<Broker>,
    path: web::Path<String>,
    request: HttpRequest,
    browser: Browser,
) -> Result<HttpResponse, PageError> {
    let path = path.parse::<PluginId>().map_or(CallbackPath::Nobodys, CallbackPath::Own);
    callback(&broker, &path, &request, &browser).await
}

async fn callback(
    broker: &Broker,
    path: &CallbackPath,
    request: &HttpRequest,
    browser: &Browser,
) -> Result<HttpResponse, PageError> {
    if is_prefetch(request) {
        return Ok(outcomes::page(Outcome::Prefetch));
    }
    let Ok(query) = CallbackQuery::parse(request.query_string()) else {
        return Ok(outcomes::page(Outcome::BadCallback));
    };
    Ok(match broker.redirect(path, &query, browser.cookie.as_ref()).await? {
        // What belongs to no flow may belong to one of Home Assistant's attempts.
        Redirected::Refused(Refusal::UnknownState) if broker.account_link_services().is_some() => {
            match broker.account_link_callback(path, &query, browser.cookie.as_ref()).await? {
                Ok(handle) => see_other(&format!("/account-link/{}", handle.expose())),
                Err(refusal) => refused(refusal),
            }
        }
        Redirected::Page(handle) => see_other(&format!("/connect/{}", handle.expose())),
        Redirected::Return(url) => see_other(url.as_str()),
        Redirected::Refused(refusal) => refused(refusal),
    })
}

fn refused(refusal: Refusal) -> HttpResponse {
    outcomes::page(match refusal {
        Refusal::Malformed(_) | Refusal::UnknownState | Refusal::OtherBrowser => Outcome::BadCallback,
        Refusal::Mixup => Outcome::IssuerMismatch,
        Refusal::Expired => Outcome::Expired,
    })
}

/// A browser that looks ahead must not take the flow from the person who follows (D01).
pub(super) fn is_prefetch(request: &HttpRequest) -> bool {
    let says = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.to_ascii_lowercase().contains("prefetch"))
    };
    says("sec-purpose") || says("purpose") || says("x-moz")
}
