//! The key ring: the keys of `vault.keys`, by id. The first one seals, every one opens.
//!
//! A sealed value names its key, so opening never tries keys in turn (G06), and rotation is: put a new key
//! in front, seal everything anew, take the old key away. A key that is missing, short or not base64 is an
//! error of [`entry`](super::entry), before anything was touched (G05).
//!
//! [`KeyRing::of`] is the only way in, and takes [`KeyMaterial`]; who brings that is [`source`](super::source)'s
//! subject. A ring's keys exist in memory as ciphers and MAC keys only, which wipe themselves.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    entry::{KeyMaterial, KeyRingError, RingKey},
    envelope::{self, Envelope, KeyId, OpenError, Place},
};
use crate::domain::clock::Entropy;

/// The keys of `vault.keys`; never empty, no id twice.
pub struct KeyRing {
    first: RingKey,
    others: Vec<RingKey>,
}

impl KeyRing {
    /// Makes a ring of keys, the one that seals first.
    pub fn of(materials: impl IntoIterator<Item = KeyMaterial>) -> Result<Self, KeyRingError> {
        let mut keys: Vec<RingKey> = Vec::new();
        for (position, material) in (1..).zip(materials) {
            if keys.iter().any(|other| other.id == material.id) {
                return Err(KeyRingError::DuplicateId { position, id: material.id });
            }
            keys.push(RingKey::of(material, position)?);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(KeyRingError::Empty)?;
        Ok(Self { first, others: keys.collect() })
    }

    /// Reads the entries of `vault.keys`: `id:base64 of 32 bytes`, in either alphabet, padded or not. Space
    /// around an entry is ignored, and a list of blank entries is an empty one.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, KeyRingError> {
        Self::of(read(entries)?)
    }

    /// The id of the key that seals.
    pub fn active(&self) -> &KeyId {
        &self.first.id
    }

    /// The id of the key that sealed `sealed`, whether the ring holds it or not. It is not verified: good
    /// for finding what is left to seal anew, for nothing else.
    pub fn key_id_of(sealed: &[u8]) -> Result<KeyId, OpenError> {
        Ok(Envelope::parse(sealed)?.key)
    }

    /// Seals `plain` for `place` with the first key and a fresh 192-bit nonce. It grows by 43 to 74 bytes.
    pub fn seal(&self, place: &Place, plain: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        envelope::seal(&self.first.cipher, &self.first.id, place, plain, entropy)
    }

    /// Opens what was sealed for `place` with any key of the ring.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let envelope = Envelope::parse(sealed)?;
        match self.keys().find(|key| key.id == envelope.key) {
            Some(key) => envelope.open(&key.cipher, place),
            None => Err(OpenError::UnknownKey(envelope.key)),
        }
    }

    /// Whether the ring holds the key of that id.
    pub fn holds(&self, id: &KeyId) -> bool {
        self.keys().any(|key| key.id == *id)
    }

    /// The ids of all keys, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys().map(|key| &key.id)
    }

    /// How everything begins that the first key sealed.
    pub fn active_head(&self) -> Vec<u8> {
        envelope::header(&self.first.id)
    }

    pub(super) fn first(&self) -> &RingKey {
        &self.first
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &RingKey> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ids()).finish()
    }
}

/// The material that the entries of `vault.keys` are; none for a list of blank ones.
pub(super) fn read<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Vec<KeyMaterial>, KeyRingError> {
    let entries: Vec<&str> = entries.into_iter().map(str::trim).collect();
    if entries.iter().all(|entry| entry.is_empty()) {
        return Ok(Vec::new());
    }
    (1..).zip(entries).map(|(position, entry)| KeyMaterial::parse(entry, position)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::{super::tests::Stream, *};

    fn entry(id: &str, key: u8) -> String {
        format!("{id}:{}", STANDARD.encode([key; 32]))
    }

    fn ring(entries: &[String]) -> KeyRing {
        KeyRing::parse(entries.iter().map(String::as_str)).unwrap()
    }

    fn place(row: &str) -> Place {
        Place::new("grants", "tokens", &row)
    }

    fn sealed(ring: &KeyRing) -> Vec<u8> {
        ring.seal(&place("row-1"), b"a refresh token", &Stream::seeded(1))
    }

    #[test]
    fn what_was_sealed_opens_at_its_place() {
        let ring = ring(&[entry("k1", 1)]);
        assert_eq!(ring.open(&place("row-1"), &sealed(&ring)).unwrap().as_slice(), b"a refresh token");
    }

    #[test]
    fn g01_the_sealed_bytes_do_not_hold_the_plaintext() {
        let bytes = sealed(&ring(&[entry("k1", 1)]));
        assert!(!bytes.windows(7).any(|window| window == b"refresh"));
    }

    #[test]
    fn g02_a_nonce_never_repeats() {
        const VALUES: usize = 50_000;
        let (ring, entropy, place) = (ring(&[entry("k1", 1)]), Stream::seeded(2), place("r"));
        let nonces: HashSet<[u8; 24]> =
            (0..VALUES).map(|_| ring.seal(&place, b"x", &entropy)[4..28].try_into().unwrap()).collect();
        assert_eq!(nonces.len(), VALUES);
    }

    #[test]
    fn g02_all_192_bits_of_a_nonce_are_drawn() {
        let (ring, entropy) = (ring(&[entry("k1", 1)]), Stream::seeded(5));
        let mut ones = [0_usize; 192];
        for _ in 0..200 {
            let sealed = ring.seal(&place("r"), b"x", &entropy);
            for (at, ones) in ones.iter_mut().enumerate() {
                *ones += usize::from(sealed[4 + at / 8] >> (at % 8) & 1);
            }
        }
        assert!(ones.iter().all(|ones| (55..=145).contains(ones)), "{ones:?}");
    }

    #[test]
    fn g03_another_row_column_or_table_does_not_open_it() {
        let ring = ring(&[entry("k1", 1)]);
        let bytes = sealed(&ring);
        for other in [
            Place::new("grants", "tokens", &"row-2"),
            Place::new("grants", "verifier", &"row-1"),
            Place::new("flows", "tokens", &"row-1"),
            Place::new("grant", "stokens", &"row-1"),
            Place::new("grants", "tokensrow-1", &""),
        ] {
            assert_eq!(ring.open(&other, &bytes), Err(OpenError::Tampered), "{other:?}");
        }
    }

    #[test]
    fn g03_two_swapped_rows_do_not_open() {
        let (ring, entropy) = (ring(&[entry("k1", 1)]), Stream::seeded(3));
        let one = ring.seal(&place("1"), b"one", &entropy);
        let two = ring.seal(&place("2"), b"two", &entropy);
        assert_eq!(ring.open(&place("1"), &two), Err(OpenError::Tampered));
        assert_eq!(ring.open(&place("2"), &one), Err(OpenError::Tampered));
    }

    #[test]
    fn g04_a_flip_of_any_bit_is_a_clean_error() {
        let ring = ring(&[entry("k1", 1)]);
        let bytes = sealed(&ring);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(ring.open(&place("row-1"), &changed).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn g04_every_truncation_and_extension_is_a_clean_error() {
        let ring = ring(&[entry("k1", 1)]);
        let bytes = sealed(&ring);
        for length in 0..bytes.len() {
            assert!(ring.open(&place("row-1"), &bytes[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(ring.open(&place("row-1"), &bytes[..43]), Err(OpenError::Truncated));
        assert!(ring.open(&place("row-1"), &[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn g05_another_key_under_the_same_id_does_not_open_it() {
        let bytes = sealed(&ring(&[entry("k1", 1)]));
        assert_eq!(ring(&[entry("k1", 2)]).open(&place("row-1"), &bytes), Err(OpenError::Tampered));
    }

    #[test]
    fn g03_a_value_renamed_to_another_id_of_the_same_key_does_not_open() {
        let ring = ring(&[entry("k1", 1), entry("k2", 1)]);
        let mut bytes = sealed(&ring);
        bytes[3] = b'2';
        assert_eq!(ring.open(&place("row-1"), &bytes), Err(OpenError::Tampered));
    }

    #[test]
    fn a_version_of_the_future_is_named_as_such() {
        let ring = ring(&[entry("k1", 1)]);
        let mut bytes = sealed(&ring);
        bytes[0] = 2;
        assert_eq!(ring.open(&place("row-1"), &bytes), Err(OpenError::UnknownVersion));
    }

    #[test]
    fn g06_the_first_key_seals_and_all_keys_open() {
        let old = ring(&[entry("k1", 1)]);
        let both = ring(&[entry("k2", 2), entry("k1", 1)]);
        let new = ring(&[entry("k2", 2)]);
        let (by_old, by_both) = (sealed(&old), sealed(&both));

        assert_eq!(both.active().as_str(), "k2");
        assert_eq!(KeyRing::key_id_of(&by_old).unwrap().as_str(), "k1");
        assert_eq!(KeyRing::key_id_of(&by_both).unwrap().as_str(), "k2");
        assert!(both.open(&place("row-1"), &by_old).is_ok() && new.open(&place("row-1"), &by_both).is_ok());
        assert_eq!(
            new.open(&place("row-1"), &by_old),
            Err(OpenError::UnknownKey(KeyId::parse("k1").unwrap()))
        );
    }

    proptest! {
        #[test]
        fn anything_seals_and_opens(plain in proptest::collection::vec(any::<u8>(), 0..300), row in ".{0,40}") {
            let ring = ring(&[entry("k1", 1)]);
            let bytes = ring.seal(&place(&row), &plain, &Stream::seeded(4));
            prop_assert_eq!(bytes.len(), plain.len() + 44);
            let opened = ring.open(&place(&row), &bytes).unwrap();
            prop_assert_eq!(opened.as_slice(), &plain[..]);
        }
    }
}
