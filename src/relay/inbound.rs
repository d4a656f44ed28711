//! What arrives on a socket, with its limits: messages, the parts of one, and the peer's breaches of RFC 6455.

use actix_web::web::Bytes;

use super::{
    close::Close,
    frame::{Frame, Opcode},
};

/// Parts that one message may come in.
const MOST_PARTS: usize = 256;

/// Something that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
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
    /// Takes a frame; a message may have `largest` bytes.
    pub(super) fn take(&mut self, frame: Frame, largest: usize) -> Arrival {
        let Frame { last, opcode, payload } = frame;
        match (opcode, last, &mut self.0) {
            (Opcode::Text, true, None) => whole(payload, largest),
            (Opcode::Text, false, parts @ None) => parts.insert(Box::default()).add(&payload, largest),
            (Opcode::Continuation, false, Some(parts)) => parts.add(&payload, largest),
            (Opcode::Continuation, true, Some(parts)) => {
                let arrival = parts.add(&payload, largest);
                let refused = arrival != Arrival::Control;
                if refused { arrival } else { whole(self.0.take().unwrap_or_default().text, largest) }
            }
            (Opcode::Binary, _, None) => Arrival::Refused(Close::Binary),
            (Opcode::Ping, ..) => Arrival::Ping(payload.into()),
            (Opcode::Pong, ..) => Arrival::Control,
            (Opcode::Close, ..) => Arrival::Closes,
            // A part of no message, or a message amid the parts of another (§5.4).
            (Opcode::Continuation, _, None) | (Opcode::Text | Opcode::Binary, _, Some(_)) => {
                Arrival::Refused(Close::Protocol)
            }
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

    fn frame(opcode: Opcode, last: bool, payload: impl Into<Vec<u8>>) -> Frame {
        Frame { last, opcode, payload: payload.into() }
    }

    fn first(text: &str) -> Frame {
        frame(Opcode::Text, false, text)
    }

    fn more(last: bool, payload: impl Into<Vec<u8>>) -> Frame {
        frame(Opcode::Continuation, last, payload)
    }

    fn take(frames: Vec<Frame>) -> Vec<Arrival> {
        let mut inbound = Inbound::default();
        frames.into_iter().map(|frame| inbound.take(frame, LARGEST_MESSAGE)).collect()
    }

    #[test]
    fn a_message_may_come_in_parts_with_control_frames_in_between() {
        let arrivals = take(vec![
            first("a"),
            frame(Opcode::Ping, true, "p"),
            more(false, "ä"),
            frame(Opcode::Pong, true, ""),
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
        let half = || vec![b'x'; LARGEST_MESSAGE / 2];
        let fits = take(vec![first(""), more(false, half()), more(true, half())]);
        assert!(matches!(&fits[2], Arrival::Text(text) if text.len() == LARGEST_MESSAGE));
        for last in [false, true] {
            let huge = take(vec![first("x"), more(false, half()), more(last, half())]);
            assert_eq!(huge.last(), Some(&Arrival::Refused(Close::TooBig)));
        }
        let huge = frame(Opcode::Text, true, vec![b'x'; LARGEST_MESSAGE + 1]);
        assert_eq!(take(vec![huge]), [Arrival::Refused(Close::TooBig)]);
    }

    #[test]
    fn what_is_binary_broken_or_no_utf_8_is_refused() {
        let refusal = |frames| match take(frames).pop() {
            Some(Arrival::Refused(close)) => close,
            other => panic!("refused, not {other:?}"),
        };
        for last in [true, false] {
            assert_eq!(refusal(vec![frame(Opcode::Binary, last, "x")]), Close::Binary);
            assert_eq!(refusal(vec![first("x"), frame(Opcode::Binary, last, "x")]), Close::Protocol);
            assert_eq!(refusal(vec![more(last, "x")]), Close::Protocol);
        }
        assert_eq!(refusal(vec![first("x"), first("y")]), Close::Protocol);
        let broken = |last| frame(Opcode::Text, last, b"\xc3");
        assert_eq!(refusal(vec![broken(true)]), Close::Protocol);
        assert_eq!(refusal(vec![broken(false), more(true, "(")]), Close::Protocol);
    }
}
