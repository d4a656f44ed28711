//! The seam between a WebSocket and what carries its bytes: `wire`, a socket of our own, or `upgraded`, a request of the
//! HTTP server and its answer. Frames are read and written above it, so that both have the same limits.

use std::task::{Context, Poll};

/// The peer is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// How the connection below ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// After what was sent: the peer has read our close frame, or will.
    InPeace,
    /// At once: the peer does not read.
    AtOnce,
}

/// Carries the bytes of one connection, both ways.
pub trait Transport {
    /// Waits for bytes and puts them behind `unread`: 8 KiB at most, so that little more of them is held than
    /// the one frame that is not yet whole.
    fn poll_read(&mut self, context: &mut Context<'_>, unread: &mut Vec<u8>) -> Poll<Result<(), Gone>>;

    /// Sends; waits while the peer does not read. Given up half-way, nothing more may be sent.
    fn write(&mut self, bytes: Vec<u8>) -> impl Future<Output = Result<(), Gone>>;

    /// Ends the connection below.
    fn part(self, how: Parting);
}

/// Bytes read at once.
pub(super) const CHUNK: usize = 8 * 1024;
