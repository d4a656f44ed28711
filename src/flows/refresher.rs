//! The engine: every replica takes what is due, a bounded number at once, so that no provider holds up the others.
//!
//! It asks the database once a second what is due, and oftener only while there is more; a grant that is not due costs
//! nothing. About a quarter of its places is given to one host (a batch, which is no larger, may exceed that once),
//! and none to a host that is left alone because it does not answer (`provider/breaker.rs`): E11.

use std::{collections::HashMap, time::Duration as Period};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Broker,
    calm::Calm,
    refresh::Occasion,
    sweep::{every, report},
};
use crate::{domain::metric, store::StoreError};

/// How often it is asked what is due.
const DUE_PERIOD: Period = Period::from_secs(1);
/// How often the whole is looked at.
const WATCH_PERIOD: Period = Period::from_secs(15);
/// Refreshes leased by one statement.
const BATCH: u16 = 16;

/// What this process refreshes by itself: each with the host that it is thought to ask, nothing where none is known.
#[derive(Default)]
struct Desk {
    running: FuturesUnordered<BoxFuture<'static, String>>,
    by_host: HashMap<String, u16>,
}

impl Desk {
    fn ended(&mut self, host: &str) {
        if let Some(count) = self.by_host.get_mut(host) {
            *count = count.saturating_sub(1);
        }
        self.by_host.retain(|_, count| *count > 0);
    }

    /// Hosts that have as many as they may.
    fn full_hosts(&self, share: u16) -> Vec<String> {
        self.by_host.iter().filter(|(_, count)| **count >= share).map(|(host, _)| host.clone()).collect()
    }
}

/// Refreshes what is due until `stop` is cancelled. What is under way then is waited for by
/// [`Broker::finish_exchanges`].
pub async fn keep_tokens_fresh(broker: Broker, stop: CancellationToken) {
    let (mut due, mut watch) = (every(DUE_PERIOD), every(WATCH_PERIOD));
    let (mut desk, mut calm) = (Desk::default(), Calm::default());
    loop {
        // Whether the next look need not wait for its time: there is more, or room becomes free.
        let more = calm.lasts(&broker.store).await
            && broker.take_due_refreshes(&mut desk).await.unwrap_or_else(|error| {
                report("refreshes", Err(error));
                false
            });
        tokio::select! {
            () = stop.cancelled() => break,
            _ = due.tick() => {}
            _ = watch.tick() => report("refreshes", broker.watch_refreshes().await),
            Some(host) = desk.running.next(), if more => desk.ended(&host),
        }
        while let Some(host) = futures_util::FutureExt::now_or_never(desk.running.next()).flatten() {
            desk.ended(&host);
        }
    }
}

impl Broker {
    /// Leases and starts what is due and finds a place. Whether more is due than found one.
    async fn take_due_refreshes(&self, desk: &mut Desk) -> Result<bool, StoreError> {
        let most = self.settings.refresh_concurrency;
        let share = most.div_ceil(4);
        loop {
            let running = u16::try_from(desk.running.len()).unwrap_or(u16::MAX);
            let room = most.saturating_sub(running).min(BATCH).min(share);
            if room == 0 {
                return Ok(most > 0);
            }
            let full = desk.full_hosts(share);
            let mut busy = self.breaker.left_alone(Instant::now());
            let waits = !full.is_empty();
            busy.extend(full);
            let batch = self.store.lease_due_refreshes(&busy, room, self.now()).await?;
            let taken = batch.len();
            for leased in batch {
                let host = leased.as_ref().ok().and_then(|leased| leased.host.clone()).unwrap_or_default();
                *desk.by_host.entry(host.clone()).or_default() += 1;
                let refreshing = self.start_refresh(leased, Occasion::Due);
                desk.running.push(Box::pin(async move {
                    // A panic there was logged where it happened; the lease ends by itself.
                    let _ = refreshing.await;
                    host
                }));
            }
            if taken < usize::from(room) {
                return Ok(waits);
            }
        }
    }

    /// Counts what is due, and puts right what a wrong clock decided.
    async fn watch_refreshes(&self) -> Result<(), StoreError> {
        let now = self.now();
        let corrected = self.store.correct_refreshes_from_the_future(now).await?;
        if corrected > 0 {
            tracing::warn!(grants = corrected, "the clock went back; refreshes are scheduled anew");
        }
        let due = self.store.count_due_refreshes(now).await?;
        metrics::gauge!(metric::REFRESHES_DUE).set(f64::from(u32::try_from(due).unwrap_or(u32::MAX)));
        Ok(())
    }
}
