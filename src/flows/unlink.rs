//! Unlinking: the person, or the owner, takes the account away from a slot.

use super::Broker;
use crate::{
    domain::{audit::Origin, ids::SlotAddress},
    store::{StoreError, Unlinked},
};

impl Broker {
    /// Erases a slot's tokens and ends its flows; its plugin is told. A slot that is not linked stays as it is.
    /// Where its provider has an endpoint for that, what the broker held is revoked there afterwards.
    pub async fn unlink(&self, address: &SlotAddress, by: &Origin) -> Result<Unlinked, StoreError> {
        let fresh = self.draw_credentials().handle;
        let unlinked = self.store.unlink_slot(address, &fresh, by, self.now()).await?;
        if let Unlinked::Erased(version) = unlinked {
            self.bus.knock(address);
            self.revoke_soon();
            tracing::info!(slot = %address, %version, "unlinked");
        }
        Ok(unlinked)
    }
}
