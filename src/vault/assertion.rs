//! Assertions: the JWTs by which a device proves itself with a trusted key (RFC 7523 §2.1, §3).
//!
//! Two steps, because the keys to check with depend on who claims to be there: [`peek_device`] reads the
//! claimed device and believes nothing; [`verify_assertion`] believes an assertion that one of the given
//! keys signed with an algorithm of its own kind, that is addressed to this broker, lives at most five
//! minutes and whose times fit `now` within two minutes.
//!
//! That an assertion is used once is the store's part: it remembers `jti` until
//! [`Assertion::remember_until`], after which the times alone refuse it.

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::{
    jws::{self, Compact, JwsError},
    trusted::{Algorithm, TrustedKey},
};
use crate::domain::{
    ids::{DeviceId, KeyHash},
    json::Object,
};

/// How far a device's clock may be off, either way.
pub const LEEWAY: Duration = Duration::seconds(120);
/// The longest life of an assertion, `exp` − `iat`.
pub const LONGEST_LIFE: Duration = Duration::seconds(300);
const LONGEST_ID: usize = 128;
const UUID_LENGTH: usize = 36;

/// An assertion that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Who asserts.
    pub device: DeviceId,
    /// The trusted key that signed.
    pub key: KeyHash,
    /// `jti`: 1 to 128 characters, none of them a control character.
    pub id: String,
    /// Until when `id` must be remembered as used.
    pub remember_until: OffsetDateTime,
}

/// Why an assertion is not believed: the description of an `invalid_grant`. None holds any of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Over 8 KiB.
    #[error("the assertion is longer than 8 KiB")]
    TooLong,
    /// No compact JWS of two JSON objects.
    #[error("the assertion is no JSON Web Token")]
    Malformed,
    /// A header that brings or fetches a key, or that we would have to understand.
    #[error("the assertion's header must not have the member {0}")]
    RefusedHeader(&'static str),
    /// Another algorithm, `none` included.
    #[error("sign the assertion with RS256, PS256, ES256 or EdDSA")]
    Algorithm,
    /// Unknown device, no such key, or a wrong signature: which of them is not said.
    #[error("none of the device's trusted keys made the assertion's signature")]
    Signature,
    /// `iss` and `sub` are not the same device id.
    #[error("the assertion's iss and sub must both be the device's id, a UUID")]
    Device,
    /// `aud` names somebody else.
    #[error("the assertion's aud must be this server's token endpoint or its public URL")]
    Audience,
    /// A claim is missing or has another form.
    #[error("the assertion's claim {0} is missing or has another form than expected")]
    Claim(&'static str),
    /// `exp` is not 1 to 300 s after `iat`.
    #[error("the assertion's exp must be 1 to 300 s after its iat")]
    Life,
    /// `iat` or `nbf` is in the future.
    #[error("the assertion's {claim} is {seconds} s ahead of this server's clock: set the device's clock")]
    Ahead {
        /// Which claim.
        claim: &'static str,
        /// By how much.
        seconds: i64,
    },
    /// `exp` is in the past.
    #[error(
        "the assertion expired {seconds} s ago by this server's clock: \
         make a new one for each request, and set the device's clock if it is behind"
    )]
    Expired {
        /// How long ago.
        seconds: i64,
    },
}

impl From<JwsError> for AssertionError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::TooLong => Self::TooLong,
            JwsError::Malformed => Self::Malformed,
            JwsError::RefusedHeader(name) => Self::RefusedHeader(name),
        }
    }
}

/// The device that an assertion claims to come from, to load its keys by. Nothing is believed yet.
pub fn peek_device(jws: &str) -> Result<DeviceId, AssertionError> {
    let compact = Compact::parse(jws)?;
    algorithm(&compact)?;
    device(&compact.claims()?)
}

/// Believes `jws` if one of `keys`, the trusted keys of the device it names, signed it for one of
/// `audiences` and its times fit `now`.
pub fn verify_assertion(
    jws: &str,
    keys: &[TrustedKey],
    audiences: &[&str],
    now: OffsetDateTime,
) -> Result<Assertion, AssertionError> {
    let compact = Compact::parse(jws)?;
    let algorithm = algorithm(&compact)?;
    let signed_by = |key: &&TrustedKey| key.verifies(algorithm, compact.signed(), compact.signature());
    let key = keys.iter().find(signed_by).ok_or(AssertionError::Signature)?;

    let claims = compact.claims()?;
    let device = device(&claims)?;
    if !jws::is_for(&claims, audiences) {
        return Err(AssertionError::Audience);
    }
    let expires_at = check_times(&claims, now)?;
    let id = text(&claims, "jti").filter(|id| is_id(id)).ok_or(AssertionError::Claim("jti"))?;
    Ok(Assertion { device, key: key.hash().clone(), id: id.to_owned(), remember_until: expires_at + LEEWAY })
}

/// Checks `iat`, `nbf` and `exp`, and gives the last.
fn check_times(claims: &Object, now: OffsetDateTime) -> Result<OffsetDateTime, AssertionError> {
    let date = |claim| jws::numeric_date(claims, claim).ok_or(AssertionError::Claim(claim));
    let not_ahead = |claim, time: OffsetDateTime| {
        let ahead = time - now;
        let seconds = ahead.whole_seconds();
        if ahead > LEEWAY { Err(AssertionError::Ahead { claim, seconds }) } else { Ok(()) }
    };
    let (issued_at, expires_at) = (date("iat")?, date("exp")?);
    let life = expires_at - issued_at;
    if !life.is_positive() || life > LONGEST_LIFE {
        return Err(AssertionError::Life);
    }
    not_ahead("iat", issued_at)?;
    if claims.contains_key("nbf") {
        not_ahead("nbf", date("nbf")?)?;
    }
    let late = now - expires_at;
    if late >= LEEWAY {
        return Err(AssertionError::Expired { seconds: late.whole_seconds() });
    }
    Ok(expires_at)
}

fn algorithm(compact: &Compact<'_>) -> Result<Algorithm, AssertionError> {
    compact.header("alg").and_then(Algorithm::named).ok_or(AssertionError::Algorithm)
}

fn device(claims: &Object) -> Result<DeviceId, AssertionError> {
    let (iss, sub) = (text(claims, "iss"), text(claims, "sub"));
    // A UUID has other spellings (braces, without dashes); a device's id has this one.
    let id = sub.filter(|sub| iss == Some(*sub) && sub.len() == UUID_LENGTH);
    id.and_then(|id| id.parse().ok()).ok_or(AssertionError::Device)
}

fn text<'a>(claims: &'a Object, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.chars().count()) && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests;
