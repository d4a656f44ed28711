//! What arrives on a socket, with its limits: messages, the parts of one, and the peer's breaches of RFC 6455.

use actix_web::web::Bytes;

use super::close::Close;
use crate::domain::inquiry::LARGEST_RESPONSE;

/// Bytes of the largest frame that is read whole. Above every limit of a message, so that one which is a
/// little too big can be refused by a close frame that arrives, and not by a reset connection.
pub(super) const LARGEST_FRAME: usize = LARGEST_RESPONSE + 64 * 1024;

/// Parts that one message may come in.
const MOST_PARTS: usize = 256;

/// What a transport read: one frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A text message, or its first part.
    Text { last: bool, payload: Bytes },
    /// A further part.
    Continuation { last: bool, payload: Bytes },
    /// A binary message, or its first part.
    Binary,
    /// A ping.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// A close frame.
    Close,
    /// A frame that is too big to be read.
    TooBig,
    /// What is no frame that a client may send.
    Breach,
}

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
pub(super) struct Inbound(Option<Box<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    count: usize,
    text: Vec<u8>,
}

impl Inbound {
    /// Takes what was read; a message may have `largest` bytes.
    pub(super) fn take(&mut self, piece: Piece, largest: usize) -> Arrival {
        match (piece, &mut self.0) {
            (Piece::Text { last: true, payload }, None) => whole(payload.into(), largest),
            (Piece::Text { last: false, payload }, parts @ None) => {
                parts.insert(Box::default()).add(&payload, largest)
            }
            (Piece::Continuation { last: false, payload }, Some(parts)) => parts.add(&payload, largest),
            (Piece::Continuation { last: true, payload }, Some(parts)) => {
                let arrival = parts.add(&payload, largest);
                let refused = arrival != Arrival::Control;
                if refused { arrival } else { whole(self.0.take().unwrap_or_default().text, largest) }
            }
            (Piece::Binary, None) => Arrival::Refused(Close::Binary),
            (Piece::Ping(payload), _) => Arrival::Ping(payload),
            (Piece::Pong, _) => Arrival::Control,
            (Piece::Close, _) => Arrival::Closes,
            (Piece::TooBig, _) => Arrival::Refused(Close::TooBig),
            // A part of no message, or a message amid the parts of another (§5.4).
            (Piece::Continuation { .. }, None)
            | (Piece::Text { .. } | Piece::Binary, Some(_))
            | (Piece::Breach, _) => Arrival::Refused(Close::Protocol),
        }
    }
}

impl Parts {
    fn add(&mut self, part: &[u8], largest: usize) -> Arrival {
        self.count += 1;
        self.text.extend_from_slice(part);
        if self.count > MOST_PARTS || self.text.len() > largest {
            Arrival::Refused(Close::TooBig)
        } else {
            Arrival::Control
        }
    }
}

fn whole(text: Vec<u8>, largest: usize) -> Arrival {
    if text.len() > largest {
        return Arrival::Refused(Close::TooBig);
    }
    match String::from_utf8(text) {
        Ok(text) => Arrival::Text(text),
        Err(_) => Arrival::Refused(Close::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::protocol::LARGEST_MESSAGE, *};

    fn first(text: &'static str) -> Piece {
        Piece::Text { last: false, payload: text.into() }
    }

    fn more(last: bool, payload: impl Into<Bytes>) -> Piece {
        Piece::Continuation { last, payload: payload.into() }
    }

    fn take(pieces: Vec<Piece>) -> Vec<Arrival> {
        let mut inbound = Inbound::default();
        pieces.into_iter().map(|piece| inbound.take(piece, LARGEST_MESSAGE)).collect()
    }

    #[test]
    fn a_message_may_come_in_parts_with_control_frames_in_between() {
        let arrivals = take(vec![
            first("a"),
            Piece::Ping("p".into()),
            more(false, "ä"),
            Piece::Pong,
            more(true, "b"),
            first("c"),
            more(true, ""),
        ]);
        let text = |text: &str| Arrival::Text(text.to_owned());
        let (part, ping) = (|| Arrival::Control, Arrival::Ping("p".into()));
        assert_eq!(arrivals, [part(), ping, part(), part(), text("aäb"), part(), text("c")]);
    }

    #[test]
    fn h06_endless_or_huge_parts_are_refused() {
        let mut empty = vec![first("")];
        empty.extend((0..MOST_PARTS).map(|_| more(false, "")));
        assert_eq!(take(empty).last(), Some(&Arrival::Refused(Close::TooBig)));
        let half = || Bytes::from(vec![b'x'; LARGEST_MESSAGE / 2]);
        let fits = take(vec![first(""), more(false, half()), more(true, half())]);
        assert!(matches!(&fits[2], Arrival::Text(text) if text.len() == LARGEST_MESSAGE));
        for last in [false, true] {
            let huge = take(vec![first("x"), more(false, half()), more(last, half())]);
            assert_eq!(huge.last(), Some(&Arrival::Refused(Close::TooBig)));
        }
        let payload = vec![b'x'; LARGEST_MESSAGE + 1].into();
        assert_eq!(take(vec![Piece::Text { last: true, payload }]), [Arrival::Refused(Close::TooBig)]);
    }

    #[test]
    fn what_is_binary_broken_or_no_utf_8_is_refused() {
        let refusal = |pieces| match take(pieces).pop() {
            Some(Arrival::Refused(close)) => close,
            other => panic!("refused, not {other:?}"),
        };
        assert_eq!(refusal(vec![Piece::Binary]), Close::Binary);
        assert_eq!(refusal(vec![Piece::TooBig]), Close::TooBig);
        assert_eq!(refusal(vec![Piece::Breach]), Close::Protocol);
        assert_eq!(refusal(vec![more(true, "x")]), Close::Protocol);
        assert_eq!(refusal(vec![first("x"), first("y")]), Close::Protocol);
        assert_eq!(refusal(vec![first("x"), Piece::Binary]), Close::Protocol);
        let broken = |last| Piece::Text { last, payload: Bytes::from_static(b"\xc3") };
        assert_eq!(refusal(vec![broken(true)]), Close::Protocol);
        assert_eq!(refusal(vec![broken(false), more(true, "(")]), Close::Protocol);
    }
}
