//! The public keys by which devices prove who they are: RSA of 2048 to 8192 bits, P-256, Ed25519.
//!
//! A key comes as PEM or as a JWK ([`written_key`](super::written_key)) and is kept as the one DER form of its `SubjectPublicKeyInfo` (RFC 5280
//! §4.1), hence one key has one [`KeyHash`] however it was written; `openssl pkey -pubin -outform DER |
//! openssl dgst -sha256` gives the same. Whoever pastes a private key is told so, and nothing of what was
//! pasted is kept or repeated. What a key signs is read in [`assertion`](super::assertion).

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
        ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters,
        RsaSubjectPublicKey, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use crate::domain::ids::KeyHash;

/// Why a text or object is no key that a device can be trusted by: a sentence for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// Neither a text nor an object.
    #[error("send the public key as PEM text, or as a JWK, which is a JSON object")]
    NeitherPemNorJwk,
    /// A private key.
    #[error(
        "this is a private key. It was not stored, but it has left its device: make a new pair, \
         and send only the public half"
    )]
    Private,
    /// A certificate.
    #[error("this is a certificate; send its public key: `openssl x509 -in cert.pem -pubkey -noout`")]
    Certificate,
    /// PEM of something else.
    #[error(
        "the PEM must be one PUBLIC KEY block and nothing around it: \
         `openssl pkey -in key.pem -pubout` writes one"
    )]
    NotOneBlock,
    /// The block's inside is no key, or not its usual form.
    #[error(
        "the PUBLIC KEY block does not hold a public key in its usual form: \
         `openssl pkey -in key.pem -pubout` writes one"
    )]
    Malformed,
    /// A JWK of a shared secret.
    #[error("this is a shared secret (kty oct), not a public key: use RSA, P-256 or Ed25519")]
    Symmetric,
    /// A JWK that lacks something or holds something impossible.
    #[error("the JWK's member {0} is missing, or is not what this kind of key has there")]
    Member(&'static str),
    /// RSA below 2048 bits.
    #[error(
        "this RSA key is shorter than 2048 bits: make one of 2048 to 8192 bits, a P-256 or an Ed25519 key"
    )]
    RsaTooShort,
    /// RSA above 8192 bits.
    #[error(
        "this RSA key is longer than 8192 bits: make one of 2048 to 8192 bits, a P-256 or an Ed25519 key"
    )]
    RsaTooLong,
    /// A curve that we don't take.
    #[error("this key is on another curve than P-256 and Ed25519: make one of these, or an RSA key")]
    OtherCurve,
    /// Another kind of key.
    #[error("keys of this kind are not supported: use RSA of 2048 bits or more, P-256 or Ed25519")]
    OtherKind,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, 2048 to 8192 bits: RS256, PS256.
    Rsa,
    /// P-256: ES256.
    P256,
    /// Ed25519: `EdDSA`. It cannot encrypt.
    Ed25519,
}

/// An algorithm by which a device may sign (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    fn parts(self) -> (KeyKind, &'static dyn VerificationAlgorithm) {
        match self {
            Self::Rs256 => (KeyKind::Rsa, &RSA_PKCS1_2048_8192_SHA256),
            Self::Ps256 => (KeyKind::Rsa, &RSA_PSS_2048_8192_SHA256),
            Self::Es256 => (KeyKind::P256, &ECDSA_P256_SHA256_FIXED),
            Self::EdDsa => (KeyKind::Ed25519, &ED25519),
        }
    }
}

/// A public key that is sound and strong enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    kind: KeyKind,
    spki: Vec<u8>,
    hash: KeyHash,
}

impl TrustedKey {
    /// Reads the DER that [`spki_der`](Self::spki_der) gave, or any `SubjectPublicKeyInfo` in that form.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyRefused> {
        // The library also reads bare points, PKCS#1 and trailing bytes; only what it would write itself is
        // taken, so that a key has one hash.
        let is = |algorithm: &'static dyn VerificationAlgorithm| {
            let key = ParsedPublicKey::new(algorithm, der).ok();
            key.and_then(|key| key.as_der().ok()).is_some_and(|canonical| canonical.as_ref() == der)
        };
        let kind = if is(&ED25519) {
            KeyKind::Ed25519
        } else if is(&ECDSA_P256_SHA256_FIXED) {
            KeyKind::P256
        } else if is(&RSA_PKCS1_2048_8192_SHA256) {
            check_size(der)?;
            KeyKind::Rsa
        } else if is(&ECDSA_P384_SHA384_FIXED)
            || is(&ECDSA_P521_SHA512_FIXED)
            || is(&ECDSA_P256K1_SHA256_FIXED)
        {
            return Err(KeyRefused::OtherCurve);
        } else {
            return Err(KeyRefused::Malformed);
        };
        let hash = KeyHash(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, der))));
        Ok(Self { kind, spki: der.to_vec(), hash })
    }

    /// The `SubjectPublicKeyInfo` in DER, for storing.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The key's name: `SHA256:` and the unpadded base64 of its SPKI's SHA-256.
    pub fn hash(&self) -> &KeyHash {
        &self.hash
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let (kind, algorithm) = algorithm.parts();
        kind == self.kind && UnparsedPublicKey::new(algorithm, &self.spki).verify(message, signature).is_ok()
    }
}

fn check_size(der: &[u8]) -> Result<(), KeyRefused> {
    let key = RsaSubjectPublicKey::from_der(der).map_err(|_| KeyRefused::Malformed)?;
    match RsaParameters::public_modulus_len(key.as_ref()) {
        Ok(..2048) => Err(KeyRefused::RsaTooShort),
        Ok(2048..=8192) => Ok(()),
        Ok(_) => Err(KeyRefused::RsaTooLong),
        Err(_) => Err(KeyRefused::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::PublicKeyX509Der,
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
    };
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_signature_counts_only_with_an_algorithm_of_the_keys_kind() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let key = TrustedKey::from_spki(spki.as_ref()).unwrap();
        let signature = pair.sign(&SystemRandom::new(), b"m").unwrap();
        assert!(key.verifies(Algorithm::Es256, b"m", signature.as_ref()));
        assert!(!key.verifies(Algorithm::Es256, b"n", signature.as_ref()));
        for other in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa] {
            assert!(!key.verifies(other, b"m", signature.as_ref()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_an_error(der in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = TrustedKey::from_spki(&der);
        }
    }
}
