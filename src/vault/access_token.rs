//! cloudlink's own access tokens: JWTs (RFC 7519) of the type `at+jwt` (RFC 9068), signed with
//! Ed25519.
//!
//! [`Verifier::verify`] believes a token only with that algorithm and type, a known and current key, this
//! broker as issuer and audience, and `nbf`, `exp` on the right sides of the `now` it is given (I08). It
//! does not know what was revoked: the claims name what the token was obtained with ([`Credential`]), and
//! the caller asks the store whether that still stands.

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    jws::{self, Compact, JwsError},
    signing::{SigningKey, VerifyingKey},
};
use crate::domain::{
    ids::{DeviceId, KeyHash},
    json::Object,
    secret::BearerToken,
    topic::{TopicFilter, Topics},
};

const TYPE: &str = "at+jwt";
const ALGORITHM: &str = "EdDSA";
/// The `sub` of the owner; a device's is its UUID.
const OWNER: &str = "owner";
/// How far the clock of the replica that signed may be ahead of the one that verifies.
const REPLICA_SKEW: Duration = Duration::seconds(10);

/// Who a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The owner of this broker.
    Owner,
    /// A device.
    Device(DeviceId),
}

/// What a token was obtained with; it ends with that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A password, the owner's or the device's.
    Password,
    /// A trusted key of the device.
    TrustedKey(KeyHash),
    /// A grant of `cloudlink login` (RFC 8628, RFC 8252), by its id.
    Login(Uuid),
}

/// What a token says. `iss` and `aud` are the broker's own and belong to [`Signer`] and [`Verifier`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessClaims {
    /// `sub`.
    pub subject: Subject,
    /// `iat` and `nbf`, to the second.
    pub issued_at: OffsetDateTime,
    /// `exp`, to the second.
    pub expires_at: OffsetDateTime,
    /// `jti`.
    pub id: Uuid,
    /// `scope`, as RFC 6749 §3.3 writes it; may be empty.
    pub scope: String,
    /// `subs` and `publ`.
    pub topics: Topics,
    /// `key`, `login`, or neither for a password.
    pub obtained_with: Credential,
    /// `rev`, left out where it is 0: the number of the device's newest revocation when this was issued. Those that
    /// came later void it; clocks that differ, and two events in one second, change nothing about that.
    pub issued_after: i64,
}

/// Why a token is not believed. All are 401 to the caller; none holds any of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Over 8 KiB.
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// No compact JWS of two JSON objects.
    #[error("this is no JSON Web Token")]
    Malformed,
    /// A header that brings or fetches a key, or that we would have to understand.
    #[error("the token's header must not have the member {0}")]
    RefusedHeader(&'static str),
    /// Another algorithm, `none` included.
    #[error("the token is not signed with EdDSA")]
    Algorithm,
    /// Not an access token.
    #[error("the token is not of the type at+jwt")]
    Type,
    /// No `kid`, or that of a key that this broker does not have or has retired.
    #[error("the token's key is not one of this broker's, or has been retired: log in again")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature is wrong")]
    Signature,
    /// From another broker.
    #[error("the token was issued by another broker")]
    Issuer,
    /// For another broker.
    #[error("the token is meant for another broker")]
    Audience,
    /// Too early.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Too late.
    #[error("the token has expired: log in again")]
    Expired,
    /// A claim is missing or has another form.
    #[error("the token's claim {0} is missing or has another form than expected")]
    Claim(&'static str),
}

impl From<JwsError> for TokenError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::TooLong => Self::TooLong,
            JwsError::Malformed => Self::Malformed,
            JwsError::RefusedHeader(name) => Self::RefusedHeader(name),
        }
    }
}

/// Signs access tokens with one key, as `issuer`.
#[derive(Debug)]
pub struct Signer {
    key: SigningKey,
    issuer: String,
}

impl Signer {
    /// Signs with `key`; `issuer` is `server.public_url`.
    pub fn new(key: SigningKey, issuer: impl Into<String>) -> Self {
        Self { key, issuer: issuer.into() }
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Signs `claims`.
    pub fn mint(&self, claims: &AccessClaims) -> BearerToken {
        let header = json!({"alg": ALGORITHM, "typ": TYPE, "kid": self.key.kid().as_str()});
        let sub = match claims.subject {
            Subject::Owner => OWNER.to_owned(),
            Subject::Device(device) => device.to_string(),
        };
        let mut payload = json!({
            "iss": self.issuer,
            "sub": sub,
            "aud": self.issuer,
            "iat": claims.issued_at.unix_timestamp(),
            "nbf": claims.issued_at.unix_timestamp(),
            "exp": claims.expires_at.unix_timestamp(),
            "jti": claims.id,
            "scope": claims.scope,
            "subs": claims.topics.subs,
            "publ": claims.topics.publ,
        });
        let obtained_with = match &claims.obtained_with {
            Credential::Password => None,
            Credential::TrustedKey(hash) => Some(("key", hash.0.clone())),
            Credential::Login(id) => Some(("login", id.to_string())),
        };
        if let (Some((name, value)), Some(payload)) = (obtained_with, payload.as_object_mut()) {
            payload.insert(name.to_owned(), value.into());
        }
        if let (1.., Some(payload)) = (claims.issued_after, payload.as_object_mut()) {
            payload.insert("rev".to_owned(), claims.issued_after.into());
        }
        BearerToken::new(jws::sign(&header, &payload, |signed| self.key.sign(signed)))
    }
}

/// Believes access tokens signed with any of its keys.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    keys: Vec<VerifyingKey>,
}

impl Verifier {
    /// Believes tokens of `keys`.
    pub fn new(keys: Vec<VerifyingKey>) -> Self {
        Self { keys }
    }

    /// The keys that are believed at `now`, for `/.well-known/jwks.json`.
    pub fn keys(&self, now: OffsetDateTime) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter().filter(move |key| key.is_current(now))
    }

    /// Reads `token`; `issuer` is `server.public_url`.
    pub fn verify(&self, token: &str, now: OffsetDateTime, issuer: &str) -> Result<AccessClaims, TokenError> {
        let compact = Compact::parse(token)?;
        if compact.header("alg") != Some(ALGORITHM) {
            return Err(TokenError::Algorithm);
        }
        if compact.header("typ") != Some(TYPE) {
            return Err(TokenError::Type);
        }
        let kid = compact.header("kid").ok_or(TokenError::UnknownKey)?;
        let key = self.keys(now).find(|key| key.kid().as_str() == kid).ok_or(TokenError::UnknownKey)?;
        if !key.verifies(compact.signed(), compact.signature()) {
            return Err(TokenError::Signature);
        }
        read(&compact.claims()?, now, issuer)
    }
}

/// The `kid` of a token. That it is signed with this key is known once [`Verifier::verify`] believed it.
pub fn key_named_by(token: &str) -> Option<String> {
    Compact::parse(token).ok()?.header("kid").map(str::to_owned)
}

fn read(claims: &Object, now: OffsetDateTime, issuer: &str) -> Result<AccessClaims, TokenError> {
    if text(claims, "iss")? != issuer {
        return Err(TokenError::Issuer);
    }
    if !jws::is_for(claims, &[issuer]) {
        return Err(TokenError::Audience);
    }
    let expires_at = date(claims, "exp")?;
    if now >= expires_at {
        return Err(TokenError::Expired);
    }
    if date(claims, "nbf")? > now + REPLICA_SKEW {
        return Err(TokenError::NotYetValid);
    }
    let subject = match text(claims, "sub")? {
        OWNER => Subject::Owner,
        device => Subject::Device(device.parse().map_err(|_| TokenError::Claim("sub"))?),
    };
    let obtained_with = match (claims.get("key"), claims.get("login")) {
        (None, None) => Credential::Password,
        (Some(_), None) => Credential::TrustedKey(KeyHash(text(claims, "key")?.to_owned())),
        (None, Some(_)) => Credential::Login(id(claims, "login")?),
        (Some(_), Some(_)) => return Err(TokenError::Claim("key")),
    };
    Ok(AccessClaims {
        subject,
        issued_at: date(claims, "iat")?,
        expires_at,
        id: id(claims, "jti")?,
        scope: text(claims, "scope")?.to_owned(),
        topics: Topics { subs: filters(claims, "subs")?, publ: filters(claims, "publ")? },
        obtained_with,
        issued_after: match claims.get("rev") {
            None => 0,
            Some(number) => number.as_i64().ok_or(TokenError::Claim("rev"))?,
        },
    })
}

fn text<'a>(claims: &'a Object, name: &'static str) -> Result<&'a str, TokenError> {
    claims.get(name).and_then(Value::as_str).ok_or(TokenError::Claim(name))
}

fn date(claims: &Object, name: &'static str) -> Result<OffsetDateTime, TokenError> {
    jws::numeric_date(claims, name).ok_or(TokenError::Claim(name))
}

fn id(claims: &Object, name: &'static str) -> Result<Uuid, TokenError> {
    text(claims, name)?.parse().map_err(|_| TokenError::Claim(name))
}

fn filters(claims: &Object, name: &'static str) -> Result<Vec<TopicFilter>, TokenError> {
    let list = claims.get(name).and_then(Value::as_array).ok_or(TokenError::Claim(name))?;
    let filter = |value: &Value| value.as_str().map(|text| TopicFilter(text.to_owned()));
    list.iter().map(filter).collect::<Option<_>>().ok_or(TokenError::Claim(name))
}

#[cfg(test)]
mod tests;
