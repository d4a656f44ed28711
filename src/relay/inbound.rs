//! What arrives on a socket, with its limits: messages, the parts of one, and the peer's breaches of RFC 6455.

use std::io::ErrorKind;

use actix_web::web::Bytes;
use actix_ws::{Item, Message, ProtocolError};

use super::{close::Close, protocol::LARGEST_MESSAGE};

/// Bytes of the largest frame that is read whole. Above [`LARGEST_MESSAGE`], so that a message which is a
/// little too big can be refused by a close frame that arrives, and not by a reset connection.
pub(super) const LARGEST_FRAME: usize = 4 * LARGEST_MESSAGE;

/// Parts that one message may come in.
const MOST_PARTS: usize = 256;

/// Something that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A whole text message.
    Text(String),
    /// A ping to answer.
    Ping(Bytes),
    /// A pong, or a part of a message.
    Control,
    /// Something that ends the connection.
    Refused(Close),
    /// The peer closes, and waits for our close frame (RFC 6455 §5.5.1).
    Closes,
    /// The peer went away.
    Gone,
}

/// The parts of a message that is not yet whole.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    parts: usize,
    text: Vec<u8>,
}

impl Inbound {
    /// Takes what the stream gave.
    pub(super) fn take(&mut self, message: Option<Result<Message, ProtocolError>>) -> Arrival {
        match message {
            Some(Ok(Message::Text(text))) if text.len() > LARGEST_MESSAGE => Arrival::Refused(Close::TooBig),
            Some(Ok(Message::Text(text))) => Arrival::Text(text.into()),
            Some(Ok(Message::Binary(_) | Message::Continuation(Item::FirstBinary(_)))) => {
                Arrival::Refused(Close::Binary)
            }
            Some(Ok(Message::Continuation(Item::FirstText(part) | Item::Continue(part)))) => self.part(&part),
            Some(Ok(Message::Continuation(Item::Last(part)))) => {
                let arrival = self.part(&part);
                if arrival == Arrival::Control { self.whole() } else { arrival }
            }
            Some(Ok(Message::Ping(payload))) => Arrival::Ping(payload),
            Some(Ok(Message::Pong(_) | Message::Nop)) => Arrival::Control,
            Some(Ok(Message::Close(_))) => Arrival::Closes,
            None => Arrival::Gone,
            Some(Err(ProtocolError::Overflow)) => Arrival::Refused(Close::TooBig),
            Some(Err(ProtocolError::Io(error))) if error.kind() != ErrorKind::InvalidData => Arrival::Gone,
            Some(Err(_)) => Arrival::Refused(Close::Protocol),
        }
    }

    fn part(&mut self, part: &[u8]) -> Arrival {
        self.parts += 1;
        self.text.extend_from_slice(part);
        if self.parts > MOST_PARTS || self.text.len() > LARGEST_MESSAGE {
            Arrival::Refused(Close::TooBig)
        } else {
            Arrival::Control
        }
    }

    fn whole(&mut self) -> Arrival {
        self.parts = 0;
        match String::from_utf8(std::mem::take(&mut self.text)) {
            Ok(text) => Arrival::Text(text),
            Err(_) => Arrival::Refused(Close::Protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: Vec<Item>) -> Vec<Arrival> {
        let mut inbound = Inbound::default();
        parts.into_iter().map(|part| inbound.take(Some(Ok(Message::Continuation(part))))).collect()
    }

    #[test]
    fn a_message_may_come_in_parts() {
        let mut arrivals = parts(vec![
            Item::FirstText("a".into()),
            Item::Continue("ä".into()),
            Item::Last("b".into()),
            Item::FirstText("c".into()),
            Item::Last("".into()),
        ]);
        let (last, third) = (arrivals.pop(), arrivals.remove(2));
        assert_eq!(third, Arrival::Text("aäb".to_owned()));
        assert_eq!(last, Some(Arrival::Text("c".to_owned())));
    }

    #[test]
    fn h06_endless_or_huge_parts_are_refused() {
        let empty = (0..=MOST_PARTS).map(|_| Item::Continue(Bytes::new())).collect();
        assert_eq!(parts(empty).last(), Some(&Arrival::Refused(Close::TooBig)));
        let half = || Bytes::from(vec![b'x'; LARGEST_MESSAGE / 2]);
        let fits = parts(vec![Item::FirstText(half()), Item::Last(half())]);
        assert!(matches!(&fits[1], Arrival::Text(text) if text.len() == LARGEST_MESSAGE));
        for last in [Item::Continue("x".into()), Item::Last("x".into())] {
            let huge = parts(vec![Item::FirstText(half()), Item::Continue(half()), last]);
            assert_eq!(huge.last(), Some(&Arrival::Refused(Close::TooBig)));
        }
    }

    #[test]
    fn what_is_binary_broken_or_no_utf_8_is_refused() {
        let take = |message| Inbound::default().take(Some(message));
        assert_eq!(take(Ok(Message::Binary("x".into()))), Arrival::Refused(Close::Binary));
        assert_eq!(
            take(Ok(Message::Continuation(Item::FirstBinary("x".into())))),
            Arrival::Refused(Close::Binary)
        );
        assert_eq!(take(Err(ProtocolError::Overflow)), Arrival::Refused(Close::TooBig));
        assert_eq!(take(Err(ProtocolError::UnmaskedFrame)), Arrival::Refused(Close::Protocol));
        let reserved_bits = ProtocolError::Io(ErrorKind::InvalidData.into());
        assert_eq!(take(Err(reserved_bits)), Arrival::Refused(Close::Protocol));
        assert_eq!(take(Err(ProtocolError::Io(ErrorKind::ConnectionReset.into()))), Arrival::Gone);
        let broken = parts(vec![Item::FirstText(Bytes::from_static(b"\xc3")), Item::Last("(".into())]);
        assert_eq!(broken[1], Arrival::Refused(Close::Protocol));
    }
}
