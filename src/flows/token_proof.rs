//! What is kept of an access token while something long goes on with it: enough to tell when it ends early, and none of
//! its text, which would be a secret in memory for as long, and ten times as large.

use uuid::Uuid;

use crate::{
    domain::secret::BearerToken,
    vault::access_token::{AccessClaims, Credential, Subject, key_named_by},
};

/// What ends a token early. See [`AccessControl::stands`](super::AccessControl::stands).
#[derive(Debug)]
pub struct TokenProof {
    pub(super) id: Uuid,
    pub(super) subject: Subject,
    pub(super) obtained_with: Credential,
    pub(super) issued_after: i64,
    /// The id of the key that signed it.
    pub(super) key: Box<str>,
}

impl TokenProof {
    /// Of a token that was believed, with what it said.
    pub fn of(token: &BearerToken, claims: &AccessClaims) -> Self {
        Self {
            id: claims.id,
            subject: claims.subject,
            obtained_with: claims.obtained_with.clone(),
            issued_after: claims.issued_after,
            key: key_named_by(token.expose()).unwrap_or_default().into(),
        }
    }
}
