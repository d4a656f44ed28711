//! The pages of a flow: `/connect/{handle}`, and `/link` for who has a code instead of a link.

use actix_web::{
    HttpResponse,
    cookie::Cookie,
    http::header::{CONTENT_SECURITY_POLICY, LOCATION, RETRY_AFTER},
    web,
};

use super::{
    browser::{Browser, FormOrigin, new_cookie},
    extract::{ClientAddress, FormBody, QueryPairs},
    outcomes::{self, PageError},
    pages::{
        AskedFrom, ConnectPage, LinkPage, LinkProblem, Network, NextStep, Outcome, Scope, Shown, ShownHost,
        VerificationQr,
    },
    throttle::Throttles,
};
use crate::{
    domain::{
        binding::ClientNetwork,
        secret::{BrowserCookie, ConnectHandle, UserCode},
    },
    flows::{Broker, Consent, ConsentPage, Decided, StoreError},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/connect/{handle}").route(web::get().to(show)).route(web::post().to(decide)))
        .service(web::resource("/link").route(web::get().to(show_link)).route(web::post().to(link)));
}

async fn show(
    broker: web::Data<Broker>,
    path: web::Path<String>,
    browser: Browser,
    client: ClientAddress,
) -> Result<HttpResponse, PageError> {
    let handle = ConnectHandle::new(path.into_inner());
    Ok(match broker.show_consent(&handle, browser.cookie.as_ref()).await? {
        ConsentPage::Ask(consent) => {
            let (cookie, set) = cookie_for(&broker, browser);
            let csrf = broker.csrf(&cookie, handle.expose());
            with_cookie(asked(&broker, &consent, csrf, client.0), set)
        }
        ConsentPage::Progress(row) => outcomes::progress(&row, broker.now()),
        ConsentPage::Return(url) => see_other(url.as_str()),
        ConsentPage::OtherBrowser => outcomes::page(Outcome::OtherBrowser),
        ConsentPage::Expired => outcomes::page(Outcome::Expired),
        ConsentPage::Unknown => outcomes::page(Outcome::NotFound),
    })
}

async fn decide(
    broker: web::Data<Broker>,
    path: web::Path<String>,
    browser: Browser,
    client: ClientAddress,
    form: FormBody,
) -> Result<HttpResponse, PageError> {
    let handle = ConnectHandle::new(path.into_inner());
    let genuine = |cookie: &BrowserCookie| {
        browser.origin == FormOrigin::OursOrUnsaid
            && form.get("csrf").is_some_and(|given| broker.is_csrf(cookie, handle.expose(), given))
    };
    let Some(cookie) = browser.cookie.as_ref().filter(|cookie| genuine(cookie)) else {
        return Ok(outcomes::page(Outcome::FormExpired));
    };
    let decided = match form.get("decision") {
        Some("continue") => broker.continue_to_provider(&handle, cookie, client.0).await?,
        Some("cancel") => broker.cancel(&handle, cookie, client.0).await?,
        Some(_) | None => return Ok(outcomes::page(Outcome::BadRequest)),
    };
    Ok(match decided {
        Decided::Authorize(url) => see_other(url.as_str()),
        Decided::Cancelled => see_other(&format!("/connect/{}", handle.expose())),
        Decided::TooLate => match broker.show_consent(&handle, Some(cookie)).await? {
            ConsentPage::Progress(_) | ConsentPage::Return(_) => {
                see_other(&format!("/connect/{}", handle.expose()))
            }
            ConsentPage::Expired => outcomes::page(Outcome::Expired),
            ConsentPage::Ask(_) | ConsentPage::OtherBrowser => outcomes::page(Outcome::OtherBrowser),
            ConsentPage::Unknown => outcomes::page(Outcome::NotFound),
        },
        Decided::Unusable => outcomes::page(Outcome::ProviderRefused(None)),
        Decided::Unknown => outcomes::page(Outcome::NotFound),
    })
}

async fn show_link(
    broker: web::Data<Broker>,
    browser: Browser,
    query: QueryPairs,
) -> Result<HttpResponse, PageError> {
    let typed = query.one("user_code")?;
    let (cookie, set) = cookie_for(&broker, browser);
    let mut page = LinkPage::new(typed, broker.csrf(&cookie, "link"));
    if let Some(code) = typed.and_then(UserCode::typed) {
        let own_address = broker.settings().public_url.join(&format!("/link?user_code={}", code.shown()));
        if let Ok(qr) = VerificationQr::of(&own_address) {
            page = page.with_qr(qr);
        }
    }
    Ok(with_cookie(link_page(&page), set))
}

async fn link(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    browser: Browser,
    client: ClientAddress,
    form: FormBody,
) -> Result<HttpResponse, PageError> {
    let genuine = browser.origin == FormOrigin::OursOrUnsaid
        && browser.cookie.as_ref().is_some_and(|cookie| {
            form.get("csrf").is_some_and(|given| broker.is_csrf(cookie, "link", given))
        });
    let typed = form.get("user_code").unwrap_or_default().to_owned();
    let (cookie, set) = cookie_for(&broker, browser);
    let again =
        |problem| link_page(&LinkPage::new(Some(&typed), broker.csrf(&cookie, "link")).again(problem));
    if !genuine {
        return Ok(with_cookie(again(LinkProblem::FormExpired), set));
    }
    if let Err(wait) = throttles.user_codes.take(client.0, broker.now()) {
        let mut response = again(LinkProblem::TooManyTries(wait));
        response.headers_mut().insert(RETRY_AFTER, wait.as_secs().max(1).into());
        return Ok(response);
    }
    let found = match UserCode::typed(&typed) {
        Some(code) => page_of(&broker, &code).await.transpose(),
        None => None,
    };
    let Some(path) = found else { return Ok(again(LinkProblem::Unknown)) };
    // Neither a right code nor an outage of ours is a wrong guess.
    throttles.user_codes.give_back(client.0);
    Ok(see_other(&path?))
}

/// The page that a typed code leads to: that of a flow, or of a terminal's sign-in.
async fn page_of(broker: &Broker, code: &UserCode) -> Result<Option<String>, StoreError> {
    if let Some(handle) = broker.find_by_user_code(code).await? {
        return Ok(Some(format!("/connect/{}", handle.expose())));
    }
    let handle = broker.find_sign_in_by_user_code(code).await?;
    Ok(handle.map(|handle| format!("/login/{}", handle.expose())))
}

fn asked(broker: &Broker, consent: &Consent, csrf: String, client: ClientNetwork) -> HttpResponse {
    let network = if client.is_same_as(consent.network) { Network::Same } else { Network::Other };
    let code = broker.settings().consent_binding.asks_for_code(consent.network, client);
    let Some(provider) = ShownHost::of(&consent.auth_endpoint) else {
        return outcomes::page(Outcome::ProviderRefused(None));
    };
    let page = ConnectPage {
        device: Shown::name(&consent.device_name),
        plugin: Shown::name(&consent.plugin_name),
        provider,
        scope: Scope::of(consent.scope.as_deref()),
        asked: AskedFrom::new(consent.network.address(), consent.started_at, broker.now(), network),
        next: if code { NextStep::Code } else { NextStep::Done },
        csrf,
    };
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, ConnectPage::policy()))
        .body(page.render())
}

fn link_page(page: &LinkPage) -> HttpResponse {
    HttpResponse::build(page.status())
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, LinkPage::policy()))
        .body(page.render())
}

/// The browser's own cookie, or a new one and the header that sets it.
pub(super) fn cookie_for(broker: &Broker, browser: Browser) -> (BrowserCookie, Option<Cookie<'static>>) {
    if let Some(cookie) = browser.cookie {
        return (cookie, None);
    }
    let (value, cookie) = new_cookie(broker.entropy(), &broker.settings().public_url);
    (value, Some(cookie))
}

pub(super) fn with_cookie(mut response: HttpResponse, set: Option<Cookie<'static>>) -> HttpResponse {
    if let Some(cookie) = set {
        // Fails only where a cookie can't be written as a header; this one is base64url.
        let _ = response.add_cookie(&cookie);
    }
    response
}

pub(super) fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, location)).finish()
}
