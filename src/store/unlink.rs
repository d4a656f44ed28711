//! Unlinking a slot: its tokens go, and so do the flows that would bring new ones.

use time::OffsetDateTime;

use super::{
    Store, StoreError,
    audit::{NewAudit, put_audit},
    connections::Transaction,
    slots::{HANDLE, handle_hash, subject},
};
use crate::domain::{
    audit::{Action, Actor, Origin},
    flow::FlowError,
    ids::{SlotAddress, Version},
    secret::RefreshHandle,
    slot::SlotStatus,
};

/// What became of unlinking a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlinked {
    /// Its tokens are erased; this is the slot's new version.
    Erased(Version),
    /// It was not linked: nothing changed.
    Already,
    /// There is no such slot.
    UnknownSlot,
}

impl Store {
    /// Erases a slot's tokens and ends its flows, in one transaction. Holding the slot first lets an exchange that
    /// is about to store its tokens come before, and lose them here, or find its flow ended. The plugin's handle is
    /// replaced by `fresh`: the old one ends with the link.
    pub async fn unlink_slot(
        &self,
        address: &SlotAddress,
        fresh: &RefreshHandle,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<Unlinked, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let Some(status) = hold_slot(&mut transaction, address).await? else {
            return Ok(Unlinked::UnknownSlot);
        };
        if status == SlotStatus::Unlinked.as_str() {
            return Ok(Unlinked::Already);
        }
        self.revoke_grants_of(&mut transaction, address.device, Some(&address.slot), now).await?;
        let version = sqlx::query_scalar!(
            "-- unlink_slot
            with gone as (delete from grants where device = $1 and slot = $2)
            update slots set status = 'unlinked', reason = null, version = version + 1, link_version = version + 1,
                tokens_version = version + 1, handle = $3, handle_hash = $4
            where device = $1 and name = $2
            returning version",
            address.device.0,
            address.slot.as_str(),
            self.seal(HANDLE, &address.to_string(), fresh.expose().as_bytes()),
            handle_hash(fresh).to_vec()
        )
        .fetch_one(&mut *transaction)
        .await?;
        end_flows_of_slot(&mut transaction, address, now).await?;
        let done = NewAudit { by, action: Action::SlotUnlinked, subject: Some(&subject(address)) };
        put_audit(&mut *transaction, &done, now).await?;
        transaction.commit().await?;
        Ok(Unlinked::Erased(Version(version)))
    }
}

/// Holds a slot until the end of the transaction: nobody adds tokens meanwhile. Its status, where there is one.
pub(super) async fn hold_slot(
    transaction: &mut Transaction,
    address: &SlotAddress,
) -> Result<Option<String>, StoreError> {
    let status = sqlx::query_scalar!(
        "-- hold_slot\nselect status from slots where device = $1 and name = $2 for update",
        address.device.0,
        address.slot.as_str()
    )
    .fetch_optional(&mut **transaction)
    .await?;
    Ok(status)
}

/// Ends the flows of a slot that is held, as a part of a transaction: none may bring tokens any more.
pub(super) async fn end_flows_of_slot(
    transaction: &mut Transaction,
    address: &SlotAddress,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- end_flows_of_slot
        with ended as (
            update flows set status = 'failed', error = $4, finished_at = $3, callback = null,
                exchange_started_at = null, verifier = null, staged = null, confirm_code = null
            where device = $1 and slot = $2
              and status in ('pending', 'authorizing', 'exchanging', 'confirm')
            returning browser_network)
        insert into audit (at, actor, address, action, subject, detail)
        select $3, $5, browser_network, $6, $7, $4 from ended",
        address.device.0,
        address.slot.as_str(),
        now,
        FlowError::ExchangeFailed.as_str(),
        Actor::Broker.to_string(),
        Action::FlowFailed.as_str(),
        subject(address)
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
