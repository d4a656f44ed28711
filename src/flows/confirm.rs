//! The confirm code: typed where the flow was started, it proves that who consented is who asked.

use super::Broker;
use crate::{
    domain::{
        ids::{FlowId, SlotAddress},
        metric,
        secret::ConfirmCode,
    },
    store::{Confirmation, StoreError, Stored},
};

/// Why a flow was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// The code is wrong; this many tries are left.
    #[error("the code is wrong")]
    WrongCode {
        /// Tries that are left.
        tries_left: i16,
    },
    /// Nothing waits for a code there.
    #[error("the flow does not wait for a code")]
    NotWaiting,
    /// The store failed.
    #[error("the flow could not be confirmed")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Puts the staged tokens in use if the code is right. The fifth wrong one ends the flow.
    pub async fn confirm(
        &self,
        address: &SlotAddress,
        flow: FlowId,
        given: &ConfirmCode,
    ) -> Result<(), ConfirmError> {
        let now = self.now();
        let (code, tries_left) = match self.store.try_confirm_code(flow, address, now).await? {
            Confirmation::Try { code, tries_left } => (code, tries_left),
            Confirmation::NotWaiting => return Err(ConfirmError::NotWaiting),
        };
        if code != *given {
            if tries_left == 0 {
                self.store.fail_confirmation(flow, now).await?;
                metrics::counter!(metric::FLOWS, "end" => "wrong_code").increment(1);
                tracing::warn!(%flow, slot = %address, "flow ended by wrong codes");
            }
            return Err(ConfirmError::WrongCode { tries_left });
        }
        match self.store.store_confirmed(flow, address, now).await? {
            Stored::Linked(version) => {
                self.bus.knock(address);
                metrics::counter!(metric::FLOWS, "end" => "linked").increment(1);
                tracing::info!(%flow, slot = %address, %version, "confirmed and linked");
                Ok(())
            }
            Stored::LeaseLost => Err(ConfirmError::NotWaiting),
        }
    }
}
