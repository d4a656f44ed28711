//! A plugin's OAuth configuration: the plugin store's JSON format, parsed into a type that cannot be wrong.
//!
//! [`Document`] is the JSON as its author wrote it, unknown members included: it is what is stored,
//! copied into slots, overridden and shown (redacted). [`OauthConfiguration`] is what it means; whoever
//! sends a request has one of these, resolved for a slot. Nothing here touches a network.
//!
//! The way of a request's URL: [`OauthConfiguration::variables`] checks what a slot gave,
//! [`OauthConfiguration::callback_values`] what the redirect brought, [`EndpointTemplate::resolve`] puts both
//! into the URL and checks it again. [`render`] puts values into a parameter
//! or header.

mod claim;
mod configuration;
mod document;
mod endpoint;
mod findings;
mod merge_patch;
mod names;
mod parameters;
mod parse;
mod pattern;
mod reader;
mod redaction;
mod resolve;
mod scope;
mod template;
mod variables;

pub use claim::Claim;
pub use configuration::{
    ClientAuthentication, Custody, FieldPath, OauthConfiguration, ParameterNames, Parameters, Pkce,
    RedirectUriKind, TokenFormat, Variable,
};
pub use document::{Document, ROUTING_MEMBERS};
pub use endpoint::{EndpointError, EndpointTemplate};
pub use findings::{FieldError, Warning};
pub use parse::{MAX_DOCUMENT, Parsed, parse};
pub use pattern::Pattern;
pub use redaction::{KNOWN_MEMBERS, MASK};
pub use template::render;
