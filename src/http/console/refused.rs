//! Why there is no page, as a page.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue},
    },
};
use askama::Template;

use crate::{
    flows::{Broker, StoreError},
    http::{
        error::Problem,
        extract::Repeated,
        pages::{Forms, assets, content_security_policy, html},
    },
};

/// Why the owner, or who would be, is not shown what they asked for.
#[derive(Debug)]
pub(super) enum Refused {
    /// No login, or a wrong one.
    NoLogin(OwnerPassword),
    /// The request names a host that is not this one's.
    Elsewhere,
    /// Another site's page sent it.
    Foreign,
    /// The form has no `csrf`, or one that is too old.
    Stale,
    /// Anything else, as the API would say it.
    Problem(Problem),
}

/// Whether anybody can be the owner at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerPassword {
    /// `admin.password` is set.
    Set,
    /// It is not.
    Unset,
}

#[derive(Template)]
#[template(path = "console/refused.html")]
struct RefusedPage<'a> {
    heading: &'a str,
    what: &'a str,
    next: &'a str,
}

impl Refused {
    pub(super) fn no_login(broker: &Broker) -> Self {
        let set = broker.settings().owner.is_some();
        Self::NoLogin(if set { OwnerPassword::Set } else { OwnerPassword::Unset })
    }

    /// What is there not, or not any more.
    pub(super) fn not_found() -> Self {
        Self::Problem(Problem::not_found())
    }

    /// Heading, what happened, what to do.
    fn words(&self) -> (&str, &str, &str) {
        match self {
            Self::NoLogin(OwnerPassword::Set) => (
                "Log in as the owner",
                "This is the owner's console. It asks for admin.user and admin.password, as they are in cloudlink's \
                 settings.",
                "Load this page again, and your browser asks for them.",
            ),
            Self::NoLogin(OwnerPassword::Unset) => (
                "There is no owner yet",
                "Nobody can log in here, because admin.password is not set.",
                "Set admin.password, for instance by a file that CLOUDLINK__ADMIN__PASSWORD_FILE names, and start \
                 cloudlink again.",
            ),
            Self::Elsewhere => (
                "Not by this name",
                "The console does not answer to the name in your browser's address bar: other people can point names \
                 at this machine.",
                "Open it by the machine's IP address, as localhost, or by the name in server.public_url.",
            ),
            Self::Foreign => (
                "This came from another site",
                "Another site's page sent this form in your name. Nothing was changed.",
                "If you wanted this, do it here in the console.",
            ),
            Self::Stale => (
                "This form is too old",
                "The form was open for many hours, or did not come from this console. Nothing was changed.",
                "Go back, load the page again, and send the form once more.",
            ),
            Self::Problem(problem) => match problem.status_code().as_u16() {
                404 => (
                    "Not found",
                    "There is nothing at this address, or not any more.",
                    "Go on from the overview.",
                ),
                429 => ("Too many tries", problem.detail(), "Wait, then load this page again."),
                503 => ("Not at the moment", problem.detail(), "Load this page again in a few seconds."),
                500..=599 => (
                    "Something went wrong",
                    "Something went wrong here, and the log says what.",
                    "Try again; if this comes again, look for the x-request-id of this answer in the log.",
                ),
                _ => ("This did not work", problem.detail(), "Go back and try again."),
            },
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().0)
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NoLogin(_) => StatusCode::UNAUTHORIZED,
            Self::Elsewhere => StatusCode::MISDIRECTED_REQUEST,
            Self::Foreign | Self::Stale => StatusCode::FORBIDDEN,
            Self::Problem(problem) => problem.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        let challenge = Problem::login_required();
        let headers: &[(HeaderName, HeaderValue)] = match self {
            Self::NoLogin(_) => challenge.headers(),
            Self::Problem(problem) => problem.headers(),
            Self::Elsewhere | Self::Foreign | Self::Stale => &[],
        };
        let (heading, what, next) = self.words();
        let mut response = HttpResponse::build(self.status_code());
        for header in headers {
            response.insert_header(header.clone());
        }
        response
            .content_type("text/html; charset=utf-8")
            .insert_header((CONTENT_SECURITY_POLICY, content_security_policy(Forms::Nowhere)))
            .body(html(&RefusedPage { heading, what, next }))
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Repeated> for Refused {
    fn from(error: Repeated) -> Self {
        Self::Problem(error.into())
    }
}
