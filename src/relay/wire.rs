//! A WebSocket on a TCP socket of our own, framed by `frame`.
//!
//! While nothing comes it holds no buffer: what is readable is read into the stack, and only what is not yet a whole
//! frame is kept, and only until it is.

use std::{
    io::ErrorKind,
    task::{Context, Poll, ready},
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    frame::{self, Frame, Next, Opcode},
    inbound::{Arrival, Inbound, Piece},
    transport::{Gone, Outgoing, Parting, Transport},
};

/// Bytes read at once.
const CHUNK: usize = 8 * 1024;

/// A socket whose handshake is done. No `Debug`: what is unread may hold secrets.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    skip: u64,
    broken: bool,
    /// Whether a send was given up in the middle of a frame: behind that nothing can be told.
    half_sent: bool,
    inbound: Inbound,
}

impl Wire {
    /// Over `stream`, from which `unread` came behind the head of the handshake.
    pub fn new(stream: TcpStream, unread: Vec<u8>) -> Self {
        Self { stream, unread, skip: 0, broken: false, half_sent: false, inbound: Inbound::default() }
    }

    fn poll_recv(&mut self, context: &mut Context<'_>, largest: usize) -> Poll<Arrival> {
        loop {
            if let Some(arrival) = self.take(largest) {
                return Poll::Ready(arrival);
            }
            if ready!(self.stream.poll_read_ready(context)).is_err() || self.read().is_err() {
                return Poll::Ready(Arrival::Gone);
            }
        }
    }

    /// The next arrival in what was read; none where more must be read first.
    fn take(&mut self, largest: usize) -> Option<Arrival> {
        if self.broken || self.skip > 0 {
            let skipped = if self.broken { self.unread.len() } else { self.skippable() };
            self.unread.drain(..skipped);
            self.skip = self.skip.saturating_sub(skipped as u64);
        }
        match frame::take(&mut self.unread, largest) {
            Ok(Next::Incomplete) => None,
            Ok(Next::Frame(frame)) => Some(self.inbound.take(piece(frame), largest)),
            Ok(Next::Oversized(payload)) => {
                self.skip = payload;
                Some(self.inbound.take(Piece::TooBig, largest))
            }
            Err(frame::Breach) => {
                self.broken = true;
                Some(self.inbound.take(Piece::Breach, largest))
            }
        }
    }

    fn skippable(&self) -> usize {
        usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.unread.len())
    }

    /// Reads what there is; the buffer is gone with this call.
    fn read(&mut self) -> Result<(), Gone> {
        let mut chunk = [0; CHUNK];
        match self.stream.try_read(&mut chunk) {
            Ok(0) => Err(Gone),
            Ok(length) => {
                self.unread.extend_from_slice(chunk.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(Gone),
        }
    }
}

fn piece(frame: Frame) -> Piece {
    let Frame { last, opcode, payload } = frame;
    match opcode {
        Opcode::Text => Piece::Text { last, payload: payload.into() },
        Opcode::Continuation => Piece::Continuation { last, payload: payload.into() },
        Opcode::Binary => Piece::Binary,
        Opcode::Ping => Piece::Ping(payload.into()),
        Opcode::Pong => Piece::Pong,
        Opcode::Close => Piece::Close,
    }
}

impl Transport for Wire {
    fn recv(&mut self, largest: usize) -> impl Future<Output = Arrival> {
        std::future::poll_fn(move |context| self.poll_recv(context, largest))
    }

    async fn send(&mut self, message: Outgoing) -> Result<(), Gone> {
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
        if self.half_sent {
            return Err(Gone);
        }
        self.half_sent = true;
        self.stream.write_all(&bytes).await.map_err(|_| Gone)?;
        self.half_sent = false;
        Ok(())
    }

    fn part(self, how: Parting) {
        if how == Parting::AtOnce {
            // A reset: the kernel lets go of what the peer does not take.
            let _ = self.stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
