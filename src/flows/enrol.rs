//! Devices and the keys that speak for them.

use super::Broker;
use crate::{
    domain::{
        ids::{DeviceId, KeyHash},
        label::Label,
        secret::Password,
    },
    store::{AddKey, RemoveKey, StoreError},
    vault::{
        password::HashingError,
        policy::{NewPassword, PasswordRefused},
        trusted::TrustedKey,
    },
};

/// Why a device was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
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
    /// Enrols a device.
    pub async fn enrol_device(&self, name: &Label, password: Password) -> Result<DeviceId, EnrolError> {
        let password = NewPassword::choose(password, name.as_str()).map_err(EnrolError::Password)?;
        let hash = self.passwords.hash(password, self.entropy()).await?;
        let device = DeviceId::draw(self.entropy());
        self.store.put_device(device, name.as_str(), &hash, self.now()).await?;
        tracing::info!(%device, "device enrolled");
        Ok(device)
    }

    /// Lets a key speak for a device.
    pub async fn add_trust(
        &self,
        device: DeviceId,
        label: &Label,
        key: &TrustedKey,
    ) -> Result<KeyHash, AddKeyError> {
        let hash = key.hash().clone();
        let added =
            self.store.add_trusted_key(device, &hash, label.as_str(), key.spki_der(), self.now()).await?;
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
    pub async fn remove_trust(&self, device: DeviceId, key: &KeyHash) -> Result<RemoveKey, StoreError> {
        let now = self.now();
        let forget_at = now + self.settings.access_token_life + super::access::REVOCATION_MARGIN;
        let removed = self.store.remove_trusted_key(device, key, now, forget_at).await?;
        self.refresh_access().await?;
        tracing::info!(%device, %key, "key removed");
        Ok(removed)
    }

    /// Removes a device with all that belongs to it. Whether there was one.
    pub async fn remove_device(&self, device: DeviceId) -> Result<bool, StoreError> {
        let now = self.now();
        let forget_at = now + self.settings.access_token_life + super::access::REVOCATION_MARGIN;
        let removed = self.store.delete_device(device, now, forget_at).await?;
        self.refresh_access().await?;
        tracing::info!(%device, "device removed");
        Ok(removed)
    }
}
