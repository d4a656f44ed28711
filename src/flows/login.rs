//! Logins by password, and changing it.
//!
//! A try is counted before the password is looked at, known device or not, and costs one hash either way, so
//! neither the answer nor its time tells whether a device exists (I03, I04). Whose tries are counted together
//! stands in `store/logins.rs`. What a password earns names no topic: it can't hear, speak or read for any slot.

use time::Duration;

use super::{
    Broker,
    access::{Grant, Issued, REVOCATION_MARGIN},
};
use crate::{
    domain::{
        audit::{Action, Actor, Origin},
        binding::ClientNetwork,
        ids::DeviceId,
        secret::Password,
        topic::Topics,
    },
    store::{ChangePassword, Door, LoggedIn, LoginTry, NewAudit, NewPasswordHash, PasswordReach, StoreError},
    vault::{
        access_token::{Credential, Subject},
        password::{HashingError, PasswordHash, Verdict},
        policy::{NewPassword, PasswordRefused},
    },
};

/// Why a password proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The name, the device or the password is wrong.
    #[error("the login is wrong")]
    Wrong,
    /// Too many were wrong before: nothing was looked at.
    #[error("too many passwords were wrong")]
    Wait(Duration),
    /// The password could not be compared.
    #[error("the password could not be checked")]
    Hash(#[from] HashingError),
    /// The store failed.
    #[error("the try could not be recorded")]
    Store(#[from] StoreError),
}

/// Why a login by password earned no token.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The password proves nothing.
    #[error("the password proves nothing")]
    Password(#[from] PasswordError),
    /// The signing keys were not read yet.
    #[error("the signing keys are not loaded yet")]
    NotReady,
    /// The store failed.
    #[error("the login could not be recorded")]
    Store(#[from] StoreError),
}

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordChangeError {
    /// There is no such device.
    #[error("there is no such device")]
    UnknownDevice,
    /// The old password proves nothing, or somebody else changed it meanwhile.
    #[error("the old password proves nothing")]
    Old(#[from] PasswordError),
    /// The new password is no good one.
    #[error("the new password was refused")]
    Refused(#[source] PasswordRefused),
    /// The new password could not be hashed.
    #[error("the new password could not be hashed")]
    Hash(#[from] HashingError),
    /// The store failed.
    #[error("the password could not be stored")]
    Store(#[from] StoreError),
}

/// How somebody shows that they may change a device's password.
#[derive(Debug)]
pub enum Entitlement {
    /// They know the old one.
    OldPassword(Password),
    /// They are the owner, who may set a new one where the old one was lost.
    Owner,
}

/// A password that turned out right.
struct Proven {
    hash: PasswordHash,
    door: Door,
}

impl Broker {
    /// The owner's login for a token.
    pub async fn login_owner(
        &self,
        user: &str,
        password: &Password,
        network: ClientNetwork,
    ) -> Result<Issued, LoginError> {
        let now = self.now();
        if !self.access.is_owner(user, password) {
            self.record_wrong_owner(network).await?;
            return Err(PasswordError::Wrong.into());
        }
        let by = Origin::of(Actor::Owner, network);
        let login = NewAudit { by: &by, action: Action::OwnerLogin, subject: None };
        self.store.put_audit(&login, now).await?;
        let grant = Grant {
            subject: Subject::Owner,
            scope: "owner".to_owned(),
            topics: Topics::default(),
            obtained_with: Credential::Password,
            issued_after: 0,
        };
        self.issue(grant, now).ok_or(LoginError::NotReady)
    }

    /// Records that somebody failed to be the owner.
    pub async fn record_wrong_owner(&self, network: ClientNetwork) -> Result<(), StoreError> {
        let by = Origin::of(Actor::Anyone, network);
        let failure = NewAudit { by: &by, action: Action::OwnerLoginFailed, subject: None };
        self.store.put_audit(&failure, self.now()).await
    }

    /// A device's login by password, for its name, its password and its trusted keys alone.
    pub async fn login_device(
        &self,
        device: DeviceId,
        password: Password,
        network: ClientNetwork,
    ) -> Result<Issued, LoginError> {
        let issued_after = self.prove_login(device, password, network).await?;
        let grant = Grant {
            subject: Subject::Device(device),
            scope: "account".to_owned(),
            topics: Topics::default(),
            obtained_with: Credential::Password,
            issued_after,
        };
        self.issue(grant, self.now()).ok_or(LoginError::NotReady)
    }

    /// Records a login with a device's right password: the number of the device's newest revocation then.
    pub(super) async fn prove_login(
        &self,
        device: DeviceId,
        password: Password,
        network: ClientNetwork,
    ) -> Result<i64, PasswordError> {
        let proven = self.prove(device, password, &Origin::of(Actor::Anyone, network)).await?;
        let (by, now) = (Origin::of(Actor::Device(device), network), self.now());
        match self.store.record_login(device, &proven.hash, &proven.door, &by, now).await? {
            LoggedIn::Yes { newest_revocation } => Ok(newest_revocation),
            LoggedIn::Superseded => Err(PasswordError::Wrong),
        }
    }

    /// Changes a device's password. The tokens that a password obtained end within five seconds on every replica;
    /// with [`PasswordReach::Everything`] so do all others, and no key is trusted any more.
    pub async fn change_password(
        &self,
        device: DeviceId,
        entitlement: Entitlement,
        new: Password,
        reach: PasswordReach,
        by: &Origin,
    ) -> Result<(), PasswordChangeError> {
        let row = self.store.find_device(device).await?.ok_or(PasswordChangeError::UnknownDevice)?;
        let new = NewPassword::choose(new, &row.name).map_err(PasswordChangeError::Refused)?;
        let old = match entitlement {
            Entitlement::OldPassword(old) => self.prove(device, old, by).await?.hash,
            Entitlement::Owner => {
                self.store.find_password(device).await?.ok_or(PasswordChangeError::UnknownDevice)?
            }
        };
        let hash = self.passwords.hash(new, self.entropy()).await?;
        let now = self.now();
        let forget_at = now + self.settings.access_token_life + REVOCATION_MARGIN;
        let change = NewPasswordHash { old: &old, new: &hash, reach };
        match self.store.change_password(device, &change, by, now, forget_at).await? {
            ChangePassword::Changed => {
                self.refresh_access().await?;
                tracing::info!(%device, ?reach, "password changed");
                Ok(())
            }
            ChangePassword::Superseded => Err(PasswordError::Wrong.into()),
        }
    }

    async fn prove(
        &self,
        device: DeviceId,
        presented: Password,
        by: &Origin,
    ) -> Result<Proven, PasswordError> {
        let now = self.now();
        let (door, stored) = match self.store.try_login(device, by, now).await? {
            LoginTry::Counted { door, stored } => (door, stored),
            LoginTry::WaitUntil(until) => return Err(PasswordError::Wait(until - now)),
        };
        let compared = match stored.clone() {
            Some(hash) => self.passwords.verify(presented, hash).await,
            None => self.passwords.verify_nobody(presented).await,
        };
        match (compared, stored) {
            (Ok(Verdict::Right), Some(hash)) => Ok(Proven { hash, door }),
            (Ok(Verdict::Right | Verdict::Wrong), _) => {
                let subject = format!("device:{device}");
                let failure = NewAudit { by, action: Action::DeviceLoginFailed, subject: Some(&subject) };
                self.store.put_audit(&failure, self.now()).await?;
                Err(PasswordError::Wrong)
            }
            (Err(error), _) => {
                self.store.forgive_login(device, &door, now).await?;
                Err(error.into())
            }
        }
    }
}
