//! cloudlink: the cloud half of "Authenticate" for plugins that run at home.
//!
//! A self-hostable OAuth 2.0 redirect broker. The layers, bottom up: [`domain`], [`vault`], [`store`], [`bus`]
//! and [`provider`], [`flows`], [`relay`], [`http`], and at the top what puts them together: [`startup`].
//! `docs/architecture.md` walks through them.

pub mod api_client;
#[cfg(feature = "mqtt")]
pub mod bridge;
pub mod bus;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dev;
pub mod domain;
pub mod flows;
pub mod http;
pub mod plugin_client;
pub mod provider;
pub mod relay;
pub mod seams;
pub mod startup;
pub mod store;
pub mod telemetry;
pub mod terminal;
pub mod vault;
