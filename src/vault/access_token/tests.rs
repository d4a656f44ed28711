//! A token is read back as it was minted, and the forgeries of I08 are not believed.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use time::macros::datetime;

use super::{super::tests::Stream, *};

const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
const ISSUER: &str = "https://broker.example";

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&Stream::seeded(seed)).unwrap()
}

fn claims(obtained_with: Credential) -> AccessClaims {
    let device = DeviceId::draw(&Stream::seeded(7));
    AccessClaims {
        subject: Subject::Device(device),
        issued_at: NOW,
        expires_at: NOW + Duration::HOUR,
        id: Uuid::from_u128(1),
        scope: "device".to_owned(),
        topics: Topics::of_device(device, None),
        obtained_with,
        issued_after: 0,
    }
}

fn minted() -> String {
    Signer::new(key(1), ISSUER).mint(&claims(Credential::Password)).expose().to_owned()
}

fn verify(token: &str) -> Result<AccessClaims, TokenError> {
    Verifier::new(vec![key(2).verifying(), key(1).verifying()]).verify(token, NOW, ISSUER)
}

/// A token with a true signature whose header and claims were changed before signing.
fn signed_with(change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let token = minted();
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    });
    let (mut header, mut payload) = (parts.next().unwrap(), parts.next().unwrap());
    change(&mut header, &mut payload);
    jws::sign(&header, &payload, |signed| key(1).sign(signed))
}

#[test]
fn what_was_minted_is_read_back() {
    for with in [
        Credential::Password,
        Credential::TrustedKey(KeyHash("SHA256:abc".to_owned())),
        Credential::Login(Uuid::from_u128(9)),
    ] {
        let claims = claims(with);
        let token = Signer::new(key(1), ISSUER).mint(&claims);
        assert_eq!(verify(token.expose()), Ok(claims));
    }
    let later = AccessClaims { issued_after: 7, ..claims(Credential::Password) };
    assert_eq!(verify(Signer::new(key(1), ISSUER).mint(&later).expose()), Ok(later));
    let owner =
        AccessClaims { subject: Subject::Owner, topics: Topics::default(), ..claims(Credential::Password) };
    assert_eq!(verify(Signer::new(key(1), ISSUER).mint(&owner).expose()), Ok(owner));
}

#[test]
fn its_claims_are_those_of_the_contract() {
    let token = minted();
    let payload = token.split('.').nth(1).unwrap();
    let payload: Object = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let names: Vec<&str> = payload.keys().map(String::as_str).collect();
    assert_eq!(names, ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "scope", "subs", "publ"]);
    let device = DeviceId::draw(&Stream::seeded(7));
    assert_eq!(payload["sub"], json!(device));
    assert_eq!(payload["subs"], json!([format!("cloudlink/{device}/+/events")]));
}

#[test]
fn i08_none_is_no_algorithm() {
    let unsigned = signed_with(|header, _| header["alg"] = "none".into());
    let (signed, _) = unsigned.rsplit_once('.').unwrap();
    assert_eq!(verify(&format!("{signed}.")), Err(TokenError::Algorithm));
    assert_eq!(verify(&signed_with(|header, _| header["alg"] = "NONE".into())), Err(TokenError::Algorithm));
}

#[test]
fn i08_the_public_key_is_no_shared_secret() {
    let public = URL_SAFE_NO_PAD.decode(key(1).verifying().jwk()["x"].as_str().unwrap()).unwrap();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &public);
    let header = json!({"alg": "HS256", "typ": TYPE, "kid": key(1).kid().as_str()});
    let forged = jws::sign(&header, &json!({}), |signed| hmac::sign(&secret, signed).as_ref().to_vec());
    assert_eq!(verify(&forged), Err(TokenError::Algorithm));
}

#[test]
fn i08_a_foreign_or_missing_kid_is_refused() {
    let foreign = Signer::new(key(3), ISSUER).mint(&claims(Credential::Password));
    assert_eq!(verify(foreign.expose()), Err(TokenError::UnknownKey));
    let borrowed = signed_with(|header, _| header["kid"] = key(2).kid().as_str().into());
    assert_eq!(verify(&borrowed), Err(TokenError::Signature));
    let missing = signed_with(|header, _| {
        header.as_object_mut().unwrap().remove("kid");
    });
    assert_eq!(verify(&missing), Err(TokenError::UnknownKey));
}

#[test]
fn i08_a_header_cannot_bring_its_own_key() {
    for name in ["jku", "x5u", "jwk", "x5c", "crit"] {
        let forged = signed_with(|header, _| header[name] = "https://evil.example/keys".into());
        assert_eq!(verify(&forged), Err(TokenError::RefusedHeader(name)));
    }
}

#[test]
fn i08_a_token_is_good_from_nbf_until_exp() {
    let token = minted();
    let at = |now| Verifier::new(vec![key(1).verifying()]).verify(&token, now, ISSUER);
    assert!(at(NOW + Duration::HOUR - Duration::SECOND).is_ok());
    assert_eq!(at(NOW + Duration::HOUR), Err(TokenError::Expired));
    assert!(at(NOW - REPLICA_SKEW).is_ok());
    assert_eq!(at(NOW - REPLICA_SKEW - Duration::SECOND), Err(TokenError::NotYetValid));
}

#[test]
fn i08_another_audience_issuer_or_type_is_refused() {
    let other = "https://other.example";
    assert_eq!(verify(&signed_with(|_, claims| claims["aud"] = other.into())), Err(TokenError::Audience));
    assert_eq!(verify(&signed_with(|_, claims| claims["iss"] = other.into())), Err(TokenError::Issuer));
    assert_eq!(verify(&signed_with(|header, _| header["typ"] = "JWT".into())), Err(TokenError::Type));
}

#[test]
fn i08_a_truncated_swapped_or_lengthened_token_is_refused() {
    let token = minted();
    for length in 0..token.len() {
        assert!(verify(&token[..length]).is_err(), "{length} characters");
    }
    let owner = signed_with(|_, claims| claims["sub"] = OWNER.into());
    let parts: Vec<&str> = token.split('.').collect();
    let payload = owner.split('.').nth(1).unwrap();
    let swapped = format!("{}.{payload}.{}", parts[0], parts[2]);
    assert_eq!(verify(&swapped), Err(TokenError::Signature));
    for tail in ["A", ".", ".e30", " ", "\n", "="] {
        assert!(verify(&format!("{token}{tail}")).is_err(), "{tail:?}");
    }
    assert_eq!(verify(&format!("{token}{}", "A".repeat(jws::LONGEST))), Err(TokenError::TooLong));
}

#[test]
fn a_claim_of_another_form_is_named() {
    for name in ["sub", "iat", "nbf", "exp", "jti", "scope", "subs", "publ", "key", "login"] {
        let forged = signed_with(|_, claims| claims[name] = json!({}));
        assert_eq!(verify(&forged), Err(TokenError::Claim(name)));
    }
}

#[test]
fn a_retired_keys_tokens_end_with_it() {
    let end = NOW + Duration::minutes(30);
    let verifier = Verifier::new(vec![key(1).verifying().until(end)]);
    let token = minted();
    assert!(verifier.verify(&token, end - Duration::SECOND, ISSUER).is_ok());
    assert_eq!(verifier.verify(&token, end, ISSUER), Err(TokenError::UnknownKey));
    assert_eq!(verifier.keys(NOW).count(), 1);
    assert_eq!(verifier.keys(end).count(), 0);
}
