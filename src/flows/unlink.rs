//! Unlinking: the person, or the owner, takes the account away from a slot.

use super::Broker;
use crate::{
    domain::{audit::Origin, ids::SlotAddress},
    store::{StoreError, Unlinked},
};

impl Broker {
    /// Erases a slot's tokens and ends its flows; its plugin is told. A slot that is not linked stays as it is.
    /// The provider is not asked to revoke anything.
    pub async fn unlink(&self, address: &SlotAddress, by: &Origin) -> Result<Unlinked, StoreError> {
        let fresh = self.draw_credentials().handle;
        let unlinked = self.store.unlink_slot(address, &fresh, by, self.now()).await?;
        if let Unlinked::Erased(version) = unlinked {
            self.bus.knock(address);
            tracing::info!(slot = %address, %version, "unlinked");
        }
        Ok(unlinked)
    }
}
