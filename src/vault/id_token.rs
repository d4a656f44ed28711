//! ID tokens of an OpenID provider (OpenID Connect Core §3.1.3.7): believed only with a key of the provider's own set,
//! an allowed algorithm, and every claim that ties the token to this provider, this service and this request.

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::{
    jws::{self, Compact, JwsError},
    trusted::{Algorithm, TrustedKey},
};
use crate::domain::{json::Object, openid::OpenIdAccount, secret::Nonce};

/// Keys of a set that are looked at.
const MOST_KEYS: usize = 64;
/// How far the provider's clock may differ.
const SKEW: Duration = Duration::minutes(2);
/// How old a token may be that was just fetched.
const OLDEST: Duration = Duration::minutes(10);

/// The keys that a provider signs with.
#[derive(Debug, Clone, Default)]
pub struct IdTokenKeys(Vec<IdTokenKey>);

#[derive(Debug, Clone)]
struct IdTokenKey {
    kid: Option<String>,
    alg: Option<String>,
    key: TrustedKey,
}

/// What a token must be about.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// `iss`, compared as plain text.
    pub issuer: &'a str,
    /// `aud`.
    pub client_id: &'a str,
    /// `nonce`.
    pub nonce: &'a Nonce,
}

/// Why an ID token is not believed. None holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// No compact JWS of two JSON objects, or one that brings its own key.
    #[error("the ID token is no JSON Web Token that is read here")]
    Malformed,
    /// Another algorithm, `none` and those of shared secrets included.
    #[error("the ID token is not signed with RS256, PS256, ES256 or EdDSA")]
    Algorithm,
    /// Another kind of token.
    #[error("this is no ID token")]
    Type,
    /// The provider's set has no such key: it may have been replaced.
    #[error("the provider's key set has no key of this name")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the ID token's signature is wrong")]
    Signature,
    /// A claim is missing, or not what it must be.
    #[error("the ID token's claim {0} is missing, or not what it must be")]
    Claim(&'static str),
}

impl From<JwsError> for IdTokenError {
    fn from(_: JwsError) -> Self {
        Self::Malformed
    }
}

impl IdTokenKeys {
    /// Reads a JWK set (RFC 7517 §5); keys that sign nothing we take are left out.
    pub fn parse(set: &Object) -> Option<Self> {
        let keys = set.get("keys")?.as_array()?.iter().take(MOST_KEYS).filter_map(|jwk| {
            let jwk = jwk.as_object()?;
            let text = |name: &str| jwk.get(name).and_then(Value::as_str).map(str::to_owned);
            let signs = text("use").is_none_or(|usage| usage == "sig");
            let key = TrustedKey::from_jwk(jwk).ok().filter(|_| signs)?;
            Some(IdTokenKey { kid: text("kid"), alg: text("alg"), key })
        });
        Some(Self(keys.collect()))
    }

    /// Believes an ID token, or says why not.
    pub fn verify(
        &self,
        token: &str,
        expected: Expected<'_>,
        now: OffsetDateTime,
    ) -> Result<OpenIdAccount, IdTokenError> {
        let compact = Compact::parse(token)?;
        let name = compact.header("alg").ok_or(IdTokenError::Algorithm)?;
        let algorithm = Algorithm::named(name).ok_or(IdTokenError::Algorithm)?;
        if compact.header("typ").is_some_and(|kind| !kind.eq_ignore_ascii_case("JWT")) {
            return Err(IdTokenError::Type);
        }
        let kid = compact.header("kid");
        let mut named = self.0.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid).peekable();
        if named.peek().is_none() {
            return Err(IdTokenError::UnknownKey);
        }
        let mut fit = named.filter(|key| key.alg.as_deref().is_none_or(|alg| alg == name));
        if !fit.any(|key| key.key.verifies(algorithm, compact.signed(), compact.signature())) {
            return Err(IdTokenError::Signature);
        }
        account(&compact.claims()?, expected, now)
    }
}

fn account(
    claims: &Object,
    expected: Expected<'_>,
    now: OffsetDateTime,
) -> Result<OpenIdAccount, IdTokenError> {
    let text = |name: &'static str| claims.get(name).and_then(Value::as_str);
    let demand = |holds: bool, name| if holds { Ok(()) } else { Err(IdTokenError::Claim(name)) };
    demand(text("iss") == Some(expected.issuer), "iss")?;
    demand(jws::is_for(claims, &[expected.client_id]), "aud")?;
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|list| list.len() > 1);
    let party = claims.get("azp").map_or(!several, |party| party == expected.client_id);
    demand(party, "azp")?;
    demand(text("nonce").map(Nonce::new).as_ref() == Some(expected.nonce), "nonce")?;
    let date = |name| jws::numeric_date(claims, name);
    demand(date("exp").is_some_and(|exp| exp > now - SKEW), "exp")?;
    demand(date("iat").is_some_and(|iat| iat <= now + SKEW && iat >= now - OLDEST), "iat")?;
    demand(claims.get("nbf").is_none() || date("nbf").is_some_and(|nbf| nbf <= now + SKEW), "nbf")?;
    let subject =
        text("sub").filter(|sub| (1..=255).contains(&sub.len())).ok_or(IdTokenError::Claim("sub"))?;
    Ok(OpenIdAccount { subject: subject.to_owned(), verified_email: verified_email(claims) })
}

/// The `email` of claims that also say that it was verified (OpenID Connect Core §5.1).
pub fn verified_email(claims: &Object) -> Option<String> {
    let verified = claims.get("email_verified") == Some(&Value::Bool(true));
    claims.get("email").and_then(Value::as_str).filter(|_| verified).map(str::to_owned)
}

#[cfg(test)]
mod tests;
