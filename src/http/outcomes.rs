//! How a flow stands or ended, as a page.

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{CONTENT_SECURITY_POLICY, RETRY_AFTER},
    },
};
use time::{Duration, OffsetDateTime};

use super::extract::Repeated;
use super::pages::{Back, Names, Outcome, OutcomePage, Shown, Watch};
use crate::{
    domain::flow::{FlowEnd, FlowError, FlowStatus},
    flows::{FlowRow, StoreError},
};

/// When to look again after an outage of the database.
const OUTAGE: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a page looks again by itself.
const WATCHED: Duration = Duration::minutes(2);

/// Why a browser gets no page, as a page.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// The store failed.
    #[error("the page could not be made")]
    Store(#[from] StoreError),
    /// The request could not be read.
    #[error("the request could not be read")]
    Request(#[from] Repeated),
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        self.outcome().status()
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Store(cause) = self {
            tracing::error!(cause = cause as &dyn std::error::Error, "a page could not be made");
        }
        page(self.outcome())
    }
}

impl PageError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Store(cause) if cause.is_outage() => Outcome::Busy(OUTAGE),
            Self::Store(_) => Outcome::Internal,
            Self::Request(_) => Outcome::BadRequest,
        }
    }
}

/// A page for what concerns no flow that this browser may know of.
pub(super) fn page(outcome: Outcome) -> HttpResponse {
    let wait = if let Outcome::Busy(wait) | Outcome::TooManyRequests(wait) = &outcome {
        Some(wait.as_secs().max(1))
    } else {
        None
    };
    let mut response = rendered(&OutcomePage::new(outcome, None));
    if let Some(seconds) = wait {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A page with the way back to a terminal's listener, where it has one.
pub(super) fn page_with_back(outcome: Outcome, back: Option<&str>) -> HttpResponse {
    let back = back.and_then(|url| url.parse().ok()).and_then(|url| Back::to(&url));
    rendered(&OutcomePage::new(outcome, None).back(back))
}

/// The page of a flow, for the browser that it is bound to.
pub(super) fn progress(row: &FlowRow, now: OffsetDateTime) -> HttpResponse {
    let names = Names { plugin: Shown::name(&row.plugin_name), device: Shown::name(&row.device_name) };
    let end = FlowEnd::of(row.status, row.error);
    let back = row.return_url.as_ref().zip(end).and_then(|(url, end)| Back::to(&url.with_end(end)));
    rendered(&OutcomePage::new(outcome(row, now), Some(names)).back(back))
}

fn outcome(row: &FlowRow, now: OffsetDateTime) -> Outcome {
    let since = row.finished_at.unwrap_or(row.expires_at);
    let watch = if now - since < WATCHED { Watch::Looking } else { Watch::LongEnough };
    match row.status {
        FlowStatus::Exchanging => Outcome::Exchanging(watch),
        FlowStatus::Linked if row.acknowledged => Outcome::Linked,
        FlowStatus::Linked => Outcome::Delivering(watch),
        FlowStatus::Confirm => match &row.confirm_code {
            Some(code) => Outcome::Confirm(code.clone(), watch),
            None => Outcome::Expired,
        },
        FlowStatus::Expired => Outcome::Expired,
        FlowStatus::Denied | FlowStatus::Failed => row.error.map_or(Outcome::ProviderRefused(None), of_error),
        // Shown as the question itself, by the connect page.
        FlowStatus::Pending | FlowStatus::Authorizing => Outcome::NotFound,
    }
}

fn of_error(error: FlowError) -> Outcome {
    match error {
        FlowError::AccessDenied => Outcome::Denied,
        FlowError::Cancelled => Outcome::Cancelled,
        FlowError::ExchangeFailed => Outcome::ProviderRefused(None),
        FlowError::ProviderUnavailable => Outcome::ProviderDown,
        FlowError::InvalidAnswer => Outcome::InvalidAnswer,
        FlowError::AnswerTooLarge => Outcome::AnswerTooLarge,
        FlowError::WrongCode => Outcome::WrongCode,
        FlowError::IssuerMismatch => Outcome::IssuerMismatch,
    }
}

fn rendered(page: &OutcomePage) -> HttpResponse {
    HttpResponse::build(page.status())
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, OutcomePage::policy()))
        .body(page.render())
}
