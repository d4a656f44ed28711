//! Account link: what Home Assistant's cloud client asks of a broker.
//!
//! An attempt is a flow without a device. One WebSocket starts it, waits for it and takes its tokens; the browser's part
//! is that of any flow. Tokens stay here for as long as the socket takes to read them. A refresh is passed on to the
//! provider with the client secret that never leaves.
//!
//! No attempt is taken over from a replica that died: the socket may have died with it, and who lost their socket starts
//! again.

mod callback;
mod consent;
mod delivery;
mod refresh;
mod service;

pub use self::{
    consent::{AccountLinkPage, AccountLinkQuestion},
    delivery::{AccountLinkNews, AccountLinkWait},
    refresh::AccountRefreshError,
    service::{AccountLinkStarted, StartAccountLinkError},
};
