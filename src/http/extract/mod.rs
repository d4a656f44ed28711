//! Requests' parts as values. Each extractor has limits, and refuses what could be read in two ways (J06):
//! a member twice, a parameter in query and body, a body of another type than it says.
//!
//! Extractors know syntax only. Whether a credential is valid, or a thing exists, is for the layers below.

mod body;
mod client;
mod credentials;
mod pairs;
mod path;

pub use body::{JsonBody, OptionalJson, StrictJson, read_body};
pub use client::ClientAddress;
pub use credentials::{Authorization, BasicCredentials, Bearer};
pub use pairs::{FormBody, MAX_PAIRS, OauthForm, QueryPairs, Repeated};
pub use path::{CommandPath, DevicePath, FlowPath, KeyPath, NewPlugin, NewSlot, PluginPath, SlotPath};
