//! What this process may take at most, beside what it takes now: read when somebody asks for `/metrics`.
//!
//! What changes with every request is counted where it happens (requests, relay connections, knocks); here stands what
//! can only be looked at.

use std::sync::Arc;

use actix_web::web;
use metrics::gauge;
use metrics_process::Collector;

use crate::{
    domain::metric,
    flows::{Broker, MOST_NETWORKS, WebhookRates},
    http::throttle::Throttles,
};

/// Looks at the parts that have bounds.
#[derive(Clone)]
pub(super) struct Bounds {
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    webhook_rates: web::Data<WebhookRates>,
    process: Arc<Collector>,
}

impl Bounds {
    pub(super) fn new(
        broker: web::Data<Broker>,
        throttles: web::Data<Throttles>,
        webhook_rates: web::Data<WebhookRates>,
    ) -> Self {
        let process = Collector::default();
        process.describe();
        Self { broker, throttles, webhook_rates, process: Arc::new(process) }
    }

    /// Writes all of it into the metrics.
    pub(super) fn sample(&self) {
        self.process.collect();
        let connections = self.broker.store.connections();
        gauge!(metric::DATABASE_CONNECTIONS).set(f64::from(connections.open));
        gauge!(metric::DATABASE_CONNECTIONS_IN_USE).set(number(connections.in_use));
        gauge!(metric::DATABASE_CONNECTIONS_LIMIT).set(f64::from(connections.most));
        let hashes = self.broker.password_hashes();
        gauge!(metric::PASSWORD_HASHES_WAITING).set(number(hashes.waiting));
        gauge!(metric::PASSWORD_HASHES_LIMIT).set(number(hashes.most));
        gauge!(metric::EXCHANGES_UNDER_WAY).set(number(self.broker.exchanges_under_way()));
        gauge!(metric::REFRESHES_LIMIT).set(f64::from(self.broker.settings().refresh_concurrency));
        gauge!(metric::PROVIDER_WAITERS).set(number(self.broker.waiters()));
        let limits = self.broker.settings().waiters;
        for (of, limit) in
            [("process", limits.total), ("device", limits.per_device), ("slot", limits.per_slot)]
        {
            gauge!(metric::PROVIDER_WAITERS_LIMIT, "of" => of).set(number(limit));
        }
        for (name, throttle) in self.throttles.by_name().into_iter().chain(self.webhook_rates.by_name()) {
            gauge!(metric::THROTTLED_NETWORKS, "throttle" => name).set(number(throttle.remembered()));
        }
        gauge!(metric::THROTTLED_NETWORKS_LIMIT).set(number(MOST_NETWORKS));
    }
}

/// Exact for everything that is counted here.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
