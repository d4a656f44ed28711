//! Trading a sign-in for its token (RFC 8628 §3.4, RFC 6749 §4.1.3), and giving a token back (RFC 7009).

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Broker,
    access::{AccessError, Grant, Issued, REVOCATION_MARGIN, random_uuid},
};
use crate::{
    domain::{
        audit::{Actor, Origin},
        binding::ClientNetwork,
        pkce::CodeChallenge,
        secret::{AuthorizationCode, BearerToken, CodeVerifier, DeviceCode},
        sign_in::{ClientId, LoginScope, LoopbackUri},
        topic::Topics,
    },
    store::{CodeUse, Earned, Polled, PresentedCode, StoreError, TokenToBe},
    vault::access_token::{Credential, Subject},
};

/// Why a sign-in earned no token, or none yet.
#[derive(Debug, thiserror::Error)]
pub enum SignInGrantError {
    /// Nobody has signed in.
    #[error("nobody has signed in yet")]
    Pending,
    /// The poll came too early.
    #[error("the poll came too early")]
    SlowDown,
    /// Nobody signed in in time.
    #[error("nobody signed in in time")]
    Expired,
    /// Nobody will sign in.
    #[error("the sign-in was denied")]
    Denied,
    /// The code is wrong, late, spent, or another client's.
    #[error("the code is not good")]
    Refused,
    /// The signing keys were not read yet.
    #[error("the signing keys are not loaded yet")]
    NotReady,
    /// The store failed.
    #[error("the token could not be issued")]
    Store(#[from] StoreError),
}

/// What became of a token that was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenBack {
    /// It was good, and is void now.
    Revoked,
    /// It was none, or over already.
    Nothing,
}

/// Why a token could not be given back.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The signing keys were not read yet.
    #[error("the signing keys are not loaded yet")]
    NotReady,
    /// The store failed.
    #[error("the token could not be revoked")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Trades a device code for a token, once somebody has signed in.
    pub async fn grant_by_device_code(
        &self,
        code: &DeviceCode,
        client: Option<&ClientId>,
    ) -> Result<Issued, SignInGrantError> {
        let (token, now) = self.token_to_be()?;
        match self.store.poll_sign_in(code, client, token, now).await? {
            Polled::Earned(earned) => self.issue_earned(&earned, token.id, now),
            Polled::Pending => Err(SignInGrantError::Pending),
            Polled::TooSoon => Err(SignInGrantError::SlowDown),
            Polled::Expired => Err(SignInGrantError::Expired),
            Polled::Denied => Err(SignInGrantError::Denied),
            Polled::Refused => Err(SignInGrantError::Refused),
        }
    }

    /// Trades an authorization code for a token.
    pub async fn grant_by_code(
        &self,
        code: &AuthorizationCode,
        redirect_uri: &LoopbackUri,
        verifier: &CodeVerifier,
        client: Option<&ClientId>,
    ) -> Result<Issued, SignInGrantError> {
        let (token, now) = self.token_to_be()?;
        let presented = PresentedCode { code, redirect_uri, challenge: &CodeChallenge::of(verifier), client };
        match self.store.redeem_code(&presented, token, now).await? {
            CodeUse::Earned(earned) => self.issue_earned(&earned, token.id, now),
            CodeUse::Refused => Err(SignInGrantError::Refused),
            CodeUse::Replayed => {
                tracing::warn!("an authorization code came a second time; the token that it earned is void");
                self.refresh_access().await?;
                Err(SignInGrantError::Refused)
            }
        }
    }

    /// Voids a token of cloudlink's own, whoever brings it and whatever it was obtained with: on every replica
    /// within five seconds, open relay connections included.
    pub async fn give_back(
        &self,
        token: &BearerToken,
        network: ClientNetwork,
    ) -> Result<GivenBack, RevokeError> {
        let now = self.now();
        let claims = match self.access.verify(token.expose(), now) {
            Ok(claims) => claims,
            Err(AccessError::NotReady) => return Err(RevokeError::NotReady),
            Err(AccessError::Token(_) | AccessError::Revoked) => return Ok(GivenBack::Nothing),
        };
        let actor = match claims.subject {
            Subject::Owner => Actor::Owner,
            Subject::Device(device) => Actor::Device(device),
        };
        let by = Origin::of(actor, network);
        self.store.revoke_token(claims.id, &by, now, claims.expires_at + REVOCATION_MARGIN).await?;
        self.refresh_access().await?;
        Ok(GivenBack::Revoked)
    }

    /// Nothing is spent before there is a key to sign with.
    fn token_to_be(&self) -> Result<(TokenToBe, OffsetDateTime), SignInGrantError> {
        if !self.access.is_ready() {
            return Err(SignInGrantError::NotReady);
        }
        let now = self.now();
        let forget_at = now + self.settings.access_token_life + REVOCATION_MARGIN;
        Ok((TokenToBe { id: random_uuid(self.entropy()), forget_at }, now))
    }

    fn issue_earned(
        &self,
        earned: &Earned,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<Issued, SignInGrantError> {
        let grant = Grant {
            subject: match earned.granted {
                LoginScope::Owner => Subject::Owner,
                LoginScope::Device(device) => Subject::Device(device),
            },
            scope: earned.granted.word().to_owned(),
            topics: Topics::default(),
            obtained_with: Credential::Login(earned.sign_in.0),
            issued_after: earned.issued_after,
        };
        tracing::info!(sign_in = %earned.sign_in, scope = earned.granted.word(), "signed in from a terminal");
        self.issue_as(id, grant, now).ok_or(SignInGrantError::NotReady)
    }
}
