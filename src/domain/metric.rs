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
/// Counter: HTTP answers. Labels `route` (the pattern, never the path) and `status`.
pub const HTTP_REQUESTS: &str = "cloudlink_http_requests_total";

/// Counter: relay connections that were closed from here. Label `code`: the close code.
pub const RELAY_CLOSED: &str = "cloudlink_relay_closed_total";
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
