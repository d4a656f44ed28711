//! Rotating the vault key: sealing anew, with the first key, all that another one sealed.
//!
//! It goes over the sealed columns batch by batch, and over all of them again until a pass finds nothing more to do:
//! values that somebody wrote at the same moment are met again in the next pass. Killed anywhere, it has left
//! whole values under one key or the other; started again, it goes on with what is left.

use std::{collections::BTreeMap, time::Duration};

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        audit::{Actor, Origin},
        clock::Clock,
    },
    store::{ResealedBatch, SchemaError, SealedColumn, SealedCount, SigningKeyDates, Store, StoreError},
    vault::envelope::KeyId,
};

/// Passes over everything. One does the work; a second finds what was written meanwhile.
const PASSES: usize = 5;
/// For one batch: a writer that holds its row longer than this is stuck.
const BATCH_PATIENCE: Duration = Duration::from_mins(1);

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resealing {
    /// So many values have another key than the first.
    Found(u64),
    /// So many values more of a column have the first key now.
    Resealed(SealedColumn, u64),
}

/// How a rotation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Resealed {
    /// Everything has the first key: the others can go.
    Whole,
    /// It was told to stop.
    Stopped,
    /// Some values still have other keys: those can't be opened, or somebody goes on sealing with an older key.
    Left(Vec<SealedCount>),
}

/// Why a rotation could not go on; what was done stays done.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// It must not begin.
    #[error(transparent)]
    Refused(#[from] SchemaError),
    /// The database failed.
    #[error("sealing anew failed; what was done stays done: run the command again")]
    Store(#[from] StoreError),
    /// The database did not answer in time.
    #[error(
        "the database took longer than a minute for one batch; what was done stays done: look for a transaction that \
         stays open, then run the command again"
    )]
    Stuck,
}

/// Which keys are in use, and for how much. Nothing is opened to find out.
#[derive(Debug)]
pub struct KeyStatus {
    /// The ids of `vault.keys`, the one that seals first.
    pub held: Vec<KeyId>,
    /// Values by column and key.
    pub counts: Vec<SealedCount>,
    /// The keys that sign access tokens, newest first.
    pub signing: Vec<SigningKeyDates>,
}

impl KeyStatus {
    /// Values whose key `vault.keys` lacks, or that are no sealed values.
    pub fn unreadable(&self) -> impl Iterator<Item = &SealedCount> {
        self.counts.iter().filter(|count| count.key.as_ref().is_none_or(|key| !self.held.contains(key)))
    }

    /// How many values each key sealed; keys of the ring that sealed none included.
    pub fn by_key(&self) -> BTreeMap<Option<&KeyId>, u64> {
        let mut totals: BTreeMap<_, _> = self.held.iter().map(|key| (Some(key), 0)).collect();
        for count in &self.counts {
            *totals.entry(count.key.as_ref()).or_default() += count.values;
        }
        totals
    }
}

/// Which keys are in use, and for how much.
pub async fn key_status(store: &Store, now: OffsetDateTime) -> Result<KeyStatus, StoreError> {
    Ok(KeyStatus {
        held: store.keys().cloned().collect(),
        counts: store.count_sealed().await?,
        signing: store.list_signing_key_dates(now).await?,
    })
}

/// Seals everything anew with the first key while the service goes on. Tells `watch` how far it is; ends after
/// the batch under way when `stop` is cancelled.
pub async fn reseal(
    store: &Store,
    clock: &dyn Clock,
    stop: &CancellationToken,
    watch: &mut (dyn FnMut(Resealing) + Send),
) -> Result<Resealed, ResealError> {
    store.check_resealing().await?;
    watch(Resealing::Found(otherwise_sealed(store).await?.iter().map(|count| count.values).sum()));
    for _ in 0..PASSES {
        let mut quiet = true;
        for &column in SealedColumn::ALL {
            let mut after = None;
            loop {
                if stop.is_cancelled() {
                    return Ok(Resealed::Stopped);
                }
                let batch = store.reseal_batch(column, after.as_deref());
                let batch =
                    tokio::time::timeout(BATCH_PATIENCE, batch).await.map_err(|_| ResealError::Stuck)??;
                quiet &= batch.resealed == 0 && batch.overtaken == 0;
                watch(Resealing::Resealed(column, batch.resealed));
                complain(column, &batch);
                let Some(next) = batch.next else { break };
                after = Some(next);
            }
        }
        if quiet {
            break;
        }
    }
    let left = otherwise_sealed(store).await?;
    if !left.is_empty() {
        return Ok(Resealed::Left(left));
    }
    let by = Origin { actor: Actor::Operator, network: None };
    store.finish_resealing(&by, clock.now()).await?;
    tracing::info!(key = %store.active_key(), "everything is sealed with the first vault key");
    Ok(Resealed::Whole)
}

async fn otherwise_sealed(store: &Store) -> Result<Vec<SealedCount>, StoreError> {
    let mut counts = store.count_sealed().await?;
    counts.retain(|count| count.key.as_ref() != Some(store.active_key()));
    Ok(counts)
}

fn complain(column: SealedColumn, batch: &ResealedBatch) {
    for (place, error) in &batch.unopened {
        tracing::warn!(column = column.name(), place, error = %error, "left as it is");
    }
}
