//! The seam between a conversation and what carries its messages: `upgraded`, a request of the HTTP server that became
//! a WebSocket, or `wire`, a socket of our own. Both hand over the same arrivals, with the same limits.

use actix_web::web::Bytes;

use super::{close::Close, inbound::Arrival};

/// What is sent. No `Debug`: it holds tokens.
pub(super) enum Outgoing {
    /// Text messages, one after the other.
    Texts(Vec<String>),
    /// A ping without payload.
    Ping,
    /// The answer to a ping.
    Pong(Bytes),
    /// The last frame: why we close, or nothing in answer to the peer's.
    Close(Option<Close>),
}

/// The peer is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// How the connection below ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// After what was sent: the peer has read our close frame, or will.
    InPeace,
    /// At once: the peer does not read.
    AtOnce,
}

/// Carries the messages of one connection.
pub(super) trait Transport {
    /// Waits for what arrives; a message may have `largest` bytes. Nothing is lost if the future is dropped.
    fn recv(&mut self, largest: usize) -> impl Future<Output = Arrival>;

    /// Sends; waits while the peer does not read. Given up half-way, nothing more may be sent.
    fn send(&mut self, message: Outgoing) -> impl Future<Output = Result<(), Gone>>;

    /// Ends the connection below.
    fn part(self, how: Parting);
}
