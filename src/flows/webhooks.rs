//! What web services must prove to reach a slot's plugin.

use super::Broker;
use crate::{
    domain::{
        audit::Origin,
        ids::{DeviceId, SlotAddress},
        json::Object,
        plugin::FieldError,
        webhook::Webhook,
    },
    store::StoreError,
};

/// Why what was wanted does not hold.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is no such slot.
    #[error("there is no such slot")]
    UnknownSlot,
    /// Members that do not fit.
    #[error("some members do not fit")]
    Invalid(Vec<FieldError>),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Broker {
    /// What holds for a slot's webhook, where there is such a slot.
    pub async fn show_webhook(&self, address: &SlotAddress) -> Result<Option<Webhook>, StoreError> {
        self.store.find_webhook(address).await
    }

    /// Decides what holds from now on.
    pub async fn change_webhook(
        &self,
        address: &SlotAddress,
        wanted: &Object,
        by: &Origin,
    ) -> Result<Webhook, WebhookError> {
        let stored = self.store.find_webhook(address).await?.ok_or(WebhookError::UnknownSlot)?;
        let webhook = Webhook::read(wanted, &stored).map_err(WebhookError::Invalid)?;
        if self.store.put_webhook(address, Some(&webhook), by, self.now()).await? {
            Ok(webhook)
        } else {
            Err(WebhookError::UnknownSlot)
        }
    }

    /// Lets hold again what holds by default. Whether there is such a slot.
    pub async fn reset_webhook(&self, address: &SlotAddress, by: &Origin) -> Result<bool, StoreError> {
        self.store.put_webhook(address, None, by, self.now()).await
    }

    /// Records that a command is sent: which, by whom, to which hub; never its data.
    pub async fn record_command(
        &self,
        device: DeviceId,
        command: &'static str,
        by: &Origin,
    ) -> Result<(), StoreError> {
        tracing::info!(%device, command, actor = %by.actor, "a command is sent");
        self.store.put_audit_of_command(device, command, by, self.now()).await
    }
}
