//! Encrypting to a device's trusted key: a JWE (RFC 7516) in compact form, `A256GCM`.
//!
//! An RSA key gets `RSA-OAEP-256`, a P-256 key `ECDH-ES` in its direct form (RFC 7518 §4.3, §4.6); Ed25519 can't
//! encrypt. The header holds `alg`, `enc`, `kid` (the key's [`KeyHash`]) and for `ECDH-ES` `epk`; every part is
//! authenticated. Each text has a key of its own, so that a nonce is never used twice with one.
//!
//! The content key, the nonce and the ephemeral key come from the [`Entropy`] that is passed in. The seed of
//! OAEP alone is drawn by aws-lc itself, which takes none from outside.
//!
//! Nothing here decrypts: whoever holds the private key does.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest},
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::trusted::{KeyKind, TrustedKey};
use crate::domain::{
    clock::{Entropy, draw},
    delivery::{NotEncrypted, Recipient},
    ids::KeyHash,
    json::Object,
};

/// Bytes of an uncompressed point of P-256: `04`, x, y. A key's SPKI ends with it.
const POINT: usize = 65;
/// Scalars that are drawn before it is given up. One in 2³² is no scalar of P-256.
const DRAWS: usize = 4;
/// The content encryption (RFC 7518 §5.3), which is also the `AlgorithmID` of the direct key agreement.
const ENC: &str = "A256GCM";

/// A 256-bit content encryption key.
type ContentKey = Zeroizing<[u8; 32]>;

/// A trusted key that can be encrypted to.
pub struct RecipientKey {
    kid: KeyHash,
    key: Key,
}

enum Key {
    Rsa(OaepPublicEncryptingKey),
    P256([u8; POINT]),
}

/// How the recipient comes to the content key.
struct Agreed {
    alg: &'static str,
    epk: Option<Value>,
    encrypted_key: Vec<u8>,
    content_key: ContentKey,
}

impl RecipientKey {
    /// The key as a recipient; `None` for a kind that can't encrypt.
    pub fn of(trusted: &TrustedKey) -> Option<Self> {
        let key = match trusted.kind() {
            KeyKind::Rsa => {
                let key = PublicEncryptingKey::from_der(trusted.spki_der()).ok()?;
                Key::Rsa(OaepPublicEncryptingKey::new(key).ok()?)
            }
            KeyKind::P256 => Key::P256(*trusted.spki_der().last_chunk()?),
            KeyKind::Ed25519 => return None,
        };
        Some(Self { kid: trusted.hash().clone(), key })
    }
}

impl Recipient for RecipientKey {
    fn encrypt(&self, plaintext: &[u8], entropy: &dyn Entropy) -> Result<String, NotEncrypted> {
        let agreed = match &self.key {
            Key::Rsa(key) => wrap(key, entropy)?,
            Key::P256(point) => agree_directly(point, entropy)?,
        };
        let mut header = Object::new();
        header.insert("alg".to_owned(), agreed.alg.into());
        header.insert("enc".to_owned(), ENC.into());
        header.insert("kid".to_owned(), self.kid.0.as_str().into());
        if let Some(epk) = agreed.epk {
            header.insert("epk".to_owned(), epk);
        }
        let header = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
        let iv: [u8; 12] = draw(entropy);
        let mut content = plaintext.to_vec();
        let key = UnboundKey::new(&AES_256_GCM, agreed.content_key.as_slice()).map_err(|_| NotEncrypted)?;
        let tag = LessSafeKey::new(key)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(header.as_bytes()),
                &mut content,
            )
            .map_err(|_| NotEncrypted)?;
        let [encrypted_key, iv, content, tag] =
            [&agreed.encrypted_key, iv.as_slice(), &content, tag.as_ref()]
                .map(|part| URL_SAFE_NO_PAD.encode(part));
        Ok(format!("{header}.{encrypted_key}.{iv}.{content}.{tag}"))
    }
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kid)
    }
}

/// `RSA-OAEP-256` (RFC 7518 §4.3): a fresh key, encrypted.
fn wrap(key: &OaepPublicEncryptingKey, entropy: &dyn Entropy) -> Result<Agreed, NotEncrypted> {
    let content_key = Zeroizing::new(draw(entropy));
    let mut encrypted = vec![0; key.ciphertext_size()];
    let encrypted_key = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, content_key.as_slice(), &mut encrypted, None)
        .map_err(|_| NotEncrypted)?
        .to_vec();
    Ok(Agreed { alg: "RSA-OAEP-256", epk: None, encrypted_key, content_key })
}

/// `ECDH-ES` (RFC 7518 §4.6), direct: the key is what both sides derive, and none is sent.
fn agree_directly(point: &[u8; POINT], entropy: &dyn Entropy) -> Result<Agreed, NotEncrypted> {
    let ephemeral = (0..DRAWS)
        .find_map(|_| {
            let scalar = Zeroizing::new(draw::<32>(entropy));
            PrivateKey::from_private_key(&ECDH_P256, scalar.as_slice()).ok()
        })
        .ok_or(NotEncrypted)?;
    let content_key = agree(&ephemeral, UnparsedPublicKey::new(&ECDH_P256, point), NotEncrypted, |shared| {
        concat_kdf(shared, ENC, b"", b"")
    })?;
    let public = ephemeral.compute_public_key().map_err(|_| NotEncrypted)?;
    let (x, y) = public.as_ref().split_first_chunk::<33>().ok_or(NotEncrypted)?;
    let (_, x) = x.split_first().ok_or(NotEncrypted)?;
    let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
    let epk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
    Ok(Agreed { alg: "ECDH-ES", epk: Some(epk), encrypted_key: Vec::new(), content_key })
}

/// The Concat KDF of RFC 7518 §4.6.2, which is the one-step KDF of NIST SP 800-56C with SHA-256, for a key of
/// `N` bytes.
fn concat_kdf<const N: usize>(
    shared: &[u8],
    algorithm_id: &str,
    party_u: &[u8],
    party_v: &[u8],
) -> Result<Zeroizing<[u8; N]>, NotEncrypted> {
    let mut info = Vec::new();
    for part in [algorithm_id.as_bytes(), party_u, party_v] {
        let length = u32::try_from(part.len()).map_err(|_| NotEncrypted)?;
        info.extend_from_slice(&length.to_be_bytes());
        info.extend_from_slice(part);
    }
    let bits = u32::try_from(N * 8).map_err(|_| NotEncrypted)?;
    info.extend_from_slice(&bits.to_be_bytes());
    let hash = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).ok_or(NotEncrypted)?;
    let mut key = Zeroizing::new([0; N]);
    sskdf_digest(hash, shared, &info, key.as_mut_slice()).map_err(|_| NotEncrypted)?;
    Ok(key)
}

#[cfg(test)]
#[path = "jwe_tests.rs"]
mod tests;
