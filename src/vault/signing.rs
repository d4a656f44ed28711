//! cloudlink's own signing keys: Ed25519 (RFC 8037), which sign access tokens.
//!
//! A private key leaves this module only as PKCS#8 in a buffer that wipes itself, for the store to seal. A
//! key's id is the hash of its public half, so that it never names another key on any replica. When keys
//! are made, rotated and dropped is decided above; a [`VerifyingKey`] carries the time it retires, so that a
//! replica that looked a while ago still stops believing it in time.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::domain::{
    clock::{Entropy, draw},
    json::Object,
};

const KID_BYTES: usize = 12;

/// Why there is no signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// The library could not make or write one.
    #[error("an Ed25519 key could not be made or written")]
    Unavailable,
    /// What was stored is not the PKCS#8 of an Ed25519 key.
    #[error("a stored signing key is not an Ed25519 key in PKCS#8")]
    Malformed,
}

/// The `kid` of a signing key: 16 characters of base64url, the first 12 bytes of its public key's SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(Box<str>);

impl Kid {
    fn of(public: &[u8]) -> Self {
        let hash = digest(&SHA256, public);
        let prefix: Vec<u8> = hash.as_ref().iter().take(KID_BYTES).copied().collect();
        Self(URL_SAFE_NO_PAD.encode(prefix).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A private signing key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    kid: Kid,
}

impl SigningKey {
    /// Makes a new key from 32 unpredictable bytes.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, SigningKeyError> {
        let seed = Zeroizing::new(draw::<32>(entropy));
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice());
        pair.map(Self::from).map_err(|_| SigningKeyError::Unavailable)
    }

    /// Reads a key that the store has opened.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SigningKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8);
        pair.map(Self::from).map_err(|_| SigningKeyError::Malformed)
    }

    /// The key as PKCS#8 v1 (RFC 5208), for the store to seal.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| SigningKeyError::Unavailable)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The key's id.
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The public half, without an end.
    pub fn verifying(&self) -> VerifyingKey {
        let public = self.pair.public_key().as_ref().to_vec();
        VerifyingKey { kid: self.kid.clone(), public, retires_at: None }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl From<Ed25519KeyPair> for SigningKey {
    fn from(pair: Ed25519KeyPair) -> Self {
        let kid = Kid::of(pair.public_key().as_ref());
        Self { pair, kid }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The public half of a signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    kid: Kid,
    public: Vec<u8>,
    retires_at: Option<OffsetDateTime>,
}

impl VerifyingKey {
    /// The same key, believed only before `retires_at`: what a rotation leaves of the key it replaces.
    pub fn until(self, retires_at: OffsetDateTime) -> Self {
        Self { retires_at: Some(retires_at), ..self }
    }

    /// The key's id.
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// Whether the key is believed at `now`.
    pub fn is_current(&self, now: OffsetDateTime) -> bool {
        self.retires_at.is_none_or(|end| now < end)
    }

    /// The key as a member of `/.well-known/jwks.json` (RFC 7517, RFC 8037 §2).
    pub fn jwk(&self) -> Object {
        let x = URL_SAFE_NO_PAD.encode(&self.public);
        let members = [
            ("kty", json!("OKP")),
            ("crv", json!("Ed25519")),
            ("x", json!(x)),
            ("kid", json!(self.kid.as_str())),
            ("use", json!("sig")),
            ("alg", json!("EdDSA")),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::{super::tests::Stream, *};

    #[test]
    fn a_key_comes_back_from_its_pkcs8_and_signs_alike() {
        let key = SigningKey::generate(&Stream::seeded(1)).unwrap();
        let again = SigningKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.kid(), key.kid());
        assert!(key.verifying().verifies(b"m", &again.sign(b"m")));
        assert!(!key.verifying().verifies(b"n", &again.sign(b"m")));
    }

    #[test]
    fn each_seed_makes_its_own_key_and_id() {
        let of = |seed| SigningKey::generate(&Stream::seeded(seed)).unwrap().kid().clone();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1).as_str().len(), 16);
    }

    #[test]
    fn the_jwk_is_the_public_half_alone() {
        // RFC 8037 appendix A: the key pair and its JWK.
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let seed = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        let key = SigningKey::from(Ed25519KeyPair::from_seed_unchecked(&seed).unwrap());
        let jwk = key.verifying().jwk();
        assert_eq!(jwk.get("x"), Some(&json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")));
        let names: Vec<&str> = jwk.keys().map(String::as_str).collect();
        assert_eq!(names, ["kty", "crv", "x", "kid", "use", "alg"]);
        let signed = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
        assert_eq!(
            URL_SAFE_NO_PAD.encode(signed),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn what_is_no_ed25519_key_is_refused() {
        for bad in [&b""[..], b"x", &[0; 48]] {
            assert_eq!(SigningKey::from_pkcs8(bad).unwrap_err(), SigningKeyError::Malformed);
        }
    }

    #[test]
    fn a_retired_key_is_believed_until_its_end_only() {
        let end = datetime!(2026-01-01 01:00 UTC);
        let key = SigningKey::generate(&Stream::seeded(1)).unwrap().verifying();
        assert!(key.is_current(end));
        let key = key.until(end);
        assert!(key.is_current(end - Duration::SECOND) && !key.is_current(end));
    }

    #[test]
    fn its_debug_form_shows_the_id_alone() {
        let key = SigningKey::generate(&Stream::seeded(1)).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey {{ kid: {:?}, .. }}", key.kid()));
    }
}
