//! The page on which somebody signs in for a terminal, and how that ended.
//!
//! It is what stands between a code that somebody was sent and the service, so it says where the terminal is, shows
//! the code to compare, and offers Cancel first.

use std::time::Duration;

use actix_web::http::StatusCode;
use askama::Template;

use super::{AskedFrom, Forms, Shown, ShownHost, assets, content_security_policy, html, wording};

/// What `GET /login/{handle}` shows. Its forms post to the page's own address: `csrf`, and `decision` = `cancel`, or
/// `user` and `password`, or `device` and `password`, or `with` = `oidc`.
#[derive(Debug, Template)]
#[template(path = "login.html")]
pub struct LoginPage {
    /// What the terminal's program calls itself.
    pub client: Option<Shown>,
    /// Where and when it asked.
    pub asked: AskedFrom,
    /// The code that the terminal shows too.
    pub user_code: Option<String>,
    /// The ways to sign in.
    pub forms: Vec<LoginForm>,
    /// Why the last one did not work.
    pub problem: Option<LoginProblem>,
    /// The hidden value that the forms send back.
    pub csrf: String,
}

/// A way to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginForm {
    /// As the operator, by name and password.
    Owner,
    /// As a device, by its password; this one, or whichever is typed.
    Device(Option<String>),
    /// As an operator who has an account at this provider.
    Provider(ShownHost),
}

/// Why somebody is not signed in yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginProblem {
    /// The name, the device or the password is wrong; which one is not told (I04).
    Wrong,
    /// Too many were wrong; the next one is looked at after this time.
    TooManyTries(Duration),
    /// More to do than can be done now.
    Busy,
    /// The OpenID provider can't be asked, or its answer is not believed.
    Provider,
}

impl LoginPage {
    /// The page's HTML.
    pub fn render(&self) -> String {
        html(self)
    }

    /// The status to send it with.
    pub fn status(&self) -> StatusCode {
        match self.problem {
            None | Some(LoginProblem::Provider) => StatusCode::OK,
            Some(LoginProblem::Wrong) => StatusCode::FORBIDDEN,
            Some(LoginProblem::TooManyTries(_)) => StatusCode::TOO_MANY_REQUESTS,
            Some(LoginProblem::Busy) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The policy to send with it: its forms lead on, to a terminal's listener or to a provider.
    pub fn policy() -> &'static str {
        content_security_policy(Forms::Onward)
    }

    fn client_name(&self) -> &str {
        self.client.as_ref().map_or("A program", |client| client.or("A program"))
    }
}

impl LoginProblem {
    fn text(self) -> String {
        match self {
            Self::Wrong => wording::LOGIN_WRONG.to_owned(),
            Self::TooManyTries(wait) => {
                format!("Too many tries. Please wait {}, then try again.", wording::wait(wait))
            }
            Self::Busy => wording::LOGIN_BUSY.to_owned(),
            Self::Provider => wording::LOGIN_PROVIDER.to_owned(),
        }
    }
}

/// How a sign-in for a terminal ended, or why it can't go on here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInEnd {
    /// Somebody is signed in.
    Approved,
    /// They pressed Cancel.
    Cancelled,
    /// Their account at the provider may not operate this service.
    NotAllowed,
    /// Another browser was first.
    OtherBrowser,
    /// Nobody signed in in time.
    Expired,
    /// No such sign-in.
    Unknown,
    /// The provider's answer belongs to no sign-in of this browser.
    BadCallback,
}

impl SignInEnd {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Approved | Self::Cancelled => StatusCode::OK,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::OtherBrowser | Self::Expired => StatusCode::GONE,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::BadCallback => StatusCode::BAD_REQUEST,
        }
    }

    pub(super) fn icon(self) -> wording::Icon {
        match self {
            Self::Approved => wording::Icon::Done,
            Self::Cancelled | Self::OtherBrowser | Self::Expired | Self::Unknown => wording::Icon::Ended,
            Self::NotAllowed | Self::BadCallback => wording::Icon::Trouble,
        }
    }

    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Approved => "You are signed in",
            Self::Cancelled => "Cancelled",
            Self::NotAllowed => "This account may not sign in here",
            Self::OtherBrowser => "This page belongs to another browser",
            Self::Expired => "This sign-in has expired",
            Self::Unknown => "There is nothing here",
            Self::BadCallback => "This can’t be finished here",
        }
    }

    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Approved => "The terminal that asked for this is told.",
            Self::Cancelled => "Nobody was signed in.",
            Self::NotAllowed => "The provider knows you, but this service has no operator of that account.",
            Self::OtherBrowser => "Another browser went on with this sign-in, and it works only there.",
            Self::Expired => "A sign-in is good for ten minutes, and this one’s time is over.",
            Self::Unknown => "The address is mistyped, or the sign-in is an old one.",
            Self::BadCallback => {
                "The address that brought you here is incomplete, was used before, or belongs to another browser."
            }
        }
    }

    pub(super) fn next(self) -> &'static str {
        match self {
            Self::Approved => "You can go back to the terminal, and close this page.",
            Self::NotAllowed => {
                "Ask whoever runs this service to allow your account, then start in the terminal again."
            }
            Self::OtherBrowser => "Go on in that browser, or start in the terminal again.",
            Self::Cancelled | Self::Expired | Self::Unknown | Self::BadCallback => {
                "To try again, start in the terminal once more."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::{super::Network, *};

    fn page(problem: Option<LoginProblem>) -> LoginPage {
        let then = OffsetDateTime::UNIX_EPOCH;
        LoginPage {
            client: Some(Shown::name("cloudlink")),
            asked: AskedFrom::new("203.0.113.9".parse().unwrap(), then, then, Network::Other),
            user_code: Some("BCDF-GHJK".to_owned()),
            forms: vec![LoginForm::Owner, LoginForm::Device(None)],
            problem,
            csrf: "3q2-7w".to_owned(),
        }
    }

    #[test]
    fn c03_the_page_names_who_and_where_shows_the_code_and_offers_cancel_first() {
        let html = page(None).render();
        for wanted in [
            "<bdi>cloudlink</bdi>",
            "203.0.113.9</span>, just now",
            "Not the network you are on",
            "BCDF-GHJK",
            "Only go on if you started this yourself",
        ] {
            assert!(html.contains(wanted), "{wanted}: {html}");
        }
        let cancel = html.find("value=\"cancel\"").unwrap();
        assert!(cancel < html.find("name=\"password\"").unwrap());
        assert_eq!(html.matches("name=\"csrf\" value=\"3q2-7w\"").count(), 3);
    }

    #[test]
    fn i04_one_sentence_tells_of_a_wrong_name_device_or_password() {
        let page = page(Some(LoginProblem::Wrong));
        assert_eq!(page.status(), StatusCode::FORBIDDEN);
        assert!(page.render().contains("The name, the device or the password is wrong"));
    }

    #[test]
    fn a_form_is_there_for_what_was_asked_and_for_nothing_else() {
        let with = |forms| LoginPage { forms, ..page(None) }.render();
        let html = with(vec![LoginForm::Device(Some("6f1f6d1e".to_owned()))]);
        assert!(
            html.contains("value=\"6f1f6d1e\"")
                && html.contains("readonly")
                && !html.contains("name=\"user\"")
        );
        let html = with(vec![LoginForm::Owner]);
        assert!(html.contains("name=\"user\"") && !html.contains("name=\"device\""));
    }
}
