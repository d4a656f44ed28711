//! What an access token says about itself (RFC 7519 §4), read and not verified: it is shown to its holder, who had it
//! from the server, and the server alone decides what it is good for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::domain::{ids::DeviceId, secret::BearerToken};

/// The longest token that is read, in bytes; the server issues none over 8 KiB.
const LONGEST: usize = 16 * 1024;

/// Whom a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The owner of the server.
    Owner,
    /// A device.
    Device(DeviceId),
}

/// The claims that a person is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `sub`.
    pub who: Who,
    /// `exp`.
    pub expires_at: OffsetDateTime,
    /// `subs`: topics to hear.
    pub subs: Vec<String>,
    /// `publ`: topics to speak to.
    pub publ: Vec<String>,
}

#[derive(Deserialize)]
struct Payload {
    sub: String,
    exp: i64,
    #[serde(default)]
    subs: Vec<String>,
    #[serde(default)]
    publ: Vec<String>,
}

impl Claims {
    /// Reads a token; none where it is not one of cloudlink's.
    pub fn read(token: &BearerToken) -> Option<Self> {
        let text = token.expose();
        let mut parts = text.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        if text.len() > LONGEST || parts.next().is_some() {
            return None;
        }
        let payload: Payload = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let who = match payload.sub.as_str() {
            "owner" => Who::Owner,
            device => Who::Device(device.parse().ok()?),
        };
        let expires_at = OffsetDateTime::from_unix_timestamp(payload.exp).ok()?;
        Some(Self { who, expires_at, subs: payload.subs, publ: payload.publ })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    fn read(payload: &Value) -> Option<Claims> {
        Claims::read(&BearerToken::new(format!("e30.{}.x", URL_SAFE_NO_PAD.encode(payload.to_string()))))
    }

    #[test]
    fn a_token_tells_whom_it_speaks_for_and_until_when() {
        let claims = read(&json!({"sub": "owner", "exp": 1_767_323_045, "iss": "https://a"})).unwrap();
        assert_eq!(claims.who, Who::Owner);
        assert_eq!(claims.expires_at, datetime!(2026-01-02 03:04:05 UTC));
        let device = "0c1f0d5e-9a3e-4b53-8f0e-1b5a7f6f2c11";
        let claims = read(&json!({"sub": device, "exp": 1, "subs": ["a"], "publ": ["b", "c"]})).unwrap();
        assert_eq!(claims.who, Who::Device(device.parse().unwrap()));
        assert_eq!((claims.subs.len(), claims.publ.len()), (1, 2));
    }

    #[test]
    fn what_is_none_of_ours_is_none() {
        for payload in
            [json!({}), json!({"sub": "ann", "exp": 1}), json!({"sub": "owner", "exp": "1"}), json!([])]
        {
            assert_eq!(read(&payload), None, "{payload}");
        }
        assert_eq!(Claims::read(&BearerToken::new("gho_abc")), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "[A-Za-z0-9_.=-]{0,80}") {
            let _ = Claims::read(&BearerToken::new(text));
        }
    }
}
