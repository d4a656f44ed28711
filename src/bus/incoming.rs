//! Knocks of other replicas, whatever carried them here.

use std::{convert::Infallible, sync::Arc};

use metrics::{Counter, Gauge};

use super::{doorbell::Doorbells, payload::Origin};
use crate::domain::metric;

/// Rings in this process for what was heard.
pub(super) struct Incoming {
    origin: Origin,
    bells: Arc<Doorbells>,
    received: Counter,
    connected: Gauge,
}

impl Incoming {
    /// Nobody is heard yet.
    pub(super) fn new(origin: Origin, bells: Arc<Doorbells>) -> Self {
        let connected = metrics::gauge!(metric::BUS_CONNECTED);
        connected.set(0.0);
        Self { origin, bells, received: metrics::counter!(metric::KNOCKS_RECEIVED), connected }
    }

    /// Rings for a knock, unless it is our own.
    pub(super) fn hear(&self, payload: &str) {
        if let Some(address) = self.origin.heard(payload) {
            self.received.increment(1);
            self.bells.ring(&address);
        }
    }

    /// Begins once others are heard, and is dropped with the connection: what they said before is gone, so
    /// everybody is rung. Never ends by itself.
    pub(super) async fn connected(&self) -> Infallible {
        let _until_dropped = Connected::new(self.connected.clone());
        tracing::info!("knocks of other replicas are heard");
        self.bells.ring_everybody().await;
        std::future::pending().await
    }
}

/// The gauge is 1 until this is dropped.
struct Connected(Gauge);

impl Connected {
    fn new(gauge: Gauge) -> Self {
        gauge.set(1.0);
        Self(gauge)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.set(0.0);
    }
}
