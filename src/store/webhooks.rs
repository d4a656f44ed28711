//! What web services must prove to reach a slot's plugin.

use time::OffsetDateTime;

use super::{Column, Store, StoreError, column, slots::subject};
use crate::domain::{
    audit::{Action, Origin},
    ids::SlotAddress,
    webhook::Webhook,
};

const WEBHOOK: Column = column!("slots", "webhook");

impl Store {
    /// What holds for a slot's webhook, where there is such a slot.
    pub async fn find_webhook(&self, address: &SlotAddress) -> Result<Option<Webhook>, StoreError> {
        let row = sqlx::query_scalar!(
            "-- find_webhook\nselect webhook from slots where device = $1 and name = $2",
            address.device.0,
            address.slot.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(sealed) = row else { return Ok(None) };
        let Some(sealed) = sealed else { return Ok(Some(Webhook::default())) };
        let plaintext = self.open(WEBHOOK, &address.to_string(), &sealed)?;
        let webhook = Webhook::from_plaintext(&plaintext);
        webhook.map(Some).map_err(|_| StoreError::Row { column: WEBHOOK.name })
    }

    /// Stores what holds from now on; without one, what holds by default. Whether there is such a slot.
    pub async fn put_webhook(
        &self,
        address: &SlotAddress,
        webhook: Option<&Webhook>,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let place = address.to_string();
        let done = sqlx::query!(
            "-- put_webhook
            with changed as (update slots set webhook = $3 where device = $1 and name = $2 returning name)
            insert into audit (at, actor, address, action, subject) select $4, $5, $6, $7, $8 from changed",
            address.device.0,
            address.slot.as_str(),
            webhook.map(|webhook| self.seal(WEBHOOK, &place, &webhook.to_plaintext())),
            now,
            by.actor.to_string(),
            by.address(),
            Action::WebhookChanged.as_str(),
            subject(address)
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
