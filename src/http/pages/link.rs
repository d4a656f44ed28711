//! The headless way in: the page where a person types the code that a device shows (RFC 8628 §3.3).

use std::time::Duration;

use actix_web::http::StatusCode;
use askama::Template;

use super::{Forms, Shown, VerificationQr, assets, content_security_policy, html, wording};

/// What `GET /link` shows, and `POST /link` where the code did not lead to a flow. The form posts
/// `user_code` and `csrf` to `/link`.
#[derive(Debug, Template)]
#[template(path = "link.html")]
pub struct LinkPage {
    user_code: Option<Shown>,
    csrf: String,
    problem: Option<LinkProblem>,
    qr: Option<VerificationQr>,
}

/// Why a typed code led nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkProblem {
    /// No flow waits under this code. Wrong and expired are told alike (RFC 8628 §5.1).
    Unknown,
    /// Too many codes were tried; the next one is read after this time.
    TooManyTries(Duration),
    /// The form's `csrf` did not match the browser's cookie.
    FormExpired,
}

impl LinkPage {
    /// The longest code that is shown again, in characters.
    const CODE: usize = 32;

    /// The empty form, or the one that `verification_uri_complete` opens, with the code in it for the
    /// person to compare (RFC 8628 §3.3.1).
    pub fn new(user_code: Option<&str>, csrf: impl Into<String>) -> Self {
        let user_code = user_code.map(|code| Shown::capped(code, Self::CODE)).filter(|code| !code.is_empty());
        Self { user_code, csrf: csrf.into(), problem: None, qr: None }
    }

    /// Adds the QR code of the page's own address, for who would rather go on with a phone.
    pub fn with_qr(self, qr: VerificationQr) -> Self {
        Self { qr: Some(qr), ..self }
    }

    /// The form again, with the reason why.
    pub fn again(self, problem: LinkProblem) -> Self {
        Self { problem: Some(problem), ..self }
    }

    /// The page's HTML.
    pub fn render(&self) -> String {
        html(self)
    }

    /// The status to send it with.
    pub fn status(&self) -> StatusCode {
        match self.problem {
            None => StatusCode::OK,
            Some(LinkProblem::Unknown) => StatusCode::NOT_FOUND,
            Some(LinkProblem::TooManyTries(_)) => StatusCode::TOO_MANY_REQUESTS,
            Some(LinkProblem::FormExpired) => StatusCode::FORBIDDEN,
        }
    }

    /// The policy to send with it.
    pub fn policy() -> &'static str {
        content_security_policy(Forms::Here)
    }

    /// Whether the code came with the address and the person has not tried it yet.
    fn to_compare(&self) -> bool {
        self.user_code.is_some() && self.problem.is_none()
    }

    fn prefilled(&self) -> &str {
        self.user_code.as_ref().map_or("", Shown::as_str)
    }
}

impl LinkProblem {
    fn text(self) -> String {
        match self {
            Self::Unknown => wording::CODE_UNKNOWN.to_owned(),
            Self::TooManyTries(wait) => {
                format!("Too many codes were tried. Please wait {}, then try again.", wording::wait(wait))
            }
            Self::FormExpired => wording::FORM_EXPIRED.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c05_a_wrong_and_an_expired_code_get_the_same_answer() {
        let page = LinkPage::new(Some("BCDF-GHJK"), "c").again(LinkProblem::Unknown);
        assert_eq!(page.status(), StatusCode::NOT_FOUND);
        let html = page.render();
        assert!(html.contains("not known, or has expired") && html.contains("role=\"alert\""), "{html}");
        assert!(html.contains("value=\"BCDF-GHJK\""), "{html}");
    }

    #[test]
    fn c05_after_too_many_codes_the_page_says_how_long_to_wait() {
        let page = LinkPage::new(None, "c").again(LinkProblem::TooManyTries(Duration::from_secs(61)));
        assert_eq!(page.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(page.render().contains("wait 2 minutes"));
    }

    #[test]
    fn a_code_that_came_with_the_address_is_to_be_compared() {
        assert!(LinkPage::new(Some("BCDF-GHJK"), "c").render().contains("same code"));
        assert!(!LinkPage::new(None, "c").render().contains("same code"));
        assert!(!LinkPage::new(Some(" \u{202e} "), "c").render().contains("same code"));
    }
}
