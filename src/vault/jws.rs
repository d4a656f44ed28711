//! The compact form of a JWS (RFC 7515 §7.1), read strictly, for tokens and assertions alike.
//!
//! A token is at most 8 KiB, exactly three parts of unpadded base64url with no spare bits, and both JSON
//! parts are objects without a repeated member. A header that brings its own key or names where to get one
//! (`jku`, `jwk`, `x5u`, `x5c`) or that changes the meaning of the rest (`crit`, `b64`, `zip`) is refused
//! (RFC 8725 §3.10; I08). No algorithm is chosen here, and nothing here verifies: that is the caller's.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::domain::json::{self, Object};

/// The longest token that is looked at, in bytes.
pub(super) const LONGEST: usize = 8 * 1024;

const REFUSED_HEADERS: [&str; 7] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip"];

/// Why a text is no JWS that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JwsError {
    TooLong,
    Malformed,
    RefusedHeader(&'static str),
}

/// A compact JWS taken apart; nothing of it is verified yet.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    header: Object,
    payload: Vec<u8>,
    signature: Vec<u8>,
    signed: &'a str,
}

impl<'a> Compact<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > LONGEST {
            return Err(JwsError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Malformed)?;
        let header = json::parse_object(&decode(header)?).map_err(|_| JwsError::Malformed)?;
        if let Some(name) = REFUSED_HEADERS.into_iter().find(|name| header.contains_key(*name)) {
            return Err(JwsError::RefusedHeader(name));
        }
        Ok(Self { header, payload: decode(payload)?, signature: decode(signature)?, signed })
    }

    /// A text member of the header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// What the signature is made over.
    pub(super) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The signature.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The claims. Whether to believe them is for who has checked the signature.
    pub(super) fn claims(&self) -> Result<Object, JwsError> {
        json::parse_object(&self.payload).map_err(|_| JwsError::Malformed)
    }
}

/// Joins what is signed and its signature.
pub(super) fn sign(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// A `NumericDate` (RFC 7519 §2): seconds since 1970, a fraction is cut off.
pub(super) fn numeric_date(claims: &Object, name: &str) -> Option<OffsetDateTime> {
    let number = claims.get(name)?;
    let seconds = match number.as_i64() {
        Some(seconds) => seconds,
        None => Duration::checked_seconds_f64(number.as_f64()?)?.whole_seconds(),
    };
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

/// Whether `aud` (RFC 7519 §4.1.3), a text or a list of texts, names one of `audiences`.
pub(super) fn is_for(claims: &Object, audiences: &[&str]) -> bool {
    let named = |value: &Value| value.as_str().is_some_and(|text| audiences.contains(&text));
    match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(named),
        Some(value) => named(value),
        None => false,
    }
}

fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn object(value: &Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_token_has_three_strict_parts() {
        let token = sign(&json!({"alg": "x"}), &json!({"a": 1}), |_| vec![1, 2]);
        let compact = Compact::parse(&token).unwrap();
        assert_eq!(compact.header("alg"), Some("x"));
        assert_eq!(compact.claims().unwrap(), object(&json!({"a": 1})));
        assert_eq!(compact.signature(), [1, 2]);
        let (head, tail) = token.split_once('.').unwrap();
        for bad in [
            String::new(),
            head.to_owned(),
            format!("{token}.e30"),
            format!("{token}="),
            format!("{token} "),
            format!("e30=.{tail}"),
            format!("W10.{tail}"),
            // The last character of AQI carries two spare bits; AQJ would decode to the same bytes.
            token.replace("AQI", "AQJ"),
        ] {
            assert_eq!(Compact::parse(&bad).unwrap_err(), JwsError::Malformed, "{bad}");
        }
    }

    #[test]
    fn j06_a_repeated_member_is_refused() {
        let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"a","alg":"b"}"#);
        assert_eq!(Compact::parse(&format!("{twice}.e30.")).unwrap_err(), JwsError::Malformed);
        let claims = format!("e30.{}.", URL_SAFE_NO_PAD.encode(r#"{"sub":"a","sub":"b"}"#));
        assert_eq!(Compact::parse(&claims).unwrap().claims().unwrap_err(), JwsError::Malformed);
    }

    #[test]
    fn i08_a_header_that_brings_or_fetches_a_key_is_refused() {
        for name in REFUSED_HEADERS {
            let token = sign(&json!({"alg": "EdDSA", name: "x"}), &json!({}), |_| vec![]);
            assert_eq!(Compact::parse(&token).unwrap_err(), JwsError::RefusedHeader(name));
        }
    }

    #[test]
    fn a_token_over_eight_kibibytes_is_not_looked_at() {
        let of = |length| format!("e30.{}.", "A".repeat(length - 5));
        assert_eq!(Compact::parse(&of(LONGEST + 1)).unwrap_err(), JwsError::TooLong);
        assert!(Compact::parse(&of(LONGEST - 3)).is_ok());
    }

    #[test]
    fn a_date_may_have_a_fraction_but_must_be_a_date() {
        let of = |value: Value| numeric_date(&object(&json!({"iat": value})), "iat");
        assert_eq!(of(json!(1_700_000_000)), Some(datetime!(2023-11-14 22:13:20 UTC)));
        assert_eq!(of(json!(1_700_000_000.9)), Some(datetime!(2023-11-14 22:13:20 UTC)));
        for bad in [json!("1700000000"), json!(null), json!(1e300), json!(i64::MAX), json!(u64::MAX)] {
            assert_eq!(of(bad), None);
        }
    }

    #[test]
    fn an_audience_is_a_text_or_stands_in_a_list() {
        let of = |value: Value| is_for(&object(&json!({"aud": value})), &["a", "b"]);
        assert!(of(json!("a")) && of(json!(["x", "b"])));
        assert!(!of(json!("x")) && !of(json!([])) && !of(json!(["x", 1])) && !of(json!({"a": 1})));
        assert!(!is_for(&Object::new(), &["a"]));
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_an_error(text in "[A-Za-z0-9_.=-]{0,80}") {
            let _ = Compact::parse(&text);
        }
    }
}
