//! How an attempt to link stands or ended, and every other thing a browser may have to be told.

use std::time::Duration;

use actix_web::http::StatusCode;
use askama::Template;
use url::Url;

use super::wording::Icon;
use super::{Forms, ProviderError, Shown, ShownHost, SignInEnd, assets, content_security_policy, html};
use crate::domain::secret::ConfirmCode;

/// What a browser is told. The words of each are in `wording`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Consent was given; the exchange of the code runs.
    Exchanging(Watch),
    /// Linked; the plugin has not acknowledged yet.
    Delivering(Watch),
    /// Linked, and the plugin has it.
    Linked,
    /// These six digits are to be typed where the flow was started.
    Confirm(ConfirmCode, Watch),
    /// The person pressed Cancel.
    Cancelled,
    /// The provider answered `access_denied`.
    Denied,
    /// The flow's time is over.
    Expired,
    /// The link has led to an end already.
    AlreadyUsed,
    /// The link was continued in another browser.
    OtherBrowser,
    /// The browser and who asked are in different networks, and no code can be typed there.
    OtherNetwork,
    /// The provider could not be reached, or answered that it is away.
    ProviderDown,
    /// The provider refused, with a registered code if it named one.
    ProviderRefused(Option<ProviderError>),
    /// The provider's answer could not be read, or held no token.
    InvalidAnswer,
    /// The provider's answer was over the limit.
    AnswerTooLarge,
    /// Five wrong codes were typed.
    WrongCode,
    /// The callback named another issuer than the flow's (RFC 9207).
    IssuerMismatch,
    /// A callback whose `state` is missing, repeated, unknown, spent or another browser's.
    BadCallback,
    /// Any other request that could not be read.
    BadRequest,
    /// A form whose `csrf` does not match.
    FormExpired,
    /// No such page or link.
    NotFound,
    /// The browser asked before the person did (`Sec-Purpose: prefetch`).
    Prefetch,
    /// Too many requests from there; try again after this time.
    TooManyRequests(Duration),
    /// More to do than can be done now; try again after this time.
    Busy(Duration),
    /// A fault of cloudlink's own.
    Internal,
    /// How a sign-in for a terminal ended.
    SignIn(SignInEnd),
}

/// Whether a page that waits looks again by itself. The caller bounds it, by the age of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Look again every few seconds.
    Looking,
    /// It has been long enough: say how it stands, and offer to look again.
    LongEnough,
}

impl Outcome {
    /// The status to send the page with: 200 where a flow ended one way or another, since the page itself
    /// is what was asked for (and proxies replace a 502's page by their own); else the refusal's.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Exchanging(_)
            | Self::Delivering(_)
            | Self::Linked
            | Self::Confirm(..)
            | Self::Cancelled
            | Self::Denied
            | Self::ProviderDown
            | Self::ProviderRefused(_)
            | Self::InvalidAnswer
            | Self::AnswerTooLarge
            | Self::WrongCode => StatusCode::OK,
            Self::IssuerMismatch | Self::BadCallback | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::FormExpired | Self::OtherNetwork => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Expired | Self::AlreadyUsed | Self::OtherBrowser => StatusCode::GONE,
            Self::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy(_) | Self::Prefetch => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::SignIn(end) => end.status(),
        }
    }

    /// After how many seconds the page loads itself again.
    pub fn refresh(&self) -> Option<u8> {
        match self.watch()? {
            (Watch::Looking, seconds) => Some(seconds),
            (Watch::LongEnough, _) => None,
        }
    }

    fn watch(&self) -> Option<(Watch, u8)> {
        if let Self::Exchanging(watch) | Self::Delivering(watch) = self {
            Some((*watch, 2))
        } else if let Self::Confirm(_, watch) = self {
            Some((*watch, 5))
        } else {
            None
        }
    }

    /// The digits that the page shows large.
    fn code(&self) -> Option<&str> {
        if let Self::Confirm(code, _) = self { Some(code.expose()) } else { None }
    }

    /// What the page shows small, for whoever is asked for help.
    fn reference(&self) -> Option<(&'static str, String)> {
        if let Self::ProviderRefused(Some(error)) = self {
            Some(("The provider’s word", error.to_string()))
        } else {
            None
        }
    }

    /// The words of the button that loads the page again, where it is offered.
    fn look_again(&self) -> Option<&'static str> {
        if matches!(self, Self::Prefetch) {
            return Some("Open the link");
        }
        match self.watch()?.0 {
            Watch::LongEnough => Some("Look again"),
            Watch::Looking => None,
        }
    }
}

/// Whose attempt it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The plugin's name.
    pub plugin: Shown,
    /// The device's name.
    pub device: Shown,
}

/// The way back to where the flow was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    url: Url,
    host: ShownHost,
}

impl Back {
    /// The way to `return_url`; `None` unless it is http or https without user info.
    pub fn to(return_url: &Url) -> Option<Self> {
        let web = matches!(return_url.scheme(), "http" | "https");
        let plain = return_url.username().is_empty() && return_url.password().is_none();
        let host = ShownHost::of(return_url)?;
        (web && plain).then(|| Self { url: return_url.clone(), host })
    }
}

/// The page that tells an [`Outcome`].
#[derive(Debug, Template)]
#[template(path = "outcome.html")]
pub struct OutcomePage {
    outcome: Outcome,
    names: Option<Names>,
    back: Option<Back>,
}

impl OutcomePage {
    /// The page of `outcome`, with the names of the flow where there is one.
    pub fn new(outcome: Outcome, names: Option<Names>) -> Self {
        Self { outcome, names, back: None }
    }

    /// With a way back, if there is one.
    pub fn back(self, back: Option<Back>) -> Self {
        Self { back, ..self }
    }

    /// The page's HTML.
    pub fn render(&self) -> String {
        html(self)
    }

    /// The status to send it with.
    pub fn status(&self) -> StatusCode {
        self.outcome.status()
    }

    /// The policy to send with it.
    pub fn policy() -> &'static str {
        content_security_policy(Forms::Nowhere)
    }

    fn plugin_or<'a>(&'a self, other: &'a str) -> &'a str {
        self.names.as_ref().map_or(other, |names| names.plugin.or(other))
    }

    fn device(&self) -> &str {
        self.names.as_ref().map_or("your device", |names| names.device.or("your device"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_waits_looks_again_only_while_it_is_told_to() {
        let page = |watch| OutcomePage::new(Outcome::Delivering(watch), None).render();
        assert!(page(Watch::Looking).contains("<meta http-equiv=\"refresh\" content=\"2\">"));
        assert!(!page(Watch::LongEnough).contains("http-equiv"));
        assert!(page(Watch::LongEnough).contains("Look again"));
        assert!(!OutcomePage::new(Outcome::Linked, None).render().contains("http-equiv"));
    }

    #[test]
    fn a_code_to_type_is_shown_with_a_warning_not_to_give_it_away() {
        let code = Outcome::Confirm(ConfirmCode::new("042917"), Watch::Looking);
        let html = OutcomePage::new(code, None).render();
        assert!(html.contains(">042917<") && html.contains("give this code to nobody"), "{html}");
    }

    #[test]
    fn d03_the_way_back_is_a_web_address_or_is_not_offered() {
        let back = |url| Back::to(&Url::parse(url).unwrap());
        assert!(back("http://192.168.1.20:3000/plugins?a=1#b").is_some());
        for url in
            ["javascript:alert(1)", "data:text/html,x", "https://u@h.example/", "https://u:p@h.example/"]
        {
            assert_eq!(back(url), None, "{url}");
        }
    }

    #[test]
    fn the_way_back_names_the_plugin_and_shows_its_host() {
        let names = Names { plugin: Shown::name("Ecobee"), device: Shown::name("Hub") };
        let back = Back::to(&Url::parse("http://192.168.1.20:3000/p?cloudlink=linked&x=\"").unwrap());
        let html = OutcomePage::new(Outcome::Linked, Some(names)).back(back).render();
        assert!(html.contains("Back to <bdi>Ecobee</bdi>") && html.contains("192.168.1.20:3000"), "{html}");
        assert!(html.contains("href=\"http://192.168.1.20:3000/p?cloudlink=linked&#38;x=%22\""), "{html}");
    }

    #[test]
    fn e08_of_a_refusal_only_a_registered_code_is_shown() {
        let html =
            |word| OutcomePage::new(Outcome::ProviderRefused(ProviderError::known(word)), None).render();
        assert!(html("invalid_scope").contains("invalid_scope"));
        assert!(!html("send_money_to").contains("send_money_to"));
    }

    #[test]
    fn b04_a_mismatch_and_c04_a_spent_link_are_refusals() {
        assert_eq!(Outcome::IssuerMismatch.status(), StatusCode::BAD_REQUEST);
        assert_eq!(Outcome::AlreadyUsed.status(), StatusCode::GONE);
        assert_eq!(Outcome::OtherBrowser.status(), StatusCode::GONE);
        assert_eq!(Outcome::Expired.status(), StatusCode::GONE);
    }
}
