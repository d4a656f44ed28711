//! The form of a sealed value, and what it is bound to.
//!
//! `version (1) | length of key id (1) | key id | nonce (24) | ciphertext | tag (16)`
//!
//! The cipher is XAES-256-GCM (C2SP): AES-256-GCM under a key derived from the first half of a 192-bit
//! nonce, so that random nonces never get near a collision (G02). The associated data is everything in
//! front of the nonce and the [`Place`], each part with its length, so that no two places encode alike: a
//! value moved to another row, or renamed to another key, does not open (G03).
//!
//! Which key is used is the ring's business, see [`ring`](super::ring).

use std::fmt;

use xaes_256_gcm::{
    Nonce, Tag, Xaes256Gcm,
    aead::{AeadInOut, inout::InOutBuf},
};
use zeroize::Zeroizing;

use crate::domain::clock::{Entropy, draw};

const VERSION: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
const LONGEST_KEY_ID: usize = 32;

/// The name of a key in the ring: 1 to 32 characters of `a-z`, `0-9`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Box<str>);

impl KeyId {
    /// The id that `text` is, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let valid = (1..=LONGEST_KEY_ID).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.into()))
    }

    /// The id in the head of a sealed value (all in front of the nonce), if it is one that this release knows.
    pub fn of_head(head: &[u8]) -> Option<Self> {
        let (&[VERSION, length], id) = head.split_first_chunk()? else { return None };
        (usize::from(length) == id.len()).then(|| Self::parse(str::from_utf8(id).ok()?)).flatten()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a sealed value stands: it opens nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    table: &'static str,
    column: &'static str,
    row: String,
}

impl Place {
    /// The place of `column` in that row of `table` whose primary key reads `row`.
    pub fn new(table: &'static str, column: &'static str, row: &impl fmt::Display) -> Self {
        Self { table, column, row: row.to_string() }
    }
}

/// Why a sealed value does not open. Nothing of it is ever returned in part (G04).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It ends before its parts do.
    #[error("a sealed value is cut short")]
    Truncated,
    /// It is no sealed value, or one of a newer release.
    #[error("a sealed value has a version that this release does not know")]
    UnknownVersion,
    /// Its key is not in the ring.
    #[error("a sealed value needs key {0}, which vault.keys does not hold: add that key again")]
    UnknownKey(KeyId),
    /// It was changed, moved to another place, or sealed by another key of the same id.
    #[error("a sealed value was changed or moved, or vault.keys holds another key under its id")]
    Tampered,
}

/// A sealed value taken apart; nothing of it is verified yet.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) key: KeyId,
    nonce: &'a [u8; NONCE],
    body: &'a [u8],
    tag: &'a [u8; TAG],
}

impl<'a> Envelope<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, OpenError> {
        let (version, rest) = bytes.split_first().ok_or(OpenError::Truncated)?;
        if *version != VERSION {
            return Err(OpenError::UnknownVersion);
        }
        let (length, rest) = rest.split_first().ok_or(OpenError::Truncated)?;
        let (key, rest) = rest.split_at_checked(usize::from(*length)).ok_or(OpenError::Truncated)?;
        let key = str::from_utf8(key).ok().and_then(KeyId::parse).ok_or(OpenError::Tampered)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(OpenError::Truncated)?;
        let (body, tag) = rest.split_last_chunk().ok_or(OpenError::Truncated)?;
        Ok(Self { key, nonce, body, tag })
    }

    pub(super) fn open(&self, cipher: &Xaes256Gcm, place: &Place) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut plain = Zeroizing::new(self.body.to_vec());
        cipher
            .decrypt_inout_detached(
                &Nonce::from(*self.nonce),
                &associated_data(&self.key, place),
                InOutBuf::from(plain.as_mut_slice()),
                &Tag::from(*self.tag),
            )
            .map_err(|_| OpenError::Tampered)?;
        Ok(plain)
    }
}

pub(super) fn seal(
    cipher: &Xaes256Gcm,
    key: &KeyId,
    place: &Place,
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Vec<u8> {
    let nonce = draw::<NONCE>(entropy);
    let mut body = plain.to_vec();
    let data = associated_data(key, place);
    let tag = cipher.encrypt_inout_detached(&Nonce::from(nonce), &data, InOutBuf::from(body.as_mut_slice()));
    let Ok(tag) = tag else { unreachable!("the cipher refuses only what is longer than 64 GiB") };

    let mut sealed = header(key);
    sealed.reserve_exact(NONCE + body.len() + TAG);
    sealed.extend_from_slice(&nonce);
    sealed.append(&mut body);
    sealed.extend_from_slice(&tag);
    sealed
}

pub(super) fn header(key: &KeyId) -> Vec<u8> {
    let id = key.as_str().as_bytes();
    // A key id is at most 32 bytes long, so its length always fits.
    let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
    [&[VERSION, length], id].concat()
}

fn associated_data(key: &KeyId, place: &Place) -> Vec<u8> {
    let mut data = header(key);
    for part in [place.table, place.column, &place.row] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha3::{
        Shake128,
        digest::{ExtendableOutput, Update, XofReader},
    };
    use xaes_256_gcm::{
        Key,
        aead::{Aead, KeyInit, Payload},
    };

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|half| char::from(b"0123456789abcdef"[usize::from(half)]))
            .collect()
    }

    fn worked_vector(key: u8, data: &str) -> String {
        let cipher = Xaes256Gcm::new(&<Key>::from([key; 32]));
        let payload = Payload { msg: b"XAES-256-GCM", aad: data.as_bytes() };
        hex(&cipher.encrypt(&Nonce::from(*b"ABCDEFGHIJKLMNOPQRSTUVWX"), payload).unwrap())
    }

    #[test]
    fn the_cipher_agrees_with_the_worked_vectors_of_c2sp() {
        assert_eq!(worked_vector(1, ""), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        assert_eq!(
            worked_vector(3, "c2sp.org/XAES-256-GCM"),
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"
        );
    }

    #[test]
    fn the_cipher_agrees_with_the_ten_thousand_random_vectors_of_c2sp() {
        let mut source = Shake128::default().finalize_xof();
        let mut read = |length: usize| {
            let mut bytes = vec![0; length];
            source.read(&mut bytes);
            bytes
        };
        let mut sum = Shake128::default();
        for _ in 0..10_000 {
            let key: [u8; 32] = read(32).try_into().unwrap();
            let nonce: [u8; NONCE] = read(NONCE).try_into().unwrap();
            let length = read(1)[0];
            let plain = read(length.into());
            let length = read(1)[0];
            let data = read(length.into());

            let cipher = Xaes256Gcm::new(&<Key>::from(key));
            let sealed = cipher.encrypt(&Nonce::from(nonce), Payload { msg: &plain, aad: &data }).unwrap();
            sum.update(&sealed);
            let opened = cipher.decrypt(&Nonce::from(nonce), Payload { msg: &sealed, aad: &data });
            assert_eq!(opened.unwrap(), plain);
        }
        let mut hash = [0; 32];
        sum.finalize_xof().read(&mut hash);
        assert_eq!(hex(&hash), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
    }

    #[test]
    fn a_key_id_is_short_and_plain() {
        for bad in ["", "A", "a b", "a:b", "ä", &"a".repeat(33)] {
            assert_eq!(KeyId::parse(bad), None, "{bad:?}");
        }
        for good in ["a", "2026-01", "key_1", &"a".repeat(32)] {
            assert_eq!(KeyId::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn the_head_of_a_sealed_value_names_its_key() {
        let id = KeyId::parse("2026-01").unwrap();
        assert_eq!(KeyId::of_head(&header(&id)), Some(id));
        for bad in [&b""[..], b"\x01", b"\x02\x01a", b"\x01\x02a", b"\x01\x01ab", b"\x01\x01A", b"\x01\x00"] {
            assert_eq!(KeyId::of_head(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_envelope_with_an_illegal_key_id_is_refused() {
        for (length, id) in [(0, &b""[..]), (1, b"A"), (2, b"\xff\xfe"), (33, &[b'a'; 33])] {
            let bytes = [&[VERSION, length], id, &[0; NONCE + TAG]].concat();
            assert_eq!(Envelope::parse(&bytes).unwrap_err(), OpenError::Tampered);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(envelope) = Envelope::parse(&bytes) {
                let again = [&header(&envelope.key)[..], envelope.nonce, envelope.body, envelope.tag].concat();
                prop_assert_eq!(again, bytes);
            }
        }

        #[test]
        fn g03_two_rows_never_encode_alike(a in ".{0,12}", b in ".{0,12}") {
            let key = KeyId::parse("k").unwrap();
            let of = |row: &String| associated_data(&key, &Place::new("t", "c", row));
            prop_assert_eq!(of(&a) == of(&b), a == b);
        }
    }
}
