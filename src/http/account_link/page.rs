//! `/account-link/{handle}`: the page of one of Home Assistant's attempts. What the client appended to its address is
//! carried on, because the form posts to the page's own address.

use actix_web::{HttpRequest, HttpResponse, http::header::CONTENT_SECURITY_POLICY, web};
use url::form_urlencoded;

use crate::{
    domain::{
        binding::ClientNetwork,
        secret::{AccountLinkHandle, BrowserCookie},
    },
    flows::{AccountLinkPage, AccountLinkQuestion, Broker, Decided},
    http::{
        browser::{Browser, FormOrigin},
        connect::{cookie_for, see_other, with_cookie},
        extract::{ClientAddress, FormBody},
        outcomes::{self, PageError},
        pages::{
            AccountLinkEndPage, AccountLinkOutcome, AskedFrom, ConsentForHomeAssistant, Network, Outcome,
            Scope, Shown, ShownHost,
        },
    },
};

/// Query members that are looked at; more are an error of whoever wrote the address.
const MOST_MEMBERS: usize = 64;

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/account-link/{handle}").route(web::get().to(show)).route(web::post().to(decide)),
    );
}

async fn show(
    broker: web::Data<Broker>,
    path: web::Path<String>,
    request: HttpRequest,
    browser: Browser,
    client: ClientAddress,
) -> Result<HttpResponse, PageError> {
    if broker.account_link_services().is_none() {
        return Ok(outcomes::page(Outcome::NotFound));
    }
    let handle = AccountLinkHandle::new(path.into_inner());
    let appended = appended(&request);
    let page = broker.show_account_link(&handle, browser.cookie.as_ref(), client.0, &appended).await?;
    Ok(match page {
        AccountLinkPage::Ask(question) => {
            let (cookie, set) = cookie_for(&broker, browser);
            let csrf = broker.csrf(&cookie, handle.expose());
            with_cookie(asked(&broker, &question, csrf, client.0), set)
        }
        page @ (AccountLinkPage::Progress(_)
        | AccountLinkPage::OtherBrowser
        | AccountLinkPage::Over
        | AccountLinkPage::Unknown) => told(page),
    })
}

async fn decide(
    broker: web::Data<Broker>,
    path: web::Path<String>,
    request: HttpRequest,
    browser: Browser,
    client: ClientAddress,
    form: FormBody,
) -> Result<HttpResponse, PageError> {
    if broker.account_link_services().is_none() {
        return Ok(outcomes::page(Outcome::NotFound));
    }
    let handle = AccountLinkHandle::new(path.into_inner());
    let genuine = |cookie: &BrowserCookie| {
        browser.origin == FormOrigin::OursOrUnsaid
            && form.get("csrf").is_some_and(|given| broker.is_csrf(cookie, handle.expose(), given))
    };
    let Some(cookie) = browser.cookie.as_ref().filter(|cookie| genuine(cookie)) else {
        return Ok(outcomes::page(Outcome::FormExpired));
    };
    let appended = appended(&request);
    let decided = match form.get("decision") {
        Some("continue") => broker.continue_account_link(&handle, cookie, client.0, &appended).await?,
        Some("cancel") => broker.cancel_account_link(&handle, cookie, client.0).await?,
        Some(_) | None => return Ok(outcomes::page(Outcome::BadRequest)),
    };
    let own_page = || see_other(&format!("/account-link/{}", handle.expose()));
    Ok(match decided {
        Decided::Authorize(url) => see_other(url.as_str()),
        Decided::Cancelled => own_page(),
        Decided::TooLate => match broker.show_account_link(&handle, Some(cookie), client.0, &appended).await?
        {
            AccountLinkPage::Progress(_) => own_page(),
            AccountLinkPage::Ask(_) => told(AccountLinkPage::OtherBrowser),
            page @ (AccountLinkPage::OtherBrowser | AccountLinkPage::Over | AccountLinkPage::Unknown) => {
                told(page)
            }
        },
        Decided::Unusable => end(AccountLinkOutcome::Refused, None),
        Decided::Unknown => told(AccountLinkPage::Unknown),
    })
}

/// What stands behind the address, in its order.
fn appended(request: &HttpRequest) -> Vec<(String, String)> {
    let pairs = form_urlencoded::parse(request.query_string().as_bytes()).take(MOST_MEMBERS);
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn here(question: &AccountLinkQuestion, client: ClientNetwork) -> Network {
    if client.is_same_as(question.network) { Network::Same } else { Network::Other }
}

fn asked(
    broker: &Broker,
    question: &AccountLinkQuestion,
    csrf: String,
    client: ClientNetwork,
) -> HttpResponse {
    let Some(provider) = ShownHost::of(&question.auth_endpoint) else {
        return end(AccountLinkOutcome::Refused, None);
    };
    let page = ConsentForHomeAssistant {
        plugin: Shown::name(&question.plugin_name),
        provider,
        scope: Scope::of(question.scope.as_deref()),
        asked: AskedFrom::new(
            question.network.address(),
            question.started_at,
            broker.now(),
            here(question, client),
        ),
        refused_here: question.refused_here,
        csrf,
    };
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, ConsentForHomeAssistant::policy()))
        .body(page.render())
}

fn told(page: AccountLinkPage) -> HttpResponse {
    match page {
        AccountLinkPage::Progress(row) => {
            let outcome = AccountLinkOutcome::of(row.status, row.error);
            end(outcome, Some(Shown::name(&row.plugin_name)))
        }
        AccountLinkPage::OtherBrowser => end(AccountLinkOutcome::OtherBrowser, None),
        AccountLinkPage::Over => end(AccountLinkOutcome::Expired, None),
        AccountLinkPage::Ask(_) | AccountLinkPage::Unknown => outcomes::page(Outcome::NotFound),
    }
}

fn end(outcome: AccountLinkOutcome, plugin: Option<Shown>) -> HttpResponse {
    let page = AccountLinkEndPage { outcome, plugin };
    HttpResponse::build(page.status())
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, AccountLinkEndPage::policy()))
        .body(page.render())
}
