//! The pages of Home Assistant's attempts: who asks for what, and how it stands or ended. There is no device, and what
//! goes on goes on in Home Assistant.

use actix_web::http::StatusCode;
use askama::Template;

use super::wording::Icon;
use super::{AskedFrom, Forms, Scope, Shown, ShownHost, assets, content_security_policy, html};
use crate::domain::account_link::{AccountLinkError, AccountLinkStatus};

/// What `GET /account-link/{handle}` shows. Its form posts to the page's own address, query included: `csrf`, and
/// `decision` = `cancel` or `continue`.
#[derive(Debug, Template)]
#[template(path = "account_link.html")]
pub struct ConsentForHomeAssistant {
    /// The name of the service.
    pub plugin: Shown,
    /// Where Continue leads: the host of the authorization endpoint.
    pub provider: ShownHost,
    /// What is asked for.
    pub scope: Scope,
    /// Where and when it was asked for.
    pub asked: AskedFrom,
    /// Whether this browser's consent can't count.
    pub refused_here: bool,
    /// The hidden value that the form sends back.
    pub csrf: String,
}

impl ConsentForHomeAssistant {
    /// The page's HTML.
    pub fn render(&self) -> String {
        html(self)
    }

    /// The policy to send with it.
    pub fn policy() -> &'static str {
        content_security_policy(Forms::Onward)
    }

    fn plugin_name(&self) -> &str {
        self.plugin.or("A service")
    }
}

/// How an attempt stands or ended, for its browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountLinkOutcome {
    /// Consent was given; the exchange of the code runs.
    Exchanging,
    /// Home Assistant is being told.
    Delivering,
    /// Home Assistant has it.
    Linked,
    /// The person pressed Cancel.
    Cancelled,
    /// The provider answered `access_denied`.
    Denied,
    /// The time is over.
    Expired,
    /// It was continued in another browser.
    OtherBrowser,
    /// The browser and Home Assistant are in different networks.
    OtherNetwork,
    /// Home Assistant does not wait any more.
    ClientGone,
    /// The provider does not answer.
    ProviderDown,
    /// The provider refused, or answered what can't be used.
    Refused,
    /// The answer came from elsewhere.
    IssuerMismatch,
}

impl AccountLinkOutcome {
    /// Of an attempt that is bound to this browser.
    pub fn of(status: AccountLinkStatus, error: Option<AccountLinkError>) -> Self {
        match (status, error) {
            (AccountLinkStatus::Exchanging, _) => Self::Exchanging,
            (AccountLinkStatus::Granted, _) => Self::Delivering,
            (AccountLinkStatus::Delivered, _) => Self::Linked,
            (_, Some(error)) => Self::of_error(error),
            (
                AccountLinkStatus::Pending
                | AccountLinkStatus::Authorizing
                | AccountLinkStatus::Denied
                | AccountLinkStatus::Expired
                | AccountLinkStatus::Failed,
                None,
            ) => Self::Expired,
        }
    }

    fn of_error(error: AccountLinkError) -> Self {
        match error {
            AccountLinkError::AccessDenied => Self::Denied,
            AccountLinkError::Cancelled => Self::Cancelled,
            AccountLinkError::ProviderUnavailable => Self::ProviderDown,
            AccountLinkError::ExchangeFailed
            | AccountLinkError::InvalidAnswer
            | AccountLinkError::AnswerTooLarge => Self::Refused,
            AccountLinkError::IssuerMismatch => Self::IssuerMismatch,
            AccountLinkError::DifferentNetwork => Self::OtherNetwork,
            AccountLinkError::ClientGone => Self::ClientGone,
        }
    }

    /// 200 where the attempt ended one way or another; else the refusal's.
    fn status(self) -> StatusCode {
        match self {
            Self::Exchanging
            | Self::Delivering
            | Self::Linked
            | Self::Cancelled
            | Self::Denied
            | Self::ClientGone
            | Self::ProviderDown
            | Self::Refused => StatusCode::OK,
            Self::Expired | Self::OtherBrowser => StatusCode::GONE,
            Self::OtherNetwork => StatusCode::FORBIDDEN,
            Self::IssuerMismatch => StatusCode::BAD_REQUEST,
        }
    }

    /// After how many seconds the page loads itself again.
    fn refresh(self) -> Option<u8> {
        match self {
            Self::Exchanging | Self::Delivering => Some(2),
            Self::Linked
            | Self::Cancelled
            | Self::Denied
            | Self::Expired
            | Self::OtherBrowser
            | Self::OtherNetwork
            | Self::ClientGone
            | Self::ProviderDown
            | Self::Refused
            | Self::IssuerMismatch => None,
        }
    }

    fn icon(self) -> Icon {
        match self {
            Self::Linked => Icon::Done,
            Self::Exchanging | Self::Delivering => Icon::Waiting,
            Self::Cancelled | Self::Denied | Self::Expired | Self::OtherBrowser => Icon::Ended,
            Self::OtherNetwork
            | Self::ClientGone
            | Self::ProviderDown
            | Self::Refused
            | Self::IssuerMismatch => Icon::Trouble,
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Exchanging => "Almost there",
            Self::Delivering => "Your account is linked",
            Self::Linked => "It worked",
            Self::Cancelled => "Cancelled",
            Self::Denied => "Not allowed",
            Self::Expired => "This link has expired",
            Self::OtherBrowser => "This link belongs to another browser",
            Self::OtherNetwork => "You are on another network",
            Self::ClientGone => "Home Assistant does not wait any more",
            Self::ProviderDown => "The provider does not answer",
            Self::Refused => "The provider said no",
            Self::IssuerMismatch => "This answer came from elsewhere",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Exchanging => "You allowed it. cloudlink is fetching the access from the provider.",
            Self::Delivering => "Home Assistant is being told.",
            Self::Linked => "Home Assistant has the access. cloudlink keeps none of it.",
            Self::Cancelled => "You pressed Cancel. Nothing was linked.",
            Self::Denied => "The provider says that this was not allowed. Nothing was linked.",
            Self::Expired => "A link is good for a few minutes, and this one’s time is over.",
            Self::OtherBrowser => "It was opened and continued in another browser, and works only there.",
            Self::OtherNetwork => {
                "Home Assistant asked from another network than the one this browser is on, so nothing was linked."
            }
            Self::ClientGone => {
                "Its connection to cloudlink ended before it had the access. Nothing of it was kept."
            }
            Self::ProviderDown => "You allowed it, but then the provider could not be reached.",
            Self::Refused => {
                "It refused to finish the link, or its answer could not be used. Nothing was linked."
            }
            Self::IssuerMismatch => "It is not from the provider that you were sent to, so it was not used.",
        }
    }

    fn next(self) -> &'static str {
        match self {
            Self::Exchanging => "This page goes on by itself in a moment.",
            Self::Delivering => "This page shows when it has arrived.",
            Self::Linked => "You may close this page and go on in Home Assistant.",
            Self::Cancelled | Self::Denied | Self::Expired | Self::OtherBrowser | Self::ClientGone => {
                "To try again, start in Home Assistant once more."
            }
            Self::OtherNetwork => {
                "Start in Home Assistant once more, on a phone or computer that is in the network at home."
            }
            Self::ProviderDown => "Wait a few minutes, then start in Home Assistant once more.",
            Self::Refused => {
                "Start in Home Assistant once more. If this comes again, tell whoever runs this service."
            }
            Self::IssuerMismatch => {
                "Start in Home Assistant once more. If this comes again, stop, and tell whoever runs this service."
            }
        }
    }
}

/// The page that tells an [`AccountLinkOutcome`].
#[derive(Debug, Template)]
#[template(path = "account_link_end.html")]
pub struct AccountLinkEndPage {
    /// How it stands or ended.
    pub outcome: AccountLinkOutcome,
    /// The name of the service, for the browser that the attempt is bound to.
    pub plugin: Option<Shown>,
}

impl AccountLinkEndPage {
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
}
