//! How many connections may shake hands at once.
//!
//! A handshake costs a signature check, a look at the database and the first frames. When a replica dies, all its
//! connections come to the others within a second, so only so many are worked on at once; some wait for their turn,
//! and whoever comes beyond that is told to come back. A place is held until the connection's slots were read.

use std::{sync::Arc, time::Duration};

use metrics::Gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::domain::metric;

/// How many handshakes there may be.
#[derive(Debug, Clone, Copy)]
pub struct HandshakeLimits {
    /// That are worked on at once.
    pub at_once: usize,
    /// That wait for their turn.
    pub waiting: usize,
    /// For how long one waits.
    pub patience: Duration,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self { at_once: 512, waiting: 20_000, patience: Duration::from_secs(5) }
    }
}

/// There are too many handshakes. Answer 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections are being made: try again later")]
pub struct Busy;

/// The handshakes of this replica.
pub(super) struct Handshakes {
    at_once: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    patience: Duration,
    gauges: [Gauge; 2],
}

/// A handshake's place, until dropped.
pub struct Handshake(#[expect(dead_code, reason = "it is there to be dropped")] Held);

/// A permit, counted in a gauge.
#[expect(dead_code, reason = "the permit is there to be dropped")]
struct Held {
    permit: OwnedSemaphorePermit,
    gauge: Gauge,
}

impl Held {
    fn new(permit: OwnedSemaphorePermit, gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self { permit, gauge: gauge.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

impl Handshakes {
    pub(super) fn new(limits: HandshakeLimits) -> Self {
        let names = [
            (metric::RELAY_HANDSHAKES, metric::RELAY_HANDSHAKES_LIMIT, limits.at_once),
            (metric::RELAY_HANDSHAKES_WAITING, metric::RELAY_HANDSHAKES_WAITING_LIMIT, limits.waiting),
        ];
        let gauges = names.map(|(name, limit_name, limit)| {
            metrics::gauge!(limit_name).set(f64::from(u32::try_from(limit).unwrap_or(u32::MAX)));
            metrics::gauge!(name)
        });
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let (at_once, waiting) = (semaphore(limits.at_once), semaphore(limits.waiting));
        Self { at_once, waiting, patience: limits.patience, gauges }
    }

    /// Waits for a place, first come first served.
    pub(super) async fn enter(&self) -> Result<Handshake, Busy> {
        let [working, queued] = &self.gauges;
        if let Ok(permit) = Arc::clone(&self.at_once).try_acquire_owned() {
            return Ok(Handshake(Held::new(permit, working)));
        }
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Busy)?;
        let _waits = Held::new(waiting, queued);
        match timeout(self.patience, Arc::clone(&self.at_once).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Handshake(Held::new(permit, working))),
            Ok(Err(_)) | Err(_) => Err(Busy),
        }
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handshake").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    fn handshakes(at_once: usize, waiting: usize, patience: Duration) -> Handshakes {
        Handshakes::new(HandshakeLimits { at_once, waiting, patience })
    }

    #[tokio::test]
    async fn beyond_those_at_once_some_wait_in_order_and_the_rest_is_refused() {
        let handshakes = handshakes(1, 2, Duration::from_mins(1));
        let first = handshakes.enter().await.unwrap();
        let (mut second, mut third) = (Box::pin(handshakes.enter()), Box::pin(handshakes.enter()));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert_eq!(handshakes.enter().await.err(), Some(Busy));
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "the second was there before");
        let second = second.await.unwrap();
        drop(second);
        third.await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused_and_leaves_no_trace() {
        let handshakes = handshakes(1, 2, Duration::from_millis(1));
        let held = handshakes.enter().await.unwrap();
        let refused = join_all([handshakes.enter(), handshakes.enter()]).await;
        assert!(refused.iter().all(|outcome| outcome.as_ref().err() == Some(&Busy)));
        assert_eq!(handshakes.waiting.available_permits(), 2);
        drop(held);
        handshakes.enter().await.unwrap();
    }
}
