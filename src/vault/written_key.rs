//! How a public key is written when it is sent: PEM, or a JWK.
//!
//! Both are turned into the DER of a `SubjectPublicKeyInfo` and judged there, by
//! [`TrustedKey::from_spki`]. A private key is recognised before anything of it is read.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::RsaPublicKeyComponents,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

use super::trusted::{KeyRefused, TrustedKey};
use crate::domain::json::Object;

/// The longest PEM that is read, in bytes: RSA of 8192 bits takes 1.5 KiB.
const LONGEST_PEM: usize = 4 * 1024;
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// `SubjectPublicKeyInfo` of a P-256 key up to its point, which follows as x and y (RFC 5480).
const P256_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// `SubjectPublicKeyInfo` of an Ed25519 key up to its 32 bytes (RFC 8410).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The members that only a private JWK has (RFC 7518 §6.2.2, §6.3.2).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

impl TrustedKey {
    /// Reads the `public_key` of a request: PEM as a text, or a JWK as an object.
    pub fn parse(value: &Value) -> Result<Self, KeyRefused> {
        match value {
            Value::String(text) => Self::from_pem(text),
            Value::Object(object) => Self::from_jwk(object),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(KeyRefused::NeitherPemNorJwk)
            }
        }
    }

    /// Reads one `PUBLIC KEY` block (RFC 7468 §13), its lines of any length; blanks around it are ignored.
    pub fn from_pem(text: &str) -> Result<Self, KeyRefused> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyRefused::Private);
        }
        if text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(KeyRefused::Certificate);
        }
        if text.trim_start().starts_with('{') {
            return Err(KeyRefused::NeitherPemNorJwk);
        }
        if text.len() > LONGEST_PEM {
            return Err(KeyRefused::NotOneBlock);
        }
        let inside = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let inside = inside.filter(|inside| !inside.contains('-')).ok_or(KeyRefused::NotOneBlock)?;
        let base64: String = inside.split_ascii_whitespace().collect();
        Self::from_spki(&STANDARD.decode(base64).map_err(|_| KeyRefused::Malformed)?)
    }

    /// Reads a public JWK (RFC 7517): RSA, EC with P-256, or OKP with Ed25519. Members that don't describe
    /// the key itself are ignored.
    pub fn from_jwk(jwk: &Object) -> Result<Self, KeyRefused> {
        let kty = jwk.get("kty").and_then(Value::as_str).ok_or(KeyRefused::Member("kty"))?;
        if kty == "oct" {
            return Err(KeyRefused::Symmetric);
        }
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
            return Err(KeyRefused::Private);
        }
        let curve = jwk.get("crv").and_then(Value::as_str);
        let spki = match (kty, curve) {
            ("RSA", _) => {
                let components = RsaPublicKeyComponents { n: number(jwk, "n")?, e: number(jwk, "e")? };
                let spki: Result<PublicKeyX509Der<'_>, _> = components.as_der();
                spki.map_err(|_| KeyRefused::Member("n"))?.as_ref().to_vec()
            }
            ("EC", Some("P-256")) => {
                [&P256_PREFIX[..], &coordinate(jwk, "x")?, &coordinate(jwk, "y")?].concat()
            }
            ("OKP", Some("Ed25519")) => [&ED25519_PREFIX[..], &coordinate(jwk, "x")?].concat(),
            ("EC" | "OKP", Some(_)) => return Err(KeyRefused::OtherCurve),
            ("EC" | "OKP", None) => return Err(KeyRefused::Member("crv")),
            _ => return Err(KeyRefused::OtherKind),
        };
        Self::from_spki(&spki).map_err(|refused| {
            let coordinate = if kty == "RSA" { "n" } else { "x" };
            if refused == KeyRefused::Malformed { KeyRefused::Member(coordinate) } else { refused }
        })
    }
}

fn bytes(jwk: &Object, name: &'static str) -> Result<Vec<u8>, KeyRefused> {
    let text = jwk.get(name).and_then(Value::as_str).filter(|text| text.len() <= LONGEST_PEM);
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(KeyRefused::Member(name))
}

/// A number without its leading zeros, which some libraries write although RFC 7518 §2 forbids it.
fn number(jwk: &Object, name: &'static str) -> Result<Vec<u8>, KeyRefused> {
    Ok(bytes(jwk, name)?.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn coordinate(jwk: &Object, name: &'static str) -> Result<[u8; 32], KeyRefused> {
    bytes(jwk, name)?.try_into().map_err(|_| KeyRefused::Member(name))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair,
    };
    use serde_json::json;

    use super::{super::trusted::KeyKind, *};

    /// RSA keys made with `openssl genrsa`, since making one takes a second without optimisation.
    const RSA_2048: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuwyctFOzO3jD8FrcH9jJ
V4HZ9TLgPyTpfekjHlAznCHskkYuoS36fWJOXqgVst6y8gtPrCnO+X1YkyjCOH2u
YxhsTYZkdT6vCd5fAg+OAOi7JlrNxqCF1YscfkDczljK0dd/4XkK2B+NOEI+v2KN
i/BH2eqyC5g9HxV5YQv/YBwN0Hn4xipq5yAnHroxh8qWedk5se51by1NtPWJXvE9
Q/lNAxC1eKxVFlR1ny1sHaWJV9APtLIqS/hO/hKprWYG3eZmToBkWZi/8tazFjtz
UQjSzX/OYuycYwl/4ICEYkyE3pXkBqr9eMvv//ZI6EdeA6hAIw+mXuu1nT3gxqSf
NQIDAQAB
-----END PUBLIC KEY-----
";
    const RSA_2048_N: &str = "\
uwyctFOzO3jD8FrcH9jJV4HZ9TLgPyTpfekjHlAznCHskkYuoS36fWJOXqgVst6y\
8gtPrCnO-X1YkyjCOH2uYxhsTYZkdT6vCd5fAg-OAOi7JlrNxqCF1YscfkDczljK\
0dd_4XkK2B-NOEI-v2KNi_BH2eqyC5g9HxV5YQv_YBwN0Hn4xipq5yAnHroxh8qW\
edk5se51by1NtPWJXvE9Q_lNAxC1eKxVFlR1ny1sHaWJV9APtLIqS_hO_hKprWYG\
3eZmToBkWZi_8tazFjtzUQjSzX_OYuycYwl_4ICEYkyE3pXkBqr9eMvv__ZI6Ede\
A6hAIw-mXuu1nT3gxqSfNQ\
";
    const RSA_2048_HASH: &str = "SHA256:1x7yI4DZe+xOZnn4Sz2esADyHNd06bAo7uX4QmRTH5k";
    const RSA_2047: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBITANBgkqhkiG9w0BAQEFAAOCAQ4AMIIBCQKCAQBUtC4aoOOKxlYLdXrOlgmd
7Pl69KFMlkAxMTkRa052vkPGwaZVrSp7lV4o2jxjoZsgXZwhV2LvR1eh1dpvvAPN
ZPY4Qg42m0EdQHaoZjgJh/7A54NpHnsAS/ZxGwOjksVxsioF8aMt0UqQHJPMkoF/
stYUHM4Bi96YoZaLV5P2+A5+ksFC1IR8yJPenFA/nf6NpDNtMlJFwsETzYVLWudP
xaYFXgsH9mWEkyKPT0tMBHMnOG4INcapDu3tghy0L2gbCiju0IrIg2kpByQUx1Lp
YLFO+a4zW3hL5yl+d34XetO5bjtmfIqAYZNdURWGvXHX6ojavLwd4d2/oGGydcv5
AgMBAAE=
-----END PUBLIC KEY-----
";
    const RSA_1024: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDxRLgb9yPB0Rit/ImcHaFC5gKr
qRcNMyF15Cx5h0IFmnlQPQ1nfrow0nBtcG4W22WlBLiQRZNppud43Ew7Odm/Turq
Yj/eS3gw/2GUD3i+7cb4CO/VQ0M9XmmuKDZcUJkusSpbDITolVIhlPITn6s7PcKp
NDPG2w9lZ3fP9cXWTwIDAQAB
-----END PUBLIC KEY-----
";

    fn pem(der: &[u8]) -> String {
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
    }

    fn p256() -> Vec<u8> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref().to_vec()
    }

    fn ed25519() -> Vec<u8> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        [&ED25519_PREFIX[..], pair.public_key().as_ref()].concat()
    }

    fn jwk(value: &Value) -> Result<TrustedKey, KeyRefused> {
        TrustedKey::parse(value)
    }

    fn b64(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn pem_jwk_and_stored_der_of_one_key_are_one_key() {
        let p256 = p256();
        let by_pem = TrustedKey::from_pem(&pem(&p256)).unwrap();
        let (x, y) = (b64(&p256[27..59]), b64(&p256[59..]));
        assert_eq!(
            jwk(&json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig"})),
            Ok(by_pem.clone())
        );
        assert_eq!(TrustedKey::from_spki(by_pem.spki_der()), Ok(by_pem.clone()));
        assert_eq!(by_pem.kind(), KeyKind::P256);

        let ed25519 = TrustedKey::from_pem(&pem(&ed25519())).unwrap();
        let x = b64(&ed25519.spki_der()[12..]);
        assert_eq!(jwk(&json!({"kty": "OKP", "crv": "Ed25519", "x": x})), Ok(ed25519.clone()));
        assert_eq!(ed25519.kind(), KeyKind::Ed25519);

        let rsa = TrustedKey::from_pem(RSA_2048).unwrap();
        assert_eq!(jwk(&json!({"kty": "RSA", "n": RSA_2048_N, "e": "AQAB"})), Ok(rsa.clone()));
        let zeros = b64(&[&[0], &URL_SAFE_NO_PAD.decode(RSA_2048_N).unwrap()[..]].concat());
        assert_eq!(jwk(&json!({"kty": "RSA", "n": zeros, "e": "AAEAAQ"})), Ok(rsa.clone()));
        assert_eq!(rsa.kind(), KeyKind::Rsa);
    }

    #[test]
    fn the_hash_is_the_one_that_openssl_gives() {
        assert_eq!(TrustedKey::from_pem(RSA_2048).unwrap().hash().0, RSA_2048_HASH);
    }

    #[test]
    fn pem_may_have_lines_of_any_length_and_blanks_around_it() {
        let key = TrustedKey::from_pem(RSA_2048).unwrap();
        let one_line = format!("{BEGIN}{}{END}", STANDARD.encode(key.spki_der()));
        for text in [one_line, RSA_2048.replace('\n', "\r\n"), format!("\n\n  {RSA_2048}  \n")] {
            assert_eq!(TrustedKey::from_pem(&text), Ok(key.clone()));
        }
    }

    #[test]
    fn a_private_key_is_named_as_such_and_not_repeated() {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let text = format!("-----BEGIN {label}-----\nc2VjcmV0\n-----END {label}-----\n");
            let refused = TrustedKey::from_pem(&text.repeat(100)).unwrap_err();
            assert_eq!(refused, KeyRefused::Private);
            assert!(!format!("{refused} {refused:?}").contains("c2VjcmV0"));
        }
        let both = format!("{RSA_2048}-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----");
        assert_eq!(TrustedKey::from_pem(&both), Err(KeyRefused::Private));
        for name in PRIVATE_MEMBERS {
            assert_eq!(
                jwk(&json!({"kty": "RSA", "n": RSA_2048_N, "e": "AQAB", name: "x"})),
                Err(KeyRefused::Private)
            );
        }
    }

    #[test]
    fn what_is_no_public_key_block_is_refused_with_a_reason() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
        assert_eq!(TrustedKey::from_pem(certificate), Err(KeyRefused::Certificate));
        for text in [
            String::new(),
            "ssh-ed25519 AAAA me@home".to_owned(),
            format!("my key:\n{RSA_2048}"),
            format!("{RSA_2048}\nthanks"),
            RSA_2048.repeat(2),
            RSA_2048.replace("PUBLIC", "RSA PUBLIC"),
            format!("{BEGIN}{}{END}", "A".repeat(LONGEST_PEM)),
            BEGIN.to_owned(),
        ] {
            assert_eq!(TrustedKey::from_pem(&text), Err(KeyRefused::NotOneBlock), "{text}");
        }
        assert_eq!(TrustedKey::from_pem(r#"{"kty":"RSA"}"#), Err(KeyRefused::NeitherPemNorJwk));
        assert_eq!(TrustedKey::parse(&json!([1])), Err(KeyRefused::NeitherPemNorJwk));
    }

    #[test]
    fn only_the_canonical_form_is_taken_so_that_a_key_has_one_hash() {
        let (p256, ed25519) = (p256(), ed25519());
        let trailing = [&p256[..], &[0]].concat();
        let rsa = TrustedKey::from_pem(RSA_2048).unwrap();
        let pkcs1 = &rsa.spki_der()[24..];
        for der in [&p256[26..], &ed25519[12..], &trailing, pkcs1, &p256[..50], b"", b"x"] {
            assert_eq!(TrustedKey::from_spki(der), Err(KeyRefused::Malformed));
        }
        assert_eq!(TrustedKey::from_pem(&format!("{BEGIN}*{END}")), Err(KeyRefused::Malformed));
    }

    #[test]
    fn weak_and_foreign_kinds_are_refused() {
        assert_eq!(TrustedKey::from_pem(RSA_1024), Err(KeyRefused::RsaTooShort));
        assert_eq!(TrustedKey::from_pem(RSA_2047), Err(KeyRefused::RsaTooShort));
        let mut long = vec![0xff; 1025];
        long[1024] = 1;
        assert_eq!(jwk(&json!({"kty": "RSA", "n": b64(&long), "e": "AQAB"})), Err(KeyRefused::RsaTooLong));

        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let p384: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        assert_eq!(TrustedKey::from_pem(&pem(p384.as_ref())), Err(KeyRefused::OtherCurve));
        assert_eq!(jwk(&json!({"kty": "EC", "crv": "P-384", "x": "", "y": ""})), Err(KeyRefused::OtherCurve));
        assert_eq!(jwk(&json!({"kty": "OKP", "crv": "X25519", "x": ""})), Err(KeyRefused::OtherCurve));
        assert_eq!(jwk(&json!({"kty": "oct", "k": "c2VjcmV0"})), Err(KeyRefused::Symmetric));
        assert_eq!(jwk(&json!({"kty": "AKP"})), Err(KeyRefused::OtherKind));
    }

    #[test]
    fn a_jwk_that_lacks_something_is_told_what() {
        let x = b64(&[1; 32]);
        for (name, value) in [
            ("kty", json!({})),
            ("kty", json!({"kty": 1})),
            ("crv", json!({"kty": "EC"})),
            ("n", json!({"kty": "RSA", "e": "AQAB"})),
            ("n", json!({"kty": "RSA", "n": "AA", "e": "AQAB"})),
            ("e", json!({"kty": "RSA", "n": RSA_2048_N})),
            ("y", json!({"kty": "EC", "crv": "P-256", "x": x})),
            ("y", json!({"kty": "EC", "crv": "P-256", "x": x, "y": "AA"})),
            ("x", json!({"kty": "EC", "crv": "P-256", "x": x, "y": x})),
            ("x", json!({"kty": "OKP", "crv": "Ed25519", "x": "="})),
        ] {
            assert_eq!(jwk(&value), Err(KeyRefused::Member(name)), "{value}");
        }
    }
}
