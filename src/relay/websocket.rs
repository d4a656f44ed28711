//! A WebSocket after its handshake, whatever carries its bytes: frames by `frame`, messages by `inbound`.
//!
//! What is not yet a whole frame is kept, and only until it is: while nothing comes there is no buffer. A peer is refused
//! once. From then on nothing of what it sends is looked at but a close frame, and nothing at all once it has broken the
//! framing; so no amount of nonsense keeps anybody busy who waits for it to go.

use std::{
    fmt,
    task::{Context, Poll, ready},
};

use actix_web::web::Bytes;

use super::{
    close::Close,
    frame::{self, Next, Opcode},
    inbound::{Arrival, Inbound},
    transport::{Gone, Parting, Transport},
};

/// What is sent. No `Debug`: it holds tokens.
pub enum Outgoing {
    /// Text messages, one after the other.
    Texts(Vec<String>),
    /// A ping without payload.
    Ping,
    /// The answer to a ping.
    Pong(Bytes),
    /// The last frame: why we close, or nothing in answer to the peer's.
    Close(Option<Close>),
}

/// A WebSocket.
pub struct WebSocket<T> {
    transport: T,
    unread: Vec<u8>,
    /// Bytes of a frame that are not kept.
    skip: u64,
    /// Whether frames can't be told apart any more.
    broken: bool,
    refused: bool,
    inbound: Inbound,
}

impl<T: Transport> WebSocket<T> {
    /// Over `transport`, from which `unread` came behind the head of the handshake.
    pub fn new(transport: T, unread: Vec<u8>) -> Self {
        Self { transport, unread, skip: 0, broken: false, refused: false, inbound: Inbound::default() }
    }

    /// Waits for what arrives; a message may have `largest` bytes. Nothing is lost if the future is dropped.
    pub fn recv(&mut self, largest: usize) -> impl Future<Output = Arrival> {
        std::future::poll_fn(move |context| self.poll_recv(context, largest))
    }

    /// Sends; waits while the peer does not read. Given up half-way, nothing more may be sent.
    pub async fn send(&mut self, message: Outgoing) -> Result<(), Gone> {
        let bytes = match message {
            Outgoing::Texts(texts) => {
                let mut bytes = Vec::new();
                for text in texts {
                    frame::append(&mut bytes, Opcode::Text, text.as_bytes());
                }
                bytes
            }
            Outgoing::Ping => frame::write(Opcode::Ping, b""),
            Outgoing::Pong(payload) => frame::write(Opcode::Pong, &payload),
            Outgoing::Close(close) => frame::write_close(close),
        };
        self.transport.write(bytes).await
    }

    /// Ends the connection below.
    pub fn part(self, how: Parting) {
        self.transport.part(how);
    }

    fn poll_recv(&mut self, context: &mut Context<'_>, largest: usize) -> Poll<Arrival> {
        loop {
            if let Some(arrival) = self.take(largest) {
                return Poll::Ready(arrival);
            }
            if let Err(Gone) = ready!(self.transport.poll_read(context, &mut self.unread)) {
                return Poll::Ready(Arrival::Gone);
            }
        }
    }

    /// The next arrival in what was read; none where more must be read first.
    fn take(&mut self, largest: usize) -> Option<Arrival> {
        loop {
            self.skip();
            let arrival = match frame::take(&mut self.unread, largest) {
                Ok(Next::Incomplete) => return None,
                Ok(Next::Frame(frame)) if self.refused && frame.opcode != Opcode::Close => continue,
                Ok(Next::Frame(frame)) => self.inbound.take(frame, largest),
                Ok(Next::Oversized(payload)) => {
                    self.skip = payload;
                    Arrival::Refused(Close::TooBig)
                }
                Err(frame::Breach) => {
                    self.broken = true;
                    Arrival::Refused(Close::Protocol)
                }
            };
            if !matches!(arrival, Arrival::Refused(_)) {
                return Some(arrival);
            }
            if !std::mem::replace(&mut self.refused, true) {
                // The parts of a message that will not be whole any more.
                self.inbound = Inbound::default();
                return Some(arrival);
            }
        }
    }

    /// Drops what was read and is no frame.
    fn skip(&mut self) {
        let skipped = if self.broken {
            self.unread.len()
        } else {
            usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.unread.len())
        };
        self.unread.drain(..skipped);
        self.skip = self.skip.saturating_sub(skipped as u64);
    }
}

impl<T> fmt::Debug for WebSocket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is unread may hold secrets.
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
