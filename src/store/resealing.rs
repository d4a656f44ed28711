//! Sealing anew: what an older vault key sealed gets the one that seals now, while everybody goes on.
//!
//! A value is replaced only if it still is the one that was opened: `reseal` is guarded by the old ciphertext, so
//! whoever wrote in between wins, and the next pass looks again. One row a statement: it holds one lock and never
//! waits with another in hand, so it can't deadlock with anyone. Versions are not raised: nothing that anyone is told has
//! changed.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use time::OffsetDateTime;

use super::{
    SchemaError, SealedColumn, SealedCount, Store, StoreError, schema,
    sealed::{SealedValue, count_sealed},
};
use crate::{
    domain::audit::{Action, Origin},
    vault::envelope::{KeyId, OpenError},
};

/// Values of one batch: each may have 64 KiB.
const BATCH: i64 = 100;
/// Updates under way at once.
const AT_ONCE: usize = 4;

/// What became of a batch.
#[derive(Debug, Default)]
pub struct ResealedBatch {
    /// Values that have the first key now.
    pub resealed: u64,
    /// Values that somebody else wrote or removed at the same time.
    pub overtaken: u64,
    /// Places whose values can't be opened, and why: they are as they were.
    pub unopened: Vec<(String, OpenError)>,
    /// Where the next batch begins; nothing after the last.
    pub next: Option<String>,
}

enum Fate {
    Resealed,
    Overtaken,
    Unopened(String, OpenError),
}

impl Store {
    /// The id of the key that seals.
    pub fn active_key(&self) -> &KeyId {
        self.ring.active()
    }

    /// The ids of all keys of the ring, the one that seals first.
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        self.ring.ids()
    }

    /// Whether the ring holds the key of that id.
    pub fn holds_key(&self, id: &KeyId) -> bool {
        self.ring.holds(id)
    }

    /// Refuses where sealing anew would harm: with a key that is not the database's of that id, or with one that no
    /// replica has been started with.
    pub async fn check_resealing(&self) -> Result<(), SchemaError> {
        schema::check_resealing(&self.pool, &self.ring).await
    }

    /// How many values each key sealed, column by column. Nothing is opened.
    pub async fn count_sealed(&self) -> Result<Vec<SealedCount>, StoreError> {
        count_sealed(&self.pool).await
    }

    /// Seals anew up to 100 values of a column behind the place `after` (nothing: from the beginning) that another key
    /// than the first sealed.
    pub async fn reseal_batch(
        &self,
        column: SealedColumn,
        after: Option<&str>,
    ) -> Result<ResealedBatch, StoreError> {
        let head = self.ring.active_head();
        let after = after.unwrap_or(column.beginning());
        let values = column.otherwise_sealed(&self.pool, after, &head, BATCH).await?;
        let full = i64::try_from(values.len()).is_ok_and(|found| found == BATCH);
        let next = values.last().filter(|_| full).map(|value| value.place.clone());
        let fates: Vec<Fate> = stream::iter(values)
            .map(|value| self.reseal(column, value))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let mut batch = ResealedBatch { next, ..ResealedBatch::default() };
        for fate in fates {
            match fate {
                Fate::Resealed => batch.resealed += 1,
                Fate::Overtaken => batch.overtaken += 1,
                Fate::Unopened(place, why) => batch.unopened.push((place, why)),
            }
        }
        Ok(batch)
    }

    async fn reseal(&self, column: SealedColumn, value: SealedValue) -> Result<Fate, StoreError> {
        let SealedValue { place, sealed } = value;
        let plaintext = match self.open(column.column(), &place, &sealed) {
            Ok(plaintext) => plaintext,
            Err(StoreError::Sealed { source, .. }) => return Ok(Fate::Unopened(place, source)),
            Err(other @ (StoreError::Database(_) | StoreError::Row { .. })) => return Err(other),
        };
        let fresh = self.seal(column.column(), &place, &plaintext);
        let replaced = column.replace(&self.pool, &place, &sealed, &fresh).await?;
        Ok(if replaced { Fate::Resealed } else { Fate::Overtaken })
    }

    /// Records that everything has the first key now, and forgets the keys that the ring does not hold.
    pub async fn finish_resealing(&self, by: &Origin, now: OffsetDateTime) -> Result<(), StoreError> {
        let held: Vec<String> = self.ring.ids().map(ToString::to_string).collect();
        sqlx::query!(
            "-- finish_resealing
            with forgotten as (delete from vault_checks where key_id <> all($1))
            insert into audit (at, actor, address, action, subject) values ($2, $3, $4, $5, $6)",
            &held,
            now,
            by.actor.to_string(),
            by.address(),
            Action::VaultKeyRotated.as_str(),
            self.ring.active().as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
