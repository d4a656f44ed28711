//! What every replica does from time to time: read keys and revocations anew, take over what dead replicas left
//! behind, end what ran out, forget what is of no use. It takes no input but the present; replicas may do it at
//! once, since every step is a guarded update.

use std::time::Duration as Period;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{
    Broker,
    calm::Calm,
    reap::{forget_slowly, horizons},
};
use crate::{
    domain::metric,
    store::{Horizons, StoreError},
};

const ACCESS_PERIOD: Period = Period::from_secs(2);
const FLOW_PERIOD: Period = Period::from_secs(5);
const MEMORY_PERIOD: Period = Period::from_mins(1);

/// Reads keys and revocations anew until `stop` is cancelled; by itself, so that nothing else delays the end of a
/// token that lost its trust.
pub async fn keep_access_fresh(broker: Broker, stop: CancellationToken) {
    let mut ticks = every(ACCESS_PERIOD);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        report("access", broker.refresh_access().await);
    }
}

/// Sweeps until `stop` is cancelled.
pub async fn sweep(broker: Broker, stop: CancellationToken) {
    let (mut flows, mut memory) = (every(FLOW_PERIOD), every(MEMORY_PERIOD));
    let mut calm = Calm::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = flows.tick() => {
                if calm.lasts(&broker.store).await {
                    report("flows", broker.sweep_flows().await);
                }
            }
            _ = memory.tick() => report("memory", broker.forget_what_is_over().await),
        }
    }
}

pub(super) fn every(period: Period) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A failure is logged, and the next tick tries again.
pub(super) fn report(what: &'static str, done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(what, error = &error as &dyn std::error::Error, "sweep failed; trying again");
    }
}

impl Broker {
    /// One round over flows and what was spent.
    pub async fn sweep_flows(&self) -> Result<(), StoreError> {
        self.resume_exchanges().await?;
        self.start_revocations().await?;
        let now = self.now();
        let expired = self.store.expire_flows(now).await?;
        if expired > 0 {
            metrics::counter!(metric::FLOWS, "end" => "expired").increment(expired);
        }
        self.end_stale_account_links().await?;
        self.store.forget_flows(self.horizons().flows).await?;
        self.store.forget_account_links(self.horizons().account_links, now).await?;
        self.store.forget_spent(now).await?;
        Ok(())
    }

    /// Forgets codes, counts, keys, stray tokens and entries of the audit record whose time is over.
    pub async fn forget_what_is_over(&self) -> Result<(), StoreError> {
        forget_slowly(&self.store, &self.horizons()).await
    }

    fn horizons(&self) -> Horizons {
        horizons(self.settings.audit_retention, self.now())
    }
}
