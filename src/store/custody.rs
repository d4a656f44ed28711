//! What a change of custody does to a slot's tokens.

use super::{StoreError, connections::Transaction};
use crate::domain::ids::SlotAddress;

/// Has tokens that the broker holds told anew, and the user of a slot asked whose plugin has them, as a part of the
/// transaction that changed the slot. A statement of its own: the slot is held by then, so what an acknowledgement
/// erased is gone.
pub(super) async fn change_hands(
    transaction: &mut Transaction,
    address: &SlotAddress,
) -> Result<(), StoreError> {
    sqlx::query!(
                "-- change_hands
                with held as (select exists (select 1 from grants where device = $1 and slot = $2) as tokens)
                update slots set tokens_version = case when held.tokens then version else tokens_version end,
                    status = case when status = 'linked' and not held.tokens then 'reauthorize' else status end,
                    reason = case when status = 'linked' and not held.tokens then 'custody_changed' else reason end,
                    link_version = case when status = 'linked' and not held.tokens then version else link_version end
                from held where device = $1 and name = $2",
        address.device.0,
        address.slot.as_str()
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
