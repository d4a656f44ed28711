//! What is looked at over all grants: how much is due, and what a wrong clock wrote.

use time::OffsetDateTime;

use super::{REFRESH_LEASE, Store, StoreError};
use crate::domain::refresh::plausible_until;

impl Store {
    /// How many grants are due and leased by nobody.
    pub async fn count_due_refreshes(&self, now: OffsetDateTime) -> Result<i64, StoreError> {
        let due = sqlx::query_scalar!(
            "-- count_due_refreshes\nselect count(*) as \"due!\" from grants where refresh_at <= $1",
            now
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(due)
    }

    /// What was decided by a clock that was ahead is looked at again now; who asks a provider at this moment keeps
    /// the time that it has for that. How many.
    pub async fn correct_refreshes_from_the_future(&self, now: OffsetDateTime) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "-- correct_refreshes_from_the_future
            update grants set refresh_set_at = $1::timestamptz,
                refresh_at = case when refresh_lease_until is null then $1::timestamptz else $3::timestamptz end,
                refresh_lease_until = case when refresh_lease_until is null then null else $3::timestamptz end,
                refresh_hold_until = null
            where refresh_set_at > $2 and refresh_at is not null",
            now,
            plausible_until(now),
            now + REFRESH_LEASE
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}
