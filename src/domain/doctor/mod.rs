//! What will go wrong with a configuration, told before a person meets it.
//!
//! Pure: what was seen at a provider comes in as [`Reached`] and [`ServerMetadata`], findings go out. No text of a
//! finding quotes a provider's answer (E08): of metadata only what was parsed into a URL is shown, of the
//! configuration only what its author wrote and is no secret.

mod configuration;
mod known_services;
mod metadata;
mod metadata_findings;
mod reach;

use serde::Serialize;

pub use configuration::{invalid, of_configuration, unfit_endpoints};
pub use metadata::{MetadataLocation, ServerMetadata};
pub use metadata_findings::{of_metadata, without_metadata};
pub use reach::{Reached, of_authorization_page, of_reach};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Linking will fail.
    Error,
    /// Something will probably not do what its author means.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One thing that a configuration's author should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is: a stable word.
    pub code: &'static str,
    /// JSON pointer (RFC 6901) of the member that it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is so, and what to do.
    pub detail: String,
}

impl Finding {
    /// A finding about a member.
    pub fn about(
        severity: Severity,
        code: &'static str,
        field: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { severity, code, field: Some(field.into()), detail: detail.into() }
    }

    /// A finding about no member in particular.
    pub fn general(severity: Severity, code: &'static str, detail: impl Into<String>) -> Self {
        Self { severity, code, field: None, detail: detail.into() }
    }
}
