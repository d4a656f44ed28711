//! Devices and the keys that speak for them.

use time::Duration;

use super::Broker;
use crate::{
    domain::{
        audit::Origin,
        enrolment::EnrolmentPolicy,
        ids::{DeviceId, KeyHash},
        label::Label,
        secret::{EnrolmentCode, Password},
    },
    store::{AddKey, EnrolledByCode, RemoveKey, StoreError},
    vault::{
        password::HashingError,
        policy::{NewPassword, PasswordRefused},
        trusted::TrustedKey,
    },
};

/// How long a code lets a device in.
pub const ENROLMENT_CODE_LIFE: Duration = Duration::minutes(15);

/// Why somebody may enrol a device.
#[derive(Debug, Clone)]
pub enum Admission {
    /// They are the owner.
    Owner,
    /// They have a one-time code.
    Code(EnrolmentCode),
    /// They need no reason, where the operator said so.
    Open,
}

/// Why a device was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The code is none, has run out or was spent; or there is none, and one is needed.
    #[error("the enrolment was refused")]
    Refused,
    /// The password is no good one.
    #[error("the password was refused")]
    Password(#[source] PasswordRefused),
    /// Hashing failed.
    #[error("the password could not be hashed")]
    Hash(#[from] HashingError),
    /// The store failed.
    #[error("the device could not be stored")]
    Store(#[from] StoreError),
}

/// Why a key was not trusted.
#[derive(Debug, thiserror::Error)]
pub enum AddKeyError {
    /// There is no such device.
    #[error("there is no such device")]
    UnknownDevice,
    /// The device has as many keys as it may.
    #[error("the device has too many keys")]
    TooMany,
    /// The store failed.
    #[error("the key could not be stored")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Makes a one-time code, which lets one device in within [`ENROLMENT_CODE_LIFE`].
    pub async fn make_enrolment_code(&self, by: &Origin) -> Result<EnrolmentCode, StoreError> {
        let now = self.now();
        let code = EnrolmentCode::draw(self.entropy());
        self.store.put_enrolment_code(&code, by, now, now + ENROLMENT_CODE_LIFE).await?;
        Ok(code)
    }

    /// Enrols a device. Strangers cost no hash unless they have a code.
    pub async fn enrol_device(
        &self,
        name: &Label,
        password: Password,
        admission: Admission,
        by: &Origin,
    ) -> Result<DeviceId, EnrolError> {
        let admitted = match &admission {
            Admission::Owner => true,
            Admission::Code(code) => self.store.is_enrolment_code(code, self.now()).await?,
            Admission::Open => self.settings.enrolment == EnrolmentPolicy::Open,
        };
        if !admitted {
            return Err(EnrolError::Refused);
        }
        let password = NewPassword::choose(password, name.as_str()).map_err(EnrolError::Password)?;
        let hash = self.passwords.hash(password, self.entropy()).await?;
        let (device, now) = (DeviceId::draw(self.entropy()), self.now());
        match admission {
            Admission::Owner | Admission::Open => {
                self.store.put_device(device, name.as_str(), &hash, by, now).await?;
            }
            Admission::Code(code) => {
                match self.store.enrol_by_code(&code, device, name.as_str(), &hash, by, now).await? {
                    EnrolledByCode::Yes => {}
                    EnrolledByCode::Refused => return Err(EnrolError::Refused),
                }
            }
        }
        tracing::info!(%device, "device enrolled");
        Ok(device)
    }

    /// Renames a device. Whether there is one.
    pub async fn rename_device(&self, device: DeviceId, name: &Label) -> Result<bool, StoreError> {
        self.store.rename_device(device, name.as_str()).await
    }

    /// Lets a key speak for a device.
    pub async fn add_trust(
        &self,
        device: DeviceId,
        label: &Label,
        key: &TrustedKey,
        by: &Origin,
    ) -> Result<KeyHash, AddKeyError> {
        let hash = key.hash().clone();
        let added =
            self.store.add_trusted_key(device, &hash, label.as_str(), key.spki_der(), by, self.now()).await?;
        match added {
            AddKey::Added | AddKey::Relabelled => {
                tracing::info!(%device, key = %hash, "key trusted");
                Ok(hash)
            }
            AddKey::TooMany => Err(AddKeyError::TooMany),
            AddKey::UnknownDevice => Err(AddKeyError::UnknownDevice),
        }
    }

    /// Ends the trust in a key; the tokens that it obtained end within five seconds on every replica.
    pub async fn remove_trust(
        &self,
        device: DeviceId,
        key: &KeyHash,
        by: &Origin,
    ) -> Result<RemoveKey, StoreError> {
        if !key.can_be_one() {
            return Ok(RemoveKey::UnknownKey);
        }
        let now = self.now();
        let forget_at = now + self.settings.access_token_life + super::access::REVOCATION_MARGIN;
        let removed = self.store.remove_trusted_key(device, key, by, now, forget_at).await?;
        self.refresh_access().await?;
        if removed == RemoveKey::Removed {
            tracing::info!(%device, %key, "key removed");
        }
        Ok(removed)
    }

    /// Removes a device with all that belongs to it. Whether there was one.
    pub async fn remove_device(&self, device: DeviceId, by: &Origin) -> Result<bool, StoreError> {
        let now = self.now();
        let forget_at = now + self.settings.access_token_life + super::access::REVOCATION_MARGIN;
        let removed = self.store.delete_device(device, by, now, forget_at).await?;
        self.refresh_access().await?;
        if removed {
            self.revoke_soon();
            tracing::info!(%device, "device removed");
        }
        Ok(removed)
    }
}
