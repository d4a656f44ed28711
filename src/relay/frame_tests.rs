use proptest::prelude::*;

use super::*;

const LARGEST: usize = 64 * 1024;
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A frame as a client sends it, with the first byte as given.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = write(Opcode::Text, payload);
    let head = bytes.len() - payload.len();
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.truncate(head);
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

fn next(bytes: &[u8]) -> Result<Next, Breach> {
    take(&mut bytes.to_vec(), LARGEST)
}

#[test]
fn the_rfcs_examples_are_read_and_written() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let frame = Frame { last: true, opcode: Opcode::Text, payload: b"Hello".to_vec() };
    assert_eq!(next(&hello), Ok(Next::Frame(frame)));
    assert_eq!(write(Opcode::Text, b"Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    assert_eq!(write(Opcode::Ping, b"Hello")[..2], [0x89, 0x05]);
    assert_eq!(write(Opcode::Text, &[0; 256])[..4], [0x81, 0x7e, 0x01, 0x00]);
    assert_eq!(write(Opcode::Text, &vec![0; 65536])[..10], [0x81, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(write_close(None), [0x88, 0]);
    assert_eq!(write_close(Some(Close::Binary))[..4], [0x88, 2 + 18, 0x03, 0xeb]);
}

#[test]
fn h06_what_a_client_must_not_send_is_a_breach() {
    let close = |payload: &[u8]| masked(0x88, payload);
    let long = |length: &[u8]| [&[0x81][..], length, &MASK, &[0; 200]].concat();
    for (what, bytes) in [
        ("no mask", write(Opcode::Text, b"x")),
        ("no mask, before its payload", vec![0x81, 0x01]),
        ("reserved bit 1, compression", masked(0xc1, b"x")),
        ("reserved bit 2", masked(0xa1, b"x")),
        ("reserved bit 3", masked(0x91, b"x")),
        ("reserved data opcode", masked(0x83, b"x")),
        ("reserved data opcode", masked(0x87, b"x")),
        ("reserved control opcode", masked(0x8b, b"x")),
        ("reserved control opcode", masked(0x8f, b"x")),
        ("ping in parts", masked(0x09, b"x")),
        ("pong in parts", masked(0x0a, b"x")),
        ("close in parts", masked(0x08, b"")),
        ("long ping", masked(0x89, &[0; 126])),
        ("long close", close(&[3, 232].repeat(63))),
        ("125 in two bytes of length", long(&[0xfe, 0, 125])),
        ("126 in eight bytes of length", long(&[0xff, 0, 0, 0, 0, 0, 0, 0, 126])),
        ("65535 in eight bytes of length", long(&[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff])),
        ("a length with its highest bit set", long(&[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0])),
        ("half a code", close(&[3])),
        ("a reason that is no UTF-8", close(&[3, 232, 0xc3])),
    ] {
        assert_eq!(next(&bytes), Err(Breach), "{what}");
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        assert_eq!(next(&close(&code.to_be_bytes())), Err(Breach), "{code}");
    }
    for code in [1000_u16, 1003, 1007, 1011, 3000, 4999] {
        assert!(matches!(next(&close(&code.to_be_bytes())), Ok(Next::Frame(_))), "{code}");
    }
}

#[test]
fn h06_a_frame_over_the_limit_is_known_by_its_head() {
    let head = [&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1][..], &MASK].concat();
    let mut unread = [&head[..], b"the beginning"].concat();
    assert_eq!(take(&mut unread, LARGEST), Ok(Next::Oversized(65537)));
    assert_eq!(unread, b"the beginning");
    let largest = masked(0x82, &vec![7; LARGEST]);
    assert!(matches!(next(&largest), Ok(Next::Frame(frame)) if frame.payload == vec![7; LARGEST]));
}

#[test]
fn nothing_is_kept_of_what_was_taken() {
    let mut unread = masked(0x81, b"x");
    unread.reserve(1000);
    assert!(matches!(take(&mut unread, LARGEST), Ok(Next::Frame(_))));
    assert_eq!(unread.capacity(), 0);
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let data = prop_oneof![Just(Opcode::Continuation), Just(Opcode::Text), Just(Opcode::Binary)];
    let control = prop_oneof![Just(Opcode::Ping), Just(Opcode::Pong)];
    let length = prop_oneof![0..200_usize, 65_500..65_537_usize];
    let payload = (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
    prop_oneof![
        (any::<bool>(), data, payload).prop_map(|(last, opcode, payload)| Frame { last, opcode, payload }),
        (control, proptest::collection::vec(any::<u8>(), 0..=125)).prop_map(|(opcode, payload)| Frame {
            last: true,
            opcode,
            payload
        }),
    ]
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_the_bytes_are_cut(
        frames in proptest::collection::vec(any_frame(), 1..6),
        cuts in proptest::collection::vec(1..9000_usize, 1..6),
    ) {
        let first = |frame: &Frame| if frame.last { 0x80 } else { 0 } | frame.opcode.bits();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| masked(first(frame), &frame.payload)).collect();
        let (mut unread, mut read, mut rest) = (Vec::new(), Vec::new(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            unread.extend_from_slice(now);
            rest = later;
            while let Next::Frame(frame) = take(&mut unread, LARGEST).unwrap() {
                read.push(frame);
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(unread.is_empty());
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn no_bytes_panic_and_none_are_read_twice(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut unread = bytes;
        loop {
            let before = unread.len();
            match take(&mut unread, 100) {
                Ok(Next::Incomplete) | Err(Breach) => break,
                Ok(Next::Frame(_) | Next::Oversized(_)) => prop_assert!(unread.len() < before),
            }
        }
    }

    #[test]
    fn what_a_server_writes_is_refused_from_a_client(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(next(&write(Opcode::Text, &payload)), Err(Breach));
    }
}
