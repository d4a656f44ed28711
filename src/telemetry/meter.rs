//! Metrics: what is counted is described here, recorded by the layers under the names of
//! [`domain::metric`](crate::domain::metric), and rendered for `/metrics` of the operator's listener.

use std::{thread, time::Duration};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::TelemetryError;
use crate::domain::metric;

/// Bounds of the buckets of an exchange or a refresh, in seconds; it is cut off at 30.
const EXCHANGE_BOUNDS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Histograms collect their samples in memory until somebody tidies up.
const UPKEEP: Duration = Duration::from_secs(10);

/// Renders what was recorded.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Records for the whole process from now on. Once in a process; a thread of its own tidies up, so that
    /// memory stays bounded where nobody ever asks.
    pub fn install() -> Result<Self, TelemetryError> {
        let handle =
            builder().and_then(PrometheusBuilder::install_recorder).map_err(TelemetryError::Metrics)?;
        describe();
        let upkeep = handle.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        });
        Ok(Self(handle))
    }

    /// All metrics as text, for `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Metrics").finish_non_exhaustive()
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let timed = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(timed(metric::EXCHANGE_SECONDS), &EXCHANGE_BOUNDS)?
        .set_buckets_for_metric(timed(metric::REFRESH_SECONDS), &EXCHANGE_BOUNDS)
}

fn describe() {
    describe_counter!(metric::FLOWS, "Flows that ended, by how");
    describe_histogram!(
        metric::EXCHANGE_SECONDS,
        Unit::Seconds,
        "Requests to providers' token endpoints, by host and outcome"
    );
    describe_counter!(metric::REFRESHES, "Refreshes that ended, by how");
    describe_histogram!(metric::REFRESH_SECONDS, Unit::Seconds, "Refresh requests, by host and outcome");
    describe_gauge!(metric::REFRESHES_DUE, "Grants that are due and that nobody is refreshing");
    describe_gauge!(metric::PROVIDER_LEFT_ALONE, "1 while a provider is left alone, by host");
    describe_counter!(metric::REVOCATIONS, "Revocations at providers, by outcome");
    describe_counter!(metric::EVENTS_SENT, "Events sent to plugins, repetitions included");
    describe_counter!(metric::EVENTS_ACKED, "Acknowledgements that moved a slot forward");
    describe_gauge!(metric::RELAY_CONNECTIONS, "Relay connections open now");
    describe_gauge!(metric::RELAY_CONNECTIONS_LIMIT, "The most relay connections that there may be");
    describe_gauge!(metric::RELAY_PLACES, "Relay connections and waiting polls");
    describe_gauge!(metric::RELAY_PLACES_LIMIT, "The most relay connections and waiting polls together");
    describe_gauge!(metric::RELAY_HANDSHAKES, "Relay connections that are being made");
    describe_gauge!(metric::RELAY_HANDSHAKES_LIMIT, "The most that are made at once");
    describe_gauge!(metric::RELAY_HANDSHAKES_WAITING, "Relay connections that wait until they are made");
    describe_gauge!(metric::RELAY_HANDSHAKES_WAITING_LIMIT, "The most that wait");
    describe_counter!(metric::RELAY_CLOSED, "Relay connections closed from here, by close code");
    describe_counter!(metric::KNOCKS_SENT, "Knocks sent to other replicas");
    describe_counter!(metric::KNOCKS_RECEIVED, "Knocks of other replicas that were heard");
    describe_gauge!(metric::KNOCKS_WAITING, "Knocks that wait to be sent");
    describe_gauge!(metric::KNOCKS_WAITING_LIMIT, "How many knocks may wait to be sent");
    describe_gauge!(metric::BUS_CONNECTED, "1 while other replicas are heard");
    describe_counter!(metric::INQUIRIES, "Requests and commands brought to plugins, by kind and outcome");
    describe_gauge!(metric::INQUIRIES_UNDER_WAY, "Requests and commands under way now");
    describe_gauge!(metric::INQUIRIES_LIMIT, "How many requests and commands may be under way");
    describe_counter!(metric::WEBHOOKS_REFUSED, "Requests of web services refused at once, by reason");
    describe_gauge!(metric::WEBHOOK_BODIES, "Bodies of web services that are being read");
    describe_gauge!(metric::WEBHOOK_BODIES_LIMIT, "How many bodies of web services may be read");
    describe_counter!(metric::KNOCKS_DROPPED, "Knocks at other replicas that were dropped");
    describe_gauge!(metric::HTTP_REQUESTS_HANDLED, "HTTP requests that are being handled, by listener");
    describe_gauge!(metric::HTTP_REQUESTS_LIMIT, "HTTP requests that may be handled at once");
    describe_counter!(
        metric::LOG_RECORDS_LEFT_OUT,
        "Records that were not logged because there were too many alike"
    );
    describe_gauge!(metric::DATABASE_CONNECTIONS, "Connections to the database that are open");
    describe_gauge!(metric::DATABASE_CONNECTIONS_IN_USE, "Connections to the database that are in use");
    describe_gauge!(metric::DATABASE_CONNECTIONS_LIMIT, "Connections to the database that there may be");
    describe_gauge!(metric::PASSWORD_HASHES_WAITING, "Passwords that are being hashed or wait for it");
    describe_gauge!(metric::PASSWORD_HASHES_LIMIT, "Passwords that may be hashed or wait for it");
    describe_gauge!(metric::PROVIDER_WAITERS, "Callers that wait for providers");
    describe_gauge!(metric::PROVIDER_WAITERS_LIMIT, "How many callers may wait for providers");
    describe_gauge!(metric::EXCHANGES_UNDER_WAY, "Exchanges, refreshes and revocations this process is at");
    describe_gauge!(metric::REFRESHES_LIMIT, "Refreshes that this process makes at once by itself");
    describe_gauge!(metric::THROTTLED_NETWORKS, "Networks remembered for their guesses, by throttle");
    describe_gauge!(metric::THROTTLED_NETWORKS_LIMIT, "Networks that each throttle remembers");
    describe_counter!(metric::ACCOUNT_LINKS, "Home Assistant's attempts to link that ended, by how");
    describe_gauge!(metric::ACCOUNT_LINK_SOCKETS, "Home Assistant's attempts to link that are open now");
    describe_counter!(metric::ACCOUNT_LINK_REFRESHES, "Refreshes for Home Assistant, by outcome");
    describe_counter!(metric::HTTP_REQUESTS, "HTTP answers, by route and status");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_a_histogram_with_a_description() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::histogram!(metric::EXCHANGE_SECONDS, "host" => "a.example", "outcome" => "ok")
                .record(0.3);
            metrics::gauge!(metric::RELAY_CONNECTIONS).set(2.0);
        });
        let text = metrics.render();
        for line in [
            "# HELP cloudlink_exchange_seconds Requests",
            "cloudlink_exchange_seconds_bucket{host=\"a.example\",outcome=\"ok\",le=\"0.5\"} 1",
            "cloudlink_relay_connections 2",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
