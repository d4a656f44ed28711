//! `/login/{handle}`: the page on which somebody signs in for a terminal.
//!
//! A post counts only with the `csrf` of a page that was shown to the same browser, and the first one binds the
//! sign-in to it. The cookie says which browser it is and authenticates nobody: each sign-in needs its password (I05,
//! I06).

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_SECURITY_POLICY, RETRY_AFTER},
    web,
};

use super::{
    browser::{Browser, FormOrigin},
    connect::{cookie_for, see_other, with_cookie},
    extract::{ClientAddress, FormBody, QueryPairs},
    login::whole_seconds,
    outcomes::{self, PageError},
    pages::{AskedFrom, LoginForm, LoginPage, LoginProblem, Network, Outcome, Shown, ShownHost, SignInEnd},
    throttle::Throttles,
};
use crate::{
    domain::{
        binding::ClientNetwork,
        secret::{BrowserCookie, LoginHandle, Password},
        sign_in::{Denial, LoginScope},
    },
    flows::{
        Broker, HashingError, Identity, OpenIdStart, PasswordError, SignInError, SignInOutcome, SignInPage,
        SignInQuestion,
    },
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/login/{handle}").route(web::get().to(show)).route(web::post().to(decide)));
}

async fn show(
    broker: web::Data<Broker>,
    path: web::Path<String>,
    browser: Browser,
    client: ClientAddress,
    query: QueryPairs,
) -> Result<HttpResponse, PageError> {
    let handle = LoginHandle::new(path.into_inner());
    let problem = query.one("problem")?.filter(|problem| *problem == "provider");
    let page = broker.show_sign_in(&handle, browser.cookie.as_ref()).await?;
    let (cookie, set) = cookie_for(&broker, browser);
    let look = Look { broker: &broker, handle: &handle, cookie: &cookie, client: client.0 };
    let asked = matches!(page, SignInPage::Ask(_));
    Ok(with_cookie(look.shown(page, problem.map(|_| LoginProblem::Provider)), set.filter(|_| asked)))
}

async fn decide(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    path: web::Path<String>,
    browser: Browser,
    client: ClientAddress,
    form: FormBody,
) -> Result<HttpResponse, PageError> {
    let handle = LoginHandle::new(path.into_inner());
    let genuine = |cookie: &BrowserCookie| {
        browser.origin == FormOrigin::OursOrUnsaid
            && form.get("csrf").is_some_and(|given| broker.is_csrf(cookie, handle.expose(), given))
    };
    let Some(cookie) = browser.cookie.as_ref().filter(|cookie| genuine(cookie)) else {
        return Ok(outcomes::page(Outcome::FormExpired));
    };
    let look = Look { broker: &broker, handle: &handle, cookie, client: client.0 };
    let given = |name| form.get(name).filter(|value: &&str| !value.is_empty());
    if given("with") == Some("oidc") {
        // Never given back: each may cost the provider a few requests.
        if let Err(wait) = throttles.logins.take(client.0, broker.now()) {
            return look.again(LoginProblem::TooManyTries(wait)).await;
        }
        return match broker.sign_in_at_provider(&handle, cookie).await? {
            OpenIdStart::Authorize(url) => Ok(see_other(url.as_str())),
            OpenIdStart::Page(page) => Ok(look.shown(page, None)),
            OpenIdStart::Unavailable => look.again(LoginProblem::Provider).await,
        };
    }
    let identity = match (given("decision"), given("device"), given("user")) {
        (Some("cancel"), ..) => {
            let outcome = broker.cancel_sign_in(&handle, cookie, client.0).await?;
            return look.decided(outcome).await;
        }
        (_, Some(device), None) => {
            let Ok(device) = device.trim().parse() else { return look.again(LoginProblem::Wrong).await };
            Identity::Device { device, password: Password::new(given("password").unwrap_or_default()) }
        }
        (_, None, Some(user)) => Identity::Owner {
            user: user.to_owned(),
            password: Password::new(given("password").unwrap_or_default()),
        },
        (_, None, None) => return look.again(LoginProblem::Wrong).await,
        (_, Some(_), Some(_)) => return Ok(outcomes::page(Outcome::BadRequest)),
    };
    let throttle = match identity {
        Identity::Owner { .. } => &throttles.logins,
        Identity::Device { .. } => &throttles.device_logins,
    };
    if let Err(wait) = throttle.take(client.0, broker.now()) {
        return look.again(LoginProblem::TooManyTries(wait)).await;
    }
    let outcome = broker.sign_in(&handle, cookie, identity, client.0).await;
    let guessed =
        matches!(outcome, Ok(SignInOutcome::Wrong) | Err(SignInError::Password(PasswordError::Wrong)));
    if !guessed {
        throttle.give_back(client.0);
    }
    match outcome {
        Ok(outcome) => look.decided(outcome).await,
        Err(SignInError::Store(cause) | SignInError::Password(PasswordError::Store(cause))) => {
            Err(cause.into())
        }
        Err(SignInError::Password(refused)) => look.again(problem(&refused)).await,
    }
}

fn problem(refused: &PasswordError) -> LoginProblem {
    match refused {
        PasswordError::Wrong => LoginProblem::Wrong,
        PasswordError::Wait(wait) => {
            LoginProblem::TooManyTries(std::time::Duration::from_secs(whole_seconds(*wait)))
        }
        PasswordError::Hash(HashingError::Busy) => LoginProblem::Busy,
        PasswordError::Hash(_) | PasswordError::Store(_) => {
            tracing::error!(cause = refused as &dyn std::error::Error, "a password could not be checked");
            LoginProblem::Busy
        }
    }
}

/// Who looks at which sign-in.
struct Look<'a> {
    broker: &'a Broker,
    handle: &'a LoginHandle,
    cookie: &'a BrowserCookie,
    client: ClientNetwork,
}

impl Look<'_> {
    async fn decided(&self, outcome: SignInOutcome) -> Result<HttpResponse, PageError> {
        match outcome {
            SignInOutcome::Page(page) => Ok(self.shown(page, None)),
            SignInOutcome::Return(url) => Ok(see_other(&url)),
            SignInOutcome::Wrong => self.again(LoginProblem::Wrong).await,
        }
    }

    /// The question again, if it still is one.
    async fn again(&self, problem: LoginProblem) -> Result<HttpResponse, PageError> {
        let page = self.broker.show_sign_in(self.handle, Some(self.cookie)).await?;
        Ok(self.shown(page, Some(problem)))
    }

    fn shown(&self, page: SignInPage, problem: Option<LoginProblem>) -> HttpResponse {
        let end = match page {
            SignInPage::Ask(question) => return self.asked(&question, problem),
            SignInPage::Approved => SignInEnd::Approved,
            SignInPage::Denied(denial, back) => {
                let end = match denial {
                    Denial::Cancelled => SignInEnd::Cancelled,
                    Denial::NotAllowed => SignInEnd::NotAllowed,
                };
                return outcomes::page_with_back(Outcome::SignIn(end), back.as_deref());
            }
            SignInPage::OtherBrowser => SignInEnd::OtherBrowser,
            SignInPage::Expired => SignInEnd::Expired,
            SignInPage::Unknown => SignInEnd::Unknown,
        };
        outcomes::page(Outcome::SignIn(end))
    }

    fn asked(&self, question: &SignInQuestion, problem: Option<LoginProblem>) -> HttpResponse {
        let same = self.client.is_same_as(question.network);
        let network = if same { Network::Same } else { Network::Other };
        let mut forms = Vec::new();
        if self.broker.settings().owner.is_some() {
            forms.push(LoginForm::Owner);
        }
        let openid = self.broker.settings().openid.as_ref();
        forms.extend(openid.and_then(|openid| ShownHost::of(openid.issuer.url())).map(LoginForm::Provider));
        match question.asked {
            Some(LoginScope::Owner) => {}
            Some(LoginScope::Device(device)) => forms.push(LoginForm::Device(Some(device.to_string()))),
            None => forms.push(LoginForm::Device(None)),
        }
        let page = LoginPage {
            client: question.client.as_ref().map(|client| Shown::name(client.as_str())),
            asked: AskedFrom::new(
                question.network.address(),
                question.started_at,
                self.broker.now(),
                network,
            ),
            user_code: question.user_code.as_ref().map(crate::domain::secret::UserCode::shown),
            forms,
            problem,
            csrf: self.broker.csrf(self.cookie, self.handle.expose()),
        };
        let mut response = HttpResponse::build(page.status())
            .content_type("text/html; charset=utf-8")
            .insert_header((CONTENT_SECURITY_POLICY, LoginPage::policy()))
            .body(page.render());
        if let Some(LoginProblem::TooManyTries(wait)) = problem {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}
