use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

fn set(keys: &[Value]) -> IdTokenKeys {
    IdTokenKeys::parse(json!({ "keys": keys }).as_object().unwrap()).unwrap()
}

fn good() -> Value {
    let now = NOW.unix_timestamp();
    json!({
        "iss": "https://accounts.example", "aud": "cloudlink", "sub": "ada", "nonce": "n-1", "iat": now,
        "exp": now + 300, "email": "ada@example.org", "email_verified": true,
    })
}

fn verify(keys: &IdTokenKeys, token: &str) -> Result<OpenIdAccount, IdTokenError> {
    let nonce = Nonce::new("n-1");
    let expected = Expected { issuer: "https://accounts.example", client_id: "cloudlink", nonce: &nonce };
    keys.verify(token, expected, NOW)
}

struct Ed25519(Ed25519KeyPair);

impl Ed25519 {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": URL_SAFE_NO_PAD.encode(self.0.public_key())})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        jws::sign(header, claims, |signed| self.0.sign(signed).as_ref().to_vec())
    }
}

#[test]
fn a_token_signed_with_any_allowed_algorithm_is_believed() {
    let account =
        OpenIdAccount { subject: "ada".to_owned(), verified_email: Some("ada@example.org".to_owned()) };
    let random = SystemRandom::new();
    let ed = Ed25519::new();
    let token = ed.sign(&json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"}), &good());
    assert_eq!(verify(&set(&[ed.jwk()]), &token), Ok(account.clone()));

    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = ec.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "use": "sig", "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
        "y": URL_SAFE_NO_PAD.encode(&point[33..])});
    let token = jws::sign(&json!({"alg": "ES256"}), &good(), |signed| {
        ec.sign(&random, signed).unwrap().as_ref().to_vec()
    });
    assert_eq!(verify(&set(&[ed.jwk(), jwk]), &token), Ok(account.clone()), "the set may have others");

    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = rsa.public_key();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "RSA", "kid": "r", "n": encode(public.modulus().big_endian_without_leading_zero()),
        "e": encode(public.exponent().big_endian_without_leading_zero())});
    for (name, encoding) in
        [("RS256", &RSA_PKCS1_SHA256 as &'static dyn RsaEncoding), ("PS256", &RSA_PSS_SHA256)]
    {
        let token = jws::sign(&json!({"alg": name, "kid": "r"}), &good(), |signed| {
            let mut signature = vec![0; rsa.public_modulus_len()];
            rsa.sign(encoding, &random, signed, &mut signature).unwrap();
            signature
        });
        assert_eq!(verify(&set(std::slice::from_ref(&jwk)), &token), Ok(account.clone()), "{name}");
    }
}

#[test]
fn i08_forged_headers_and_signatures_are_refused() {
    let (ed, other) = (Ed25519::new(), Ed25519::new());
    let keys = set(&[ed.jwk()]);
    let spki = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(ed.0.public_key()).unwrap();
    let with_public_key = |header: &Value| {
        jws::sign(header, &good(), |signed| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, spki.as_ref()), signed).as_ref().to_vec()
        })
    };
    let header = |more: Value| {
        let mut header = json!({"alg": "EdDSA", "kid": "k1"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    for (token, why) in [
        (jws::sign(&json!({"alg": "none"}), &good(), |_| Vec::new()), IdTokenError::Algorithm),
        (jws::sign(&json!({"kid": "k1"}), &good(), |_| Vec::new()), IdTokenError::Algorithm),
        (with_public_key(&json!({"alg": "HS256", "kid": "k1"})), IdTokenError::Algorithm),
        (with_public_key(&json!({"alg": "EdDSA", "kid": "k1"})), IdTokenError::Signature),
        (other.sign(&header(json!({})), &good()), IdTokenError::Signature),
        (other.sign(&header(json!({"jwk": other.jwk()})), &good()), IdTokenError::Malformed),
        (other.sign(&header(json!({"jku": "https://evil.example"})), &good()), IdTokenError::Malformed),
        (ed.sign(&header(json!({"crit": ["x"]})), &good()), IdTokenError::Malformed),
        (ed.sign(&header(json!({"kid": "k2"})), &good()), IdTokenError::UnknownKey),
        (ed.sign(&header(json!({"typ": "at+jwt"})), &good()), IdTokenError::Type),
        (ed.sign(&header(json!({"alg": "ES256"})), &good()), IdTokenError::Signature),
        ("a.b".to_owned(), IdTokenError::Malformed),
    ] {
        assert_eq!(verify(&keys, &token), Err(why), "{token}");
    }
    let mut for_another = ed.jwk();
    for_another["use"] = json!("enc");
    let token = ed.sign(&header(json!({})), &good());
    assert_eq!(verify(&set(&[for_another]), &token), Err(IdTokenError::UnknownKey));
}

#[test]
fn i08_a_token_about_something_else_is_refused_by_the_claim_that_says_so() {
    let ed = Ed25519::new();
    let keys = set(&[ed.jwk()]);
    let now = NOW.unix_timestamp();
    let with = |changes: Value| {
        let mut claims = good();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        verify(&keys, &ed.sign(&json!({"alg": "EdDSA"}), &claims))
    };
    for (changes, claim) in [
        (json!({"iss": "https://accounts.example/"}), "iss"),
        (json!({"iss": null}), "iss"),
        (json!({"aud": "another"}), "aud"),
        (json!({"aud": null}), "aud"),
        (json!({"aud": ["cloudlink", "another"]}), "azp"),
        (json!({"azp": "another"}), "azp"),
        (json!({"nonce": "n-2"}), "nonce"),
        (json!({"nonce": null}), "nonce"),
        (json!({"exp": now - 120}), "exp"),
        (json!({"exp": null}), "exp"),
        (json!({"iat": now + 121}), "iat"),
        (json!({"iat": now - 601}), "iat"),
        (json!({"iat": null}), "iat"),
        (json!({"nbf": now + 121}), "nbf"),
        (json!({"sub": ""}), "sub"),
        (json!({"sub": 7}), "sub"),
    ] {
        assert_eq!(with(changes.clone()), Err(IdTokenError::Claim(claim)), "{changes}");
    }
    assert!(with(json!({"aud": ["cloudlink", "another"], "azp": "cloudlink"})).is_ok());
    for unverified in
        [json!({"email_verified": false}), json!({"email_verified": "true"}), json!({"email": null})]
    {
        assert_eq!(with(unverified).unwrap().verified_email, None);
    }
}

proptest! {
    #[test]
    fn any_text_is_an_account_or_an_error(token in "[a-zA-Z0-9._-]{0,200}") {
        prop_assert!(verify(&IdTokenKeys::default(), &token).is_err());
    }
}
