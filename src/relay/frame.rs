//! Frames of RFC 6455 §5 as a server reads and writes them: from bytes and to bytes, without I/O.
//!
//! The reader is strict: what a client must not send (a frame without mask, reserved bits or opcodes, a control frame
//! in parts or over 125 bytes, a length that is longer than it need be, a close frame with a code or a reason that no
//! peer may send) is a [`Breach`]. A data frame above its limit is known by its head, and its payload is never kept.

use super::close::Close;

/// Bytes of the longest head: two, eight of length, four of mask.
const LONGEST_HEAD: usize = 14;
/// Payload of the longest control frame (§5.5).
const LONGEST_CONTROL: usize = 125;

/// What a frame is (§5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame that came whole, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) last: bool,
    pub(super) opcode: Opcode,
    pub(super) payload: Vec<u8>,
}

/// The peer broke the framing: what comes after can't be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Breach;

/// What stands at the beginning of the bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Not yet a whole frame.
    Incomplete,
    /// A frame, taken out.
    Frame(Frame),
    /// A data frame over the limit. Its head was taken out; so many bytes of payload follow, to be skipped.
    Oversized(u64),
}

/// A head (§5.2).
struct Head {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    size: usize,
    payload: u64,
}

/// Takes the next frame out of `unread`, where it is whole. `largest` is for the payload of data frames.
pub(super) fn take(unread: &mut Vec<u8>, largest: usize) -> Result<Next, Breach> {
    let Some(head) = read_head(unread)? else { return Ok(Next::Incomplete) };
    if head.payload > largest as u64 {
        unread.drain(..head.size);
        return Ok(Next::Oversized(head.payload));
    }
    let end = head.size + usize::try_from(head.payload).map_err(|_| Breach)?;
    let Some(payload) = unread.get(head.size..end) else { return Ok(Next::Incomplete) };
    let payload: Vec<u8> =
        payload.iter().zip(head.mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    if unread.len() == end {
        // The memory goes too: most connections are idle most of the time.
        *unread = Vec::new();
    } else {
        unread.drain(..end);
    }
    if head.opcode == Opcode::Close {
        check_close(&payload)?;
    }
    Ok(Next::Frame(Frame { last: head.last, opcode: head.opcode, payload }))
}

fn read_head(bytes: &[u8]) -> Result<Option<Head>, Breach> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let opcode = Opcode::parse(first & 0x0f).ok_or(Breach)?;
    let (last, reserved, masked) = (first & 0x80 != 0, first & 0x70 != 0, second & 0x80 != 0);
    let short = second & 0x7f;
    if reserved || !masked || (opcode.is_control() && (!last || usize::from(short) > LONGEST_CONTROL)) {
        return Err(Breach);
    }
    let (payload, shortest, rest) = match short {
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), 1 << 16, rest),
            None => return Ok(None),
        },
        length => (u64::from(length), 0, rest),
    };
    if payload < shortest || payload >> 63 != 0 {
        return Err(Breach);
    }
    let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
    Ok(Some(Head { last, opcode, mask: *mask, size: bytes.len() - rest.len(), payload }))
}

/// A close frame is empty, or a code that may be sent (§7.4) and a reason in UTF-8.
fn check_close(payload: &[u8]) -> Result<(), Breach> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok(()),
        None => Err(Breach),
        Some((code, reason)) => {
            let may_be_sent = matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999);
            if may_be_sent && std::str::from_utf8(reason).is_ok() { Ok(()) } else { Err(Breach) }
        }
    }
}

/// A whole message as the one frame that a server sends: never masked, never in parts.
pub(super) fn write(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, opcode, payload);
    bytes
}

/// The same, behind others.
pub(super) fn append(bytes: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    bytes.reserve(payload.len() + LONGEST_HEAD);
    bytes.push(0x80 | opcode.bits());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
}

/// A close frame: with the code and the words of `close`, or empty.
pub(super) fn write_close(close: Option<Close>) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Some(close) = close {
        payload.extend(close.code().to_be_bytes());
        payload.extend(close.reason().as_bytes());
    }
    write(Opcode::Close, &payload)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
