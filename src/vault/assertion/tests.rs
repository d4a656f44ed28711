//! Assertions that are believed, and every one that is not.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use serde_json::json;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
const DEVICE: &str = "0b8f1a34-6a0e-4f5e-9d3c-2f1f0c9a7e11";
const AUDIENCES: [&str; 2] = ["https://broker.example/api/token", "https://broker.example"];

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn trusted(key: &impl AsDer<PublicKeyX509Der<'static>>) -> TrustedKey {
    TrustedKey::from_spki(key.as_der().unwrap().as_ref()).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": DEVICE,
        "sub": DEVICE,
        "aud": AUDIENCES[0],
        "iat": NOW.unix_timestamp(),
        "exp": NOW.unix_timestamp() + 300,
        "jti": "one",
    })
}

fn signed(claims: &Value) -> String {
    jws::sign(&json!({"alg": "EdDSA", "typ": "JWT"}), claims, |m| pair(1).sign(m).as_ref().to_vec())
}

fn verify_at(token: &str, now: OffsetDateTime) -> Result<Assertion, AssertionError> {
    let keys = [trusted(pair(2).public_key()), trusted(pair(1).public_key())];
    verify_assertion(token, &keys, &AUDIENCES, now)
}

fn with(change: impl FnOnce(&mut Value)) -> Result<Assertion, AssertionError> {
    let mut claims = claims();
    change(&mut claims);
    verify_at(&signed(&claims), NOW)
}

fn without(name: &str) -> Result<Assertion, AssertionError> {
    with(|claims| {
        claims.as_object_mut().unwrap().remove(name);
    })
}

#[test]
fn a_devices_assertion_is_believed_and_says_by_which_key() {
    let token = signed(&claims());
    assert_eq!(peek_device(&token).unwrap().to_string(), DEVICE);
    let assertion = verify_at(&token, NOW).unwrap();
    assert_eq!(assertion.device.to_string(), DEVICE);
    assert_eq!(&assertion.key, trusted(pair(1).public_key()).hash());
    assert_eq!(assertion.id, "one");
    assert_eq!(assertion.remember_until, NOW + Duration::seconds(420));
}

#[test]
fn all_four_algorithms_sign_with_their_own_kind_of_key_only() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let keys = [trusted(pair(1).public_key()), trusted(p256.public_key()), trusted(rsa.public_key())];
    let by_rsa = |padding: &'static dyn RsaEncoding, message: &[u8]| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(padding, &random, message, &mut signature).unwrap();
        signature
    };
    let sign = |by: &str, message: &[u8]| match by {
        "RS256" => by_rsa(&RSA_PKCS1_SHA256, message),
        "PS256" => by_rsa(&RSA_PSS_SHA256, message),
        "ES256" => p256.sign(&random, message).unwrap().as_ref().to_vec(),
        _ => pair(1).sign(message).as_ref().to_vec(),
    };
    let algorithms = [("EdDSA", 0), ("ES256", 1), ("RS256", 2), ("PS256", 2)];
    for (said, key) in algorithms {
        for (used, _) in algorithms {
            let token = jws::sign(&json!({"alg": said}), &claims(), |m| sign(used, m));
            let result = verify_assertion(&token, &keys, &AUDIENCES, NOW).map(|found| found.key);
            let expected =
                if said == used { Ok(keys[key].hash().clone()) } else { Err(AssertionError::Signature) };
            assert_eq!(result, expected, "{said} by {used}");
        }
    }
}

#[test]
fn i08_another_algorithm_or_key_in_the_header_is_refused() {
    for algorithm in ["none", "HS256", "RS384", "ES384", "eddsa", ""] {
        let token = jws::sign(&json!({"alg": algorithm}), &claims(), |m| pair(1).sign(m).as_ref().to_vec());
        assert_eq!(verify_at(&token, NOW), Err(AssertionError::Algorithm), "{algorithm}");
        assert_eq!(peek_device(&token), Err(AssertionError::Algorithm), "{algorithm}");
    }
    let header = json!({"alg": "EdDSA", "jwk": {"kty": "OKP"}});
    let token = jws::sign(&header, &claims(), |m| pair(3).sign(m).as_ref().to_vec());
    assert_eq!(verify_at(&token, NOW), Err(AssertionError::RefusedHeader("jwk")));
}

#[test]
fn i08_a_foreign_signature_or_a_changed_payload_is_refused() {
    let foreign = jws::sign(&json!({"alg": "EdDSA"}), &claims(), |m| pair(3).sign(m).as_ref().to_vec());
    assert_eq!(verify_at(&foreign, NOW), Err(AssertionError::Signature));
    assert_eq!(verify_assertion(&foreign, &[], &AUDIENCES, NOW), Err(AssertionError::Signature));
    let (one, two) = (signed(&claims()), signed(&json!({"sub": "x"})));
    let (head, tail) = (one.rsplit_once('.').unwrap().0, two.rsplit_once('.').unwrap().1);
    assert_eq!(verify_at(&format!("{head}.{tail}"), NOW), Err(AssertionError::Signature));
    assert_eq!(verify_at(&format!("{one}{}", "A".repeat(9000)), NOW), Err(AssertionError::TooLong));
    assert_eq!(peek_device("a.b"), Err(AssertionError::Malformed));
}

#[test]
fn iss_and_sub_are_one_device_id() {
    for bad in ["", "hub", "{0b8f1a34-6a0e-4f5e-9d3c-2f1f0c9a7e11}", "0b8f1a346a0e4f5e9d3c2f1f0c9a7e11"] {
        let result = with(|claims| {
            claims["iss"] = bad.into();
            claims["sub"] = bad.into();
        });
        assert_eq!(result, Err(AssertionError::Device), "{bad}");
    }
    let other = "0b8f1a34-6a0e-4f5e-9d3c-2f1f0c9a7e12";
    assert_eq!(with(|claims| claims["iss"] = other.into()), Err(AssertionError::Device));
    assert_eq!(without("iss"), Err(AssertionError::Device));
}

#[test]
fn the_audience_is_the_token_endpoint_or_the_public_url() {
    assert!(with(|claims| claims["aud"] = AUDIENCES[1].into()).is_ok());
    assert!(with(|claims| claims["aud"] = json!(["x", AUDIENCES[1]])).is_ok());
    for bad in [json!("https://broker.example/"), json!([]), json!(1), json!(["x"])] {
        assert_eq!(with(|claims| claims["aud"] = bad), Err(AssertionError::Audience));
    }
    assert_eq!(without("aud"), Err(AssertionError::Audience));
}

#[test]
fn every_required_claim_is_missed_by_name() {
    for name in ["iat", "exp", "jti"] {
        assert_eq!(without(name), Err(AssertionError::Claim(name)));
        assert_eq!(with(|claims| claims[name] = json!([])), Err(AssertionError::Claim(name)));
    }
    assert_eq!(with(|claims| claims["nbf"] = "soon".into()), Err(AssertionError::Claim("nbf")));
}

#[test]
fn it_lives_one_to_three_hundred_seconds() {
    let iat = NOW.unix_timestamp();
    assert!(with(|claims| claims["exp"] = (iat + 1).into()).is_ok());
    for exp in [iat - 1, iat, iat + 301] {
        assert_eq!(with(|claims| claims["exp"] = exp.into()), Err(AssertionError::Life), "{}", exp - iat);
    }
}

#[test]
fn j09_a_clock_may_be_off_by_two_minutes_and_no_more() {
    let token = signed(&claims());
    assert!(verify_at(&token, NOW - LEEWAY).is_ok());
    let ahead = verify_at(&token, NOW - Duration::seconds(612)).unwrap_err();
    assert_eq!(
        ahead.to_string(),
        "the assertion's iat is 612 s ahead of this server's clock: set the device's clock"
    );
    assert_eq!(
        verify_at(&token, NOW - LEEWAY - Duration::SECOND),
        Err(AssertionError::Ahead { claim: "iat", seconds: 121 })
    );
    assert!(verify_at(&token, NOW + Duration::seconds(419)).is_ok());
    let late = verify_at(&token, NOW + Duration::seconds(420)).unwrap_err();
    assert_eq!(late, AssertionError::Expired { seconds: 120 });
    assert!(late.to_string().contains("clock"));
    let nbf = NOW.unix_timestamp() + 121;
    assert_eq!(
        with(|claims| claims["nbf"] = nbf.into()),
        Err(AssertionError::Ahead { claim: "nbf", seconds: 121 })
    );
}

#[test]
fn it_is_refused_by_its_times_from_when_its_id_may_be_forgotten() {
    let token = signed(&claims());
    let end = verify_at(&token, NOW).unwrap().remember_until;
    assert!(verify_at(&token, end - Duration::NANOSECOND).is_ok());
    assert!(verify_at(&token, end).is_err());
}

#[test]
fn its_id_has_1_to_128_characters_that_can_be_stored() {
    assert!(with(|claims| claims["jti"] = "ä".repeat(128).into()).is_ok());
    for bad in [String::new(), "a".repeat(129), "a\0b".to_owned(), "a\n".to_owned()] {
        assert_eq!(with(|claims| claims["jti"] = bad.into()), Err(AssertionError::Claim("jti")));
    }
}

#[test]
fn j01_no_error_repeats_the_token() {
    let canary = "s3cr3t-canary";
    for name in ["iss", "sub", "aud", "iat", "exp", "jti", "nbf"] {
        if let Err(error) = with(|claims| claims[name] = format!("{canary}\n").into()) {
            assert!(!format!("{error} {error:?}").contains(canary), "{name}");
        }
    }
}
