//! Client authentication by a signed assertion, `private_key_jwt` (RFC 7523 §2.2 and §3).

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeyPair as RsaKeyPair,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Serialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::registration::RequestError;
use crate::domain::{
    clock::Entropy,
    secret::{PrivateKeyPem, SecretValue},
};

/// `client_assertion_type` of RFC 7523 §2.2.
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Seconds an assertion is good for.
const LIFETIME: i64 = 60;

/// One assertion: whose, for whom, made when.
pub(crate) struct Assertion<'a> {
    pub(crate) client_id: &'a str,
    /// One value, never a list: the issuer, or the endpoint that is asked (B10).
    pub(crate) audience: &'a str,
    pub(crate) now: OffsetDateTime,
    pub(crate) entropy: &'a dyn Entropy,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

impl Assertion<'_> {
    /// Signs with RS256, ES256 or `EdDSA`, as the key is RSA, P-256 or Ed25519.
    pub(crate) fn sign(&self, key: &PrivateKeyPem) -> Result<SecretValue, RequestError> {
        let key = SigningKey::from_pem(key).ok_or(RequestError::PrivateKey)?;
        let iat = self.now.unix_timestamp();
        let jti = SecretValue::draw(self.entropy);
        let claims = Claims {
            iss: self.client_id,
            sub: self.client_id,
            aud: self.audience,
            jti: jti.expose(),
            iat,
            exp: iat + LIFETIME,
        };
        let header = Header { alg: key.algorithm(), typ: "JWT" };
        let text = format!("{}.{}", segment(&header)?, segment(&claims)?);
        let signature = key.sign(text.as_bytes()).ok_or(RequestError::PrivateKey)?;
        Ok(SecretValue::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

fn segment(value: &impl Serialize) -> Result<String, RequestError> {
    serde_json::to_vec(value).map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(RequestError::Json)
}

enum SigningKey {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    fn from_pem(pem: &PrivateKeyPem) -> Option<Self> {
        let armour = pem.expose().trim().strip_prefix("-----BEGIN PRIVATE KEY-----")?;
        let armour = armour.strip_suffix("-----END PRIVATE KEY-----")?;
        let text: Zeroizing<String> = Zeroizing::new(armour.split_whitespace().collect());
        let der = Zeroizing::new(STANDARD.decode(text.as_bytes()).ok()?);
        RsaKeyPair::from_pkcs8(&der)
            .map(Self::Rsa)
            .or_else(|_| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map(Self::P256))
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self::Ed25519))
            .ok()
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::P256(key) => key.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec()),
            Self::Ed25519(key) => key.try_sign(message).ok().map(|signature| signature.as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der},
        rsa::{KeyPair as RsaKeyPair, KeySize},
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
    };
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
    use serde_json::Value;
    use time::macros::datetime;

    use super::*;
    use crate::provider::fake::FixedEntropy;

    fn pem(der: &[u8]) -> PrivateKeyPem {
        PrivateKeyPem::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der)
        ))
    }

    fn sign(key: &PrivateKeyPem) -> Result<SecretValue, RequestError> {
        let now = datetime!(2026-01-02 03:04:05 UTC);
        Assertion { client_id: "id", audience: "https://p.example", now, entropy: &FixedEntropy(7) }.sign(key)
    }

    #[test]
    fn b10_each_kind_of_key_signs_for_one_audience_for_a_minute() {
        let ed = Ed25519KeyPair::generate().unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa_der = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
        let cases = [
            (
                Algorithm::EdDSA,
                pem(ed.to_pkcs8v1().unwrap().as_ref()),
                DecodingKey::from_ed_der(ed.public_key().as_ref()),
            ),
            (
                Algorithm::ES256,
                pem(ec.to_pkcs8v1().unwrap().as_ref()),
                DecodingKey::from_ec_der(ec.public_key().as_ref()),
            ),
            (Algorithm::RS256, pem(rsa_der.as_ref()), DecodingKey::from_rsa_der(rsa.public_key().as_ref())),
        ];
        for (algorithm, key, public) in cases {
            let jwt = sign(&key).unwrap();
            assert_eq!(decode_header(jwt.expose()).unwrap().alg, algorithm);
            let mut validation = Validation::new(algorithm);
            validation.validate_exp = false;
            validation.set_audience(&["https://p.example"]);
            let claims = decode::<Value>(jwt.expose(), &public, &validation).unwrap().claims;
            assert_eq!(claims["aud"], "https://p.example");
            assert_eq!((&claims["iss"], &claims["sub"]), (&"id".into(), &"id".into()));
            assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
            assert!(claims["jti"].as_str().unwrap().len() >= 22);
        }
    }

    #[test]
    fn what_is_no_key_is_an_error_that_does_not_quote_it() {
        let error = sign(&PrivateKeyPem::new("canary")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
