//! The pages that a home owner sees: who asks for what, the typed code, and how it ended.
//!
//! Each page is a plain value with a `render` that returns its HTML; nothing here reads a request, the
//! store or a clock. They work without JavaScript and on a phone, and load nothing from elsewhere.
//!
//! Guarantees and what carries them:
//! - nothing from outside reaches a page but through [`Shown`] (control and bidirectional characters
//!   gone, length capped) or a parsed type, and askama escapes what is left;
//! - every [`Outcome`] has a heading, what happened and what to do next: an exhaustive `match`;
//! - no script, inline style or foreign address: [`content_security_policy`], and a test over all pages.
//!
//! Not done here: headers other than the policy's text, cookies, and the `csrf` value, which the handlers
//! make and check. Paths are absolute, so `server.public_url` has no path of its own.

mod account_link;
pub mod assets;
mod connect;
mod link;
mod login;
mod outcome;
mod policy;
mod provider_error;
mod qr;
mod text;
mod wording;

#[cfg(test)]
mod tests;

pub use account_link::{AccountLinkEndPage, AccountLinkOutcome, ConsentForHomeAssistant};
pub use connect::{AskedFrom, ConnectPage, Network, NextStep, Scope};
pub use link::{LinkPage, LinkProblem};
pub use login::{LoginForm, LoginPage, LoginProblem, SignInEnd};
pub use outcome::{Back, Names, Outcome, OutcomePage, Watch};
pub use policy::{Forms, content_security_policy, policy_with_forms_to};
pub use provider_error::ProviderError;
pub use qr::{TooLong, VerificationQr};
pub use text::{Shown, ShownHost, Written};

/// What is shown should a template fail to write into memory.
const FALLBACK: &str = "<!doctype html><html lang=\"en\"><title>Something went wrong</title>\
    <h1>Something went wrong</h1><p>Please load this page again.</p></html>";

/// The HTML of a page.
pub(in crate::http) fn html(template: &impl askama::Template) -> String {
    template.render().unwrap_or_else(|_| FALLBACK.to_owned())
}
