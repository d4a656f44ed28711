//! What the console's pages have in common: what stands around them, what was done, what did not fit.

use actix_web::{
    HttpResponse, ResponseError as _,
    http::{
        StatusCode,
        header::{CONTENT_SECURITY_POLICY, LOCATION},
    },
};
use askama::Template;

use super::refused::Refused;
use crate::http::{
    error::Problem,
    pages::{Forms, Shown, assets, content_security_policy, html},
};

/// What stands around a page.
#[derive(Debug)]
pub(super) struct Around {
    /// Where in the console it is.
    pub(super) section: Section,
    /// What was done just now.
    pub(super) done: Option<Done>,
    /// The hidden value of its forms.
    pub(super) csrf: String,
}

impl Around {
    /// The navigation: where each part is, its name, and whether the page is in it.
    pub(super) fn navigation(&self) -> [(&'static str, &'static str, bool); 5] {
        Section::ALL.map(|(section, address, name)| (address, name, section == self.section))
    }
}

/// The parts of the console, as the navigation names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Plugins,
    Devices,
    Enrolment,
    Audit,
}

impl Section {
    /// Each with its address and its name.
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Overview, "/admin", "Overview"),
        (Self::Plugins, "/admin/plugins", "Plugins"),
        (Self::Devices, "/admin/devices", "Devices"),
        (Self::Enrolment, "/admin/enrolment", "Enrol"),
        (Self::Audit, "/admin/audit", "Audit"),
    ];
}

/// What was done just now: a word in the address, of which the page makes a fixed sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done(&'static str);

impl Done {
    const WORDS: [(&'static str, &'static str); 15] = [
        ("plugin-added", "The plugin is in the store. Register its redirect URI at the provider."),
        (
            "plugin-stored",
            "The configuration is stored. Slots keep the copy they made: install the plugin again where they should get the new one.",
        ),
        ("plugin-approved", "Approved. The plugin can be linked."),
        ("plugin-deleted", "The plugin is out of the store. Slots keep the copy they made."),
        ("device-renamed", "The device has its new name."),
        ("device-removed", "The device is gone, with its keys, slots and tokens."),
        ("password-changed", "The device has its new password."),
        ("key-added", "The key is trusted."),
        ("key-removed", "The key is not trusted any more. Tokens that it obtained end within five seconds."),
        ("slot-installed", "The plugin is installed. Press Authenticate to link it to an account."),
        ("slot-again", "The slot has the plugin's newest configuration."),
        ("slot-removed", "The slot is gone, with its tokens."),
        ("unlinked", "Unlinked. The tokens are erased here, and the plugin is told."),
        ("not-linked", "The slot was not linked. Nothing was changed."),
        ("confirmed", "The code is right, and the slot is linked."),
    ];

    /// The word, where it is one.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(known, _)| Self(known))
    }

    /// What the page says.
    pub(super) fn sentence(self) -> &'static str {
        Self::WORDS.iter().find(|(known, _)| *known == self.0).map_or("Done.", |(_, sentence)| sentence)
    }
}

/// What stands above members that do not fit.
const MISFIT: &str = "This does not fit:";

/// Why a form was not accepted, to stand beside it.
#[derive(Debug)]
pub(super) struct Complaint {
    status: StatusCode,
    /// In one sentence.
    pub(super) what: String,
    /// JSON pointers of what does not fit, each with a sentence.
    pub(super) fields: Vec<(Shown, String)>,
}

impl Complaint {
    /// Says what the API would say, where the form can be changed and sent again.
    ///
    /// # Errors
    /// Everything else.
    pub(super) fn of(problem: impl Into<Problem>) -> Result<Self, Refused> {
        let problem = problem.into();
        let status = problem.status_code();
        match status {
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => Ok(Self {
                status,
                what: if problem.fields().is_empty() { problem.detail() } else { MISFIT }.to_owned(),
                fields: problem
                    .fields()
                    .iter()
                    .map(|(field, detail)| (Shown::capped(field, 200), detail.clone()))
                    .collect(),
            }),
            _ => Err(problem.into()),
        }
    }

    /// One field that does not fit.
    pub(super) fn about(field: &str, detail: &impl ToString) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            what: MISFIT.to_owned(),
            fields: vec![(Shown::capped(field, 200), detail.to_string())],
        }
    }
}

/// 200, or the status of the complaint on the page.
pub(super) fn status(complaint: Option<&Complaint>) -> StatusCode {
    complaint.map_or(StatusCode::OK, |complaint| complaint.status)
}

/// A page whose forms lead to the console.
pub(super) fn page(status: StatusCode, template: &impl Template) -> HttpResponse {
    page_with(status, template, content_security_policy(Forms::Here))
}

/// A page with a policy of its own.
pub(super) fn page_with(status: StatusCode, template: &impl Template, policy: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .body(html(template))
}

/// On to the page that shows what was done.
pub(super) fn done(path: &str, word: &'static str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, format!("{path}?done={word}"))).finish()
}

/// Asks once more before something is gone.
#[derive(Debug, Template)]
#[template(path = "console/sure.html")]
pub(super) struct SurePage {
    /// What stands around it.
    pub(super) around: Around,
    /// The question.
    pub(super) heading: String,
    /// What will be gone.
    pub(super) what: &'static str,
    /// Where the form posts to.
    pub(super) action: String,
    /// A hidden field besides `csrf`.
    pub(super) hidden: Option<(&'static str, String)>,
    /// What the button says.
    pub(super) button: &'static str,
    /// Where Cancel leads.
    pub(super) back: String,
}

impl SurePage {
    /// The answer.
    pub(super) fn answer(&self) -> HttpResponse {
        page(StatusCode::OK, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_become_sentences() {
        for (word, sentence) in Done::WORDS {
            assert_eq!(Done::of(word).unwrap().sentence(), sentence);
        }
        assert_eq!(Done::of("<script>"), None);
    }
}
