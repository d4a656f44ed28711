//! A WebSocket that the HTTP server carries: the public listener's.

use std::io::ErrorKind;

use actix_ws::{CloseCode, CloseReason, Item, Message, MessageStream, ProtocolError};

use super::{
    HangUp,
    inbound::{Arrival, Inbound, LARGEST_FRAME, Piece},
    transport::{Gone, Outgoing, Parting, Transport},
};

/// A request that became a WebSocket.
pub struct Upgraded {
    session: actix_ws::Session,
    stream: MessageStream,
    hang_up: Option<HangUp>,
    inbound: Inbound,
}

impl Upgraded {
    /// The two halves, and what ends the connection below, where the server has remembered it.
    pub fn new(session: actix_ws::Session, stream: MessageStream, hang_up: Option<HangUp>) -> Self {
        let stream = stream.max_frame_size(LARGEST_FRAME);
        Self { session, stream, hang_up, inbound: Inbound::default() }
    }
}

impl Transport for Upgraded {
    async fn recv(&mut self, largest: usize) -> Arrival {
        match self.stream.recv().await {
            None => Arrival::Gone,
            Some(Err(ProtocolError::Io(error))) if error.kind() != ErrorKind::InvalidData => Arrival::Gone,
            Some(message) => self.inbound.take(piece(message), largest),
        }
    }

    async fn send(&mut self, message: Outgoing) -> Result<(), Gone> {
        let mut session = self.session.clone();
        let sent = match message {
            Outgoing::Texts(texts) => {
                for text in texts {
                    session.text(text).await.map_err(|actix_ws::Closed| Gone)?;
                }
                Ok(())
            }
            Outgoing::Ping => session.ping(b"").await,
            Outgoing::Pong(payload) => session.pong(&payload).await,
            Outgoing::Close(close) => {
                let reason = close.map(|close| CloseReason {
                    code: CloseCode::Other(close.code()),
                    description: Some(close.reason().to_owned()),
                });
                session.close(reason).await
            }
        };
        sent.map_err(|actix_ws::Closed| Gone)
    }

    fn part(self, how: Parting) {
        match (self.hang_up, how) {
            (Some(hang_up), Parting::InPeace) => hang_up.after_writing(),
            (Some(hang_up), Parting::AtOnce) => hang_up.now(),
            (None, _) => {}
        }
    }
}

fn piece(message: Result<Message, ProtocolError>) -> Piece {
    match message {
        Ok(Message::Text(text)) => Piece::Text { last: true, payload: text.into_bytes() },
        Ok(Message::Continuation(Item::FirstText(payload))) => Piece::Text { last: false, payload },
        Ok(Message::Continuation(Item::Continue(payload))) => Piece::Continuation { last: false, payload },
        Ok(Message::Continuation(Item::Last(payload))) => Piece::Continuation { last: true, payload },
        Ok(Message::Binary(_) | Message::Continuation(Item::FirstBinary(_))) => Piece::Binary,
        Ok(Message::Ping(payload)) => Piece::Ping(payload),
        Ok(Message::Pong(_) | Message::Nop) => Piece::Pong,
        Ok(Message::Close(_)) => Piece::Close,
        Err(ProtocolError::Overflow) => Piece::TooBig,
        Err(_) => Piece::Breach,
    }
}
