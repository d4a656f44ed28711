//! The names of the metrics, for whoever counts. A layer records with the `metrics` macros and a name from
//! here; `telemetry` describes and renders them. No label may hold an id, a secret or free text: labels
//! come from closed sets, or are bounded by the one who records.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Counter: flows that ended. Label `end`: `linked`, `expired`, or the error.
pub const FLOWS: &str = "cloudlink_flows_total";
/// Histogram, seconds: requests to providers' token endpoints. Labels `host` (from a stored configuration,
/// at most [`MAX_HOSTS`] of them, then `other`) and `outcome`.
pub const EXCHANGE_SECONDS: &str = "cloudlink_exchange_seconds";
/// Counter: tries to revoke at a provider, and jobs given up. Label `outcome`: `revoked`, `refused`, `provider_away`,
/// `given_up`.
pub const REVOCATIONS: &str = "cloudlink_revocations_total";
/// Counter: events written to a connection or an answer of the poll.
pub const EVENTS_SENT: &str = "cloudlink_events_sent_total";
/// Counter: acknowledgements that moved a slot's acknowledged version.
pub const EVENTS_ACKED: &str = "cloudlink_events_acked_total";
/// Gauge: relay connections open now.
pub const RELAY_CONNECTIONS: &str = "cloudlink_relay_connections";
/// Gauge: HTTP requests that are being handled; label `listener`. Not counted are relay connections, long polls and
/// health.
pub const HTTP_REQUESTS_HANDLED: &str = "cloudlink_http_requests_handled";
/// Gauge: how many of them there may be.
pub const HTTP_REQUESTS_LIMIT: &str = "cloudlink_http_requests_limit";
/// Counter: records that were not logged because their place in the code had written too many.
pub const LOG_RECORDS_LEFT_OUT: &str = "cloudlink_log_records_left_out_total";
/// Gauge: relay connections and waiting polls, each of which takes one of [`RELAY_PLACES_LIMIT`] places.
pub const RELAY_PLACES: &str = "cloudlink_relay_places";
/// Gauge: `relay.max_connections`.
pub const RELAY_PLACES_LIMIT: &str = "cloudlink_relay_places_limit";
/// Gauge: the most relay connections that there may be: `relay.max_connections`.
pub const RELAY_CONNECTIONS_LIMIT: &str = "cloudlink_relay_connections_limit";
/// Gauge: relay connections that are being made.
pub const RELAY_HANDSHAKES: &str = "cloudlink_relay_handshakes";
/// Gauge: `relay.handshakes_at_once`.
pub const RELAY_HANDSHAKES_LIMIT: &str = "cloudlink_relay_handshakes_limit";
/// Gauge: relay connections that wait until they are made.
pub const RELAY_HANDSHAKES_WAITING: &str = "cloudlink_relay_handshakes_waiting";
/// Gauge: `relay.handshakes_waiting`.
pub const RELAY_HANDSHAKES_WAITING_LIMIT: &str = "cloudlink_relay_handshakes_waiting_limit";
/// Counter: Home Assistant's attempts to link that ended. Label `end`: `delivered`, `expired`, or the error.
pub const ACCOUNT_LINKS: &str = "cloudlink_account_links_total";
/// Gauge: sockets of such attempts that are open now.
pub const ACCOUNT_LINK_SOCKETS: &str = "cloudlink_account_link_sockets";
/// Counter: refreshes for Home Assistant. Label `outcome`: `refreshed`, `repeated`, `invalid_grant`, `too_often`,
/// `provider_away`, `refused`.
pub const ACCOUNT_LINK_REFRESHES: &str = "cloudlink_account_link_refreshes_total";
/// Counter: HTTP answers. Labels `route` (the pattern, never the path) and `status`.
pub const HTTP_REQUESTS: &str = "cloudlink_http_requests_total";

/// Gauges: connections to the database, open, in use, and how many there may be.
pub const DATABASE_CONNECTIONS: &str = "cloudlink_database_connections";
/// See [`DATABASE_CONNECTIONS`].
pub const DATABASE_CONNECTIONS_IN_USE: &str = "cloudlink_database_connections_in_use";
/// See [`DATABASE_CONNECTIONS`].
pub const DATABASE_CONNECTIONS_LIMIT: &str = "cloudlink_database_connections_limit";
/// Gauge: passwords that are being hashed or wait for it.
pub const PASSWORD_HASHES_WAITING: &str = "cloudlink_password_hashes_waiting";
/// Gauge: how many of them there may be.
pub const PASSWORD_HASHES_LIMIT: &str = "cloudlink_password_hashes_limit";
/// Gauge: exchanges, refreshes and revocations at providers that this process is at.
pub const EXCHANGES_UNDER_WAY: &str = "cloudlink_exchanges_under_way";
/// Gauge: how many refreshes this process makes at once by itself.
pub const REFRESHES_LIMIT: &str = "cloudlink_refreshes_limit";
/// Gauge: callers that wait for providers.
pub const PROVIDER_WAITERS: &str = "cloudlink_provider_waiters";
/// Gauge: how many may. Label `of`: `process`, `device`, `slot`.
pub const PROVIDER_WAITERS_LIMIT: &str = "cloudlink_provider_waiters_limit";
/// Gauge: networks that are remembered for their guesses. Label `throttle`.
pub const THROTTLED_NETWORKS: &str = "cloudlink_throttled_networks";
/// Gauge: how many of them there may be, for each throttle.
pub const THROTTLED_NETWORKS_LIMIT: &str = "cloudlink_throttled_networks_limit";

/// Counter: relay connections that were closed from here. Label `code`: the close code.
pub const RELAY_CLOSED: &str = "cloudlink_relay_closed_total";
/// Counter: knocks sent to other replicas.
pub const KNOCKS_SENT: &str = "cloudlink_knocks_sent_total";
/// Counter: knocks of other replicas that were heard.
pub const KNOCKS_RECEIVED: &str = "cloudlink_knocks_received_total";
/// Gauge: knocks that wait to be sent.
pub const KNOCKS_WAITING: &str = "cloudlink_knocks_waiting";
/// Gauge: how many may wait; what comes then is dropped.
pub const KNOCKS_WAITING_LIMIT: &str = "cloudlink_knocks_waiting_limit";
/// Gauge: 1 while the knocks of other replicas are heard, 0 while only the slow poll finds what they changed.
pub const BUS_CONNECTED: &str = "cloudlink_bus_connected";
/// Counter: requests of web services and commands for hubs. Labels `kind` (`request`, `command`) and `outcome`
/// (`answered`, `handed_over`, `nobody`, `busy`, `disconnected`, `no_answer`, `failed`).
pub const INQUIRIES: &str = "cloudlink_relay_requests_total";
/// Gauge: requests and commands under way in this process.
pub const INQUIRIES_UNDER_WAY: &str = "cloudlink_relay_requests_in_flight";
/// Gauge: how many may be. Label `of`: `process`, `device`, `slot`.
pub const INQUIRIES_LIMIT: &str = "cloudlink_relay_requests_in_flight_limit";
/// Counter: requests of web services that were refused before anybody was asked. Label `reason`: `network_rate`,
/// `slot_rate`, `unproven_rate`, `bodies`, `in_flight`, `too_large`, `proof`.
pub const WEBHOOKS_REFUSED: &str = "cloudlink_webhooks_refused_total";
/// Gauge: bodies of web services that are being read.
pub const WEBHOOK_BODIES: &str = "cloudlink_webhook_bodies";
/// Gauge: how many may be. Label `of`: `process`, `network`.
pub const WEBHOOK_BODIES_LIMIT: &str = "cloudlink_webhook_bodies_limit";
/// Counter: knocks that were not sent to other replicas; the slow poll finds what they were about.
pub const KNOCKS_DROPPED: &str = "cloudlink_knocks_dropped_total";
/// Counter: refreshes that ended. Label `outcome`: `refreshed`, `provider_away`, `refused`, `lost`, or why the grant
/// ended: `invalid_grant`, `expired`, `another_user`.
pub const REFRESHES: &str = "cloudlink_refreshes_total";
/// Histogram, seconds: refresh requests. Labels `host`, as of [`EXCHANGE_SECONDS`], and `outcome`.
pub const REFRESH_SECONDS: &str = "cloudlink_refresh_seconds";
/// Gauge: grants that are due and that nobody is refreshing.
pub const REFRESHES_DUE: &str = "cloudlink_refreshes_due";
/// Gauge: 1 while a provider is left alone because it does not answer. Label `host`, as of [`EXCHANGE_SECONDS`].
pub const PROVIDER_LEFT_ALONE: &str = "cloudlink_provider_left_alone";

/// How many different `host` labels there may be before the rest is `other`.
pub const MAX_HOSTS: usize = 100;

/// Which hosts have a label of their own: the first [`MAX_HOSTS`] that are asked for.
#[derive(Debug, Default)]
pub struct HostLabels(Mutex<BTreeSet<Box<str>>>);

impl HostLabels {
    /// The label for `host`.
    pub fn label(&self, host: &str) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(host) {
            if known.len() >= MAX_HOSTS {
                return "other".to_owned();
            }
            known.insert(host.into());
        }
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_after_the_hundredth_are_one_label() {
        let labels = HostLabels::default();
        for number in 0..MAX_HOSTS {
            let host = format!("{number}.example");
            assert_eq!(labels.label(&host), host);
        }
        assert_eq!(labels.label("late.example"), "other");
        assert_eq!(labels.label("7.example"), "7.example");
    }
}
