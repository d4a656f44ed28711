//! One entry of `vault.keys`, `id:base64 of 32 bytes`, and the keys that are made of it.
//!
//! Its errors say which entry is wrong, by position and id, and how to make a right one; the key's text is
//! never part of them, nor is anything that may be a misplaced key.

use std::fmt;

use aws_lc_rs::{error::Unspecified, hkdf, hmac};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use xaes_256_gcm::{Key, Xaes256Gcm, aead::KeyInit};
use zeroize::Zeroizing;

use super::envelope::KeyId;

const KEY_BYTES: usize = 32;

/// Why `vault.keys` is no ring. Entries count from 1; no key's text is part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// The list is empty.
    #[error(
        "set vault.keys to a list of `id:base64 of 32 bytes`, for instance `k1:…`; \
         make one with: `openssl rand -base64 32`"
    )]
    Empty,
    /// An entry has no id.
    #[error("entry {position} of vault.keys has no colon: write it as `id:base64 of 32 bytes`")]
    NoColon {
        /// Which entry.
        position: usize,
    },
    /// What stands before the colon is no id. It may be a misplaced key, hence it is not repeated.
    #[error(
        "entry {position} of vault.keys has no valid id before its colon: \
         use 1 to 32 characters of a-z, 0-9, _ and -"
    )]
    BadId {
        /// Which entry.
        position: usize,
    },
    /// An id stands twice.
    #[error("entry {position} of vault.keys has the id {id} again: give each key its own")]
    DuplicateId {
        /// Which entry, the second of the two.
        position: usize,
        /// Its id.
        id: KeyId,
    },
    /// The key is not base64.
    #[error("entry {position} ({id}) of vault.keys is not base64; make one with: `openssl rand -base64 32`")]
    NotBase64 {
        /// Which entry.
        position: usize,
        /// Its id.
        id: KeyId,
    },
    /// The key is too short or too long.
    #[error(
        "entry {position} ({id}) of vault.keys holds {bytes} bytes instead of 32; \
         make one with: `openssl rand -base64 32`"
    )]
    WrongLength {
        /// Which entry.
        position: usize,
        /// Its id.
        id: KeyId,
        /// How many bytes it decodes to.
        bytes: usize,
    },
    /// The key is a placeholder.
    #[error(
        "entry {position} ({id}) of vault.keys is all zeros, which is no key; \
         make one with: `openssl rand -base64 32`"
    )]
    AllZero {
        /// Which entry.
        position: usize,
        /// Its id.
        id: KeyId,
    },
    /// The cryptographic library failed.
    #[error("no keys could be derived from entry {position} ({id}) of vault.keys")]
    Derivation {
        /// Which entry.
        position: usize,
        /// Its id.
        id: KeyId,
    },
}

/// A key's material, from wherever it came: its id and 32 unpredictable bytes, wiped when dropped.
pub struct KeyMaterial {
    /// Its id.
    pub id: KeyId,
    /// The key itself.
    pub bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl KeyMaterial {
    /// Reads an entry of `vault.keys`; `position` is where it stands, from 1.
    pub fn parse(entry: &str, position: usize) -> Result<Self, KeyRingError> {
        let (id, text) = entry.split_once(':').ok_or(KeyRingError::NoColon { position })?;
        let id = KeyId::parse(id.trim_end()).ok_or(KeyRingError::BadId { position })?;
        let Some(bytes) = decode(text.trim_start()) else {
            return Err(KeyRingError::NotBase64 { position, id });
        };
        let Some(bytes) = bytes.as_array::<KEY_BYTES>() else {
            return Err(KeyRingError::WrongLength { position, id, bytes: bytes.len() });
        };
        Ok(Self { id, bytes: Zeroizing::new(*bytes) })
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One key, as what it is used for. The parts are independent: knowing a MAC tells nothing of the cipher.
pub(super) struct RingKey {
    pub(super) id: KeyId,
    pub(super) cipher: Xaes256Gcm,
    pub(super) handles: hmac::Key,
    pub(super) forms: hmac::Key,
}

impl RingKey {
    pub(super) fn of(material: KeyMaterial, position: usize) -> Result<Self, KeyRingError> {
        let KeyMaterial { id, bytes } = material;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(KeyRingError::AllZero { position, id });
        }
        let cipher = Xaes256Gcm::new(<&Key>::from(&*bytes));
        let derived = derive(&bytes, "cloudlink connect handle v1")
            .and_then(|handles| Ok((handles, derive(&bytes, "cloudlink form v1")?)));
        match derived {
            Ok((handles, forms)) => Ok(Self { id, cipher, handles, forms }),
            Err(Unspecified) => Err(KeyRingError::Derivation { position, id }),
        }
    }
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).ok().map(Zeroizing::new)
}

/// HKDF-SHA256 (RFC 5869) without salt: the input is a uniform key already.
fn derive(key: &[u8; KEY_BYTES], label: &'static str) -> Result<hmac::Key, Unspecified> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key);
    extracted.expand(&[label.as_bytes()], hmac::HMAC_SHA256).map(Into::into)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::{super::ring::KeyRing, *};

    fn entry(id: &str, key: u8) -> String {
        format!("{id}:{}", STANDARD.encode([key; 32]))
    }

    #[test]
    fn a_key_may_be_written_in_either_alphabet_with_or_without_padding() {
        let mac = |text: &str| {
            let key = RingKey::of(KeyMaterial::parse(&format!("k:{text}"), 1).unwrap(), 1).unwrap();
            hmac::sign(&key.handles, b"x").as_ref().to_vec()
        };
        let expected = mac(&STANDARD.encode([0xfb; 32]));
        for text in [
            STANDARD_NO_PAD.encode([0xfb; 32]),
            URL_SAFE.encode([0xfb; 32]),
            URL_SAFE_NO_PAD.encode([0xfb; 32]),
            format!(" {}", STANDARD.encode([0xfb; 32])),
        ] {
            assert_eq!(mac(&text), expected, "{text}");
        }
        assert!(KeyRing::parse([format!(" k:{}\n", STANDARD.encode([0xfb; 32])).as_str()]).is_ok());
    }

    #[test]
    fn g05_a_wrong_entry_is_named_and_its_value_is_not() {
        let good = entry("k1", 1);
        let refused = |second: &str| {
            let error = KeyRing::parse([good.as_str(), second]).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("entry 2 "), "{text}");
            assert!(!second.split(':').any(|part| part.len() > 4 && text.contains(part)), "{text}");
            error
        };
        let (position, id) = (2, KeyId::parse("k2").unwrap());
        assert_eq!(refused(&STANDARD.encode([7; 32])), KeyRingError::NoColon { position });
        assert_eq!(refused(&format!("{}:k2", STANDARD.encode([7; 32]))), KeyRingError::BadId { position });
        assert_eq!(refused(""), KeyRingError::NoColon { position });
        let again = KeyId::parse("k1").unwrap();
        assert_eq!(refused(&entry("k1", 2)), KeyRingError::DuplicateId { position, id: again });
        assert_eq!(refused("k2:not-base64!"), KeyRingError::NotBase64 { position, id: id.clone() });
        for length in [0, 16, 31, 33, 64] {
            let entry = format!("k2:{}", STANDARD.encode(vec![7; length]));
            let wrong = KeyRingError::WrongLength { position, id: id.clone(), bytes: length };
            assert_eq!(refused(&entry), wrong);
        }
        assert_eq!(refused(&entry("k2", 0)), KeyRingError::AllZero { position, id });
    }

    #[test]
    fn g05_an_empty_list_says_how_to_make_a_key() {
        for empty in [&[][..], &[""], &[" ", ""]] {
            let error = KeyRing::parse(empty.iter().copied()).unwrap_err();
            assert_eq!(error, KeyRingError::Empty);
            assert!(error.to_string().contains("openssl rand -base64 32"));
        }
    }

    #[test]
    fn g05_material_is_not_printed() {
        let material = KeyMaterial::parse(&entry("k1", 7), 1).unwrap();
        assert_eq!(format!("{material:?}"), "KeyMaterial { id: KeyId(\"k1\"), .. }");
    }

    proptest! {
        #[test]
        fn any_text_is_a_ring_or_an_error(text in "[a-z:=+/ ]{0,60}") {
            let _ = KeyRing::parse([text.as_str()]);
        }
    }
}
