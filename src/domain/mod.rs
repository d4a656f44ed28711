//! The words of the contract as types: ids, secrets, plugin configuration, slot, flow, tokens.
//!
//! Everything here is pure: no I/O, no async, no clock and no randomness of its own. What the outside
//! sends is parsed here once, into types that cannot hold a wrong value; the layers above pass those.

pub mod account_link;
pub mod address;
pub mod audit;
pub mod backoff;
pub mod binding;
pub mod callback;
pub mod clock;
pub mod command;
pub mod delivery;
pub mod doctor;
pub mod enrolment;
pub mod flow;
pub mod guessing;
pub mod ids;
pub mod imported;
pub mod inquiry;
pub mod json;
pub mod label;
pub mod metric;
pub mod nats_url;
pub mod openid;
pub mod pkce;
pub mod plugin;
pub mod public_url;
pub mod refresh;
pub mod secret;
pub mod sign_in;
pub mod slot;
pub mod tokens;
pub mod topic;
pub mod webhook;
