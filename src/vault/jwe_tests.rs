//! What is encrypted is opened here by a reader of its own: another path through the same RFCs.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    digest::{Context, SHA256},
    encoding::{AsDer as _, PublicKeyX509Der},
    rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use proptest::prelude::*;

use super::{super::tests::Stream, *};
use crate::domain::json;

/// The private half of a recipient.
enum Private {
    Rsa(Box<OaepPrivateDecryptingKey>),
    P256(PrivateKey),
}

/// The two keys of RFC 7518, appendix C: Alice's ephemeral one, and Bob's.
const ALICE: (&str, &str, &str) = (
    "0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo",
    "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
    "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
);
const BOB: (&str, &str, &str) = (
    "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
    "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
    "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
);

/// Entropy that gives what it was told, once.
struct Told(&'static str);

impl Entropy for Told {
    fn fill(&self, bytes: &mut [u8]) {
        let told = decoded(self.0);
        bytes.copy_from_slice(&told[..bytes.len()]);
    }
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn point(x: &str, y: &str) -> [u8; POINT] {
    [vec![4], decoded(x), decoded(y)].concat().try_into().unwrap()
}

fn p256() -> (RecipientKey, Private) {
    let private = PrivateKey::from_private_key(&ECDH_P256, &decoded(BOB.0)).unwrap();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": BOB.1, "y": BOB.2});
    let trusted = TrustedKey::parse(&jwk).unwrap();
    (RecipientKey::of(&trusted).unwrap(), Private::P256(private))
}

fn rsa() -> (RecipientKey, Private) {
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let spki: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
    let trusted = TrustedKey::from_spki(spki.as_ref()).unwrap();
    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    (RecipientKey::of(&trusted).unwrap(), Private::Rsa(Box::new(private)))
}

/// RFC 7518 §4.6.2 by hand, for one round of SHA-256.
fn derived(shared: &[u8], other_info: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(&1_u32.to_be_bytes());
    context.update(shared);
    context.update(other_info);
    context.finish().as_ref().to_vec()
}

/// The header, and the plaintext where it opens.
fn open(jwe: &str, private: &Private) -> Option<(json::Object, Vec<u8>)> {
    let parts: Vec<&str> = jwe.split('.').collect();
    let [header, encrypted_key, iv, content, tag] = parts.try_into().ok()?;
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let members = json::parse_object(&bytes(header)?).ok()?;
    let text = |name: &str| members.get(name)?.as_str();
    if text("enc")? != "A256GCM" {
        return None;
    }
    let key = match (text("alg")?, private) {
        ("RSA-OAEP-256", Private::Rsa(private)) => {
            let mut key = vec![0; private.min_output_size()];
            let label = None;
            private.decrypt(&OAEP_SHA256_MGF1SHA256, &bytes(encrypted_key)?, &mut key, label).ok()?.to_vec()
        }
        ("ECDH-ES", Private::P256(private)) if encrypted_key.is_empty() => {
            let epk = members.get("epk")?;
            let coordinate = |name: &str| bytes(epk.get(name)?.as_str()?);
            let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
            let info = b"\0\0\0\x07A256GCM\0\0\0\0\0\0\0\0\0\0\x01\0";
            let peer = UnparsedPublicKey::new(&ECDH_P256, point);
            agree(private, peer, (), |shared| Ok(derived(shared, info))).ok()?
        }
        _ => return None,
    };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
    let mut content = [bytes(content)?, bytes(tag)?].concat();
    let nonce = Nonce::try_assume_unique_for_key(&bytes(iv)?).ok()?;
    let plaintext = key.open_in_place(nonce, Aad::from(header.as_bytes()), &mut content).ok()?.to_vec();
    Some((members, plaintext))
}

#[test]
fn a_key_is_agreed_and_derived_as_in_rfc_7518_appendix_c() {
    let alice = PrivateKey::from_private_key(&ECDH_P256, &decoded(ALICE.0)).unwrap();
    let bob = UnparsedPublicKey::new(&ECDH_P256, point(BOB.1, BOB.2));
    let z = agree(&alice, bob, NotEncrypted, |shared| Ok(shared.to_vec())).unwrap();
    let published = [
        158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218,
        128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
    ];
    assert_eq!(z, published);
    let key = concat_kdf::<16>(&z, "A128GCM", b"Alice", b"Bob").unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(key.as_slice()), "VqqN6vgjbSBcIijNcacQGg");
}

#[test]
fn the_ephemeral_key_of_rfc_7518_appendix_c_makes_its_header_and_bob_opens_it() {
    let (recipient, bob) = p256();
    let jwe = recipient.encrypt(b"tokens", &Told(ALICE.0)).unwrap();
    let (header, plaintext) = open(&jwe, &bob).unwrap();
    assert_eq!(plaintext, b"tokens");
    let epk = json!({"kty": "EC", "crv": "P-256", "x": ALICE.1, "y": ALICE.2});
    let expected = json!({"alg": "ECDH-ES", "enc": "A256GCM", "kid": recipient.kid, "epk": epk});
    assert_eq!(Value::Object(header), expected);
}

#[test]
fn an_rsa_key_gets_a_wrapped_key_and_opens_it() {
    let (recipient, private) = rsa();
    let jwe = recipient.encrypt(b"tokens", &Stream::seeded(1)).unwrap();
    let (header, plaintext) = open(&jwe, &private).unwrap();
    assert_eq!(plaintext, b"tokens");
    let expected = json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": recipient.kid});
    assert_eq!(Value::Object(header), expected);
    assert!(open(&jwe, &rsa().1).is_none(), "and nobody else");
}

#[test]
fn of_two_equal_texts_no_part_but_the_header_is_alike() {
    for (recipient, alike) in
        [(rsa().0, [true, false, false, false, false]), (p256().0, [false, true, false, false, false])]
    {
        let entropy = Stream::seeded(2);
        let [one, other] = [(), ()].map(|()| recipient.encrypt(b"tokens", &entropy).unwrap());
        let same: Vec<bool> = one.split('.').zip(other.split('.')).map(|(one, other)| one == other).collect();
        assert_eq!(same, alike);
    }
}

#[test]
fn the_largest_token_object_fits_a_frame() {
    for recipient in [rsa().0, p256().0] {
        let jwe = recipient.encrypt(&vec![b'x'; 64 * 1024], &Stream::seeded(3)).unwrap();
        assert!(jwe.len() < 100 * 1024, "{}", jwe.len());
    }
}

#[test]
fn an_ed25519_key_is_no_recipient_and_without_randomness_nothing_is_encrypted() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key())});
    assert!(RecipientKey::of(&TrustedKey::parse(&jwk).unwrap()).is_none());

    // Zero is no scalar of the curve.
    let zeros = Told("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(p256().0.encrypt(b"tokens", &zeros), Err(NotEncrypted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_opened_by_its_recipient_and_by_no_other(
        plaintext in proptest::collection::vec(any::<u8>(), 0..2000),
        seed in any::<u32>(),
    ) {
        let (recipient, bob) = p256();
        let jwe = recipient.encrypt(&plaintext, &Stream::seeded(seed.into())).unwrap();
        prop_assert_eq!(open(&jwe, &bob).unwrap().1, plaintext);
        let other = PrivateKey::from_private_key(&ECDH_P256, &decoded(ALICE.0)).unwrap();
        prop_assert!(open(&jwe, &Private::P256(other)).is_none());
    }

    #[test]
    fn one_character_changed_anywhere_and_it_does_not_open(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        let (recipient, bob) = p256();
        let jwe = recipient.encrypt(b"tokens of a slot", &Stream::seeded(5)).unwrap();
        let at = at.index(jwe.len());
        let mut changed = jwe.clone();
        changed.replace_range(at..=at, &to);
        prop_assert!(changed == jwe || open(&changed, &bob).is_none());
    }

    #[test]
    fn the_same_with_rsa(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        static KEY: std::sync::LazyLock<(RecipientKey, Private)> = std::sync::LazyLock::new(rsa);
        let (recipient, private) = &*KEY;
        let jwe = recipient.encrypt(b"tokens of a slot", &Stream::seeded(6)).unwrap();
        let at = at.index(jwe.len());
        let mut changed = jwe.clone();
        changed.replace_range(at..=at, &to);
        prop_assert!(changed == jwe || open(&changed, private).is_none());
    }
}
