//! Tokens as PG3's OAuth class takes them.
//!
//! The class reads `expiry` as local time and fails on a zone; it refreshes 60 s before the end and locks up where a
//! lifetime is not longer than that. So nothing is handed out that has so little left, and the lifetime is counted
//! from when the server said how long it is, by a clock that nobody sets.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use crate::domain::{ids::Version, json::Object};

/// A plugin is given only tokens with more than this left.
pub(super) const LEAST_LEFT: Duration = Duration::from_mins(1);
/// How long what never ends is said to last. Python's `timedelta` takes it.
const LONGEST_LIFE: Duration = Duration::from_hours(24 * 3653);
/// How the broker's handles begin.
const HANDLE: &str = "clh_";

/// The present, three times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Since the bridge began; nobody sets this clock.
    pub(super) up: Duration,
    /// By this machine's clock.
    pub(super) now: OffsetDateTime,
    /// From UTC to the time of day here.
    pub(super) offset: UtcOffset,
}

/// What a slot's plugin may use. It has no `Debug`: it holds tokens.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Held {
    members: Object,
    pub(super) version: Version,
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
    /// The same by the clock of this run, where they came in it.
    #[serde(skip)]
    ends: Option<Duration>,
}

impl Held {
    /// Tokens that have just come; none where their lifetime is not said.
    pub(super) fn new(members: Object, version: Version, at: &Moment) -> Option<Self> {
        let left = Duration::from_secs(members.get("expires_in").and_then(seconds)?).min(LONGEST_LIFE);
        Some(Self { members, version, until: at.now + left, ends: Some(at.up + left) })
    }

    /// How long they are good for.
    fn left(&self, at: &Moment) -> Duration {
        let by_the_clock = || Duration::try_from(self.until - at.now).unwrap_or_default();
        self.ends.map_or_else(by_the_clock, |ends| ends.saturating_sub(at.up))
    }

    /// Whether the plugin may have them.
    pub(super) fn are_usable(&self, at: &Moment) -> bool {
        self.left(at).as_secs() > LEAST_LEFT.as_secs()
    }

    /// As the plugin takes them; none where too little is left.
    pub(super) fn for_plugin(&self, at: &Moment) -> Option<Object> {
        if !self.are_usable(at) {
            return None;
        }
        let left = self.left(at).as_secs();
        let mut members = self.ending(at.now + Duration::from_secs(left), at)?;
        members.insert("expires_in".to_owned(), left.into());
        Some(members)
    }

    /// As the plugin wrote them, over or not: it keeps them itself, and refreshes what is over when it gets it.
    pub(super) fn for_their_keeper(&self, at: &Moment) -> Option<Object> {
        self.for_plugin(at).or_else(|| self.ending(self.until, at))
    }

    fn ending(&self, end: OffsetDateTime, at: &Moment) -> Option<Object> {
        let local = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
        let mut members = self.members.clone();
        members.insert("expiry".to_owned(), end.to_offset(at.offset).format(local).ok()?.into());
        Some(members)
    }
}

/// A whole number of seconds, of what providers and Python write.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "inside the range of u64"
            )]
            (1.0..1e15).contains(&float).then_some(float as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a plugin wrote tokens of its own, and not what it had from us. Those of the broker have a handle.
pub(super) fn are_the_plugins_own(members: &Object) -> bool {
    let text = |name| members.get(name).and_then(Value::as_str).unwrap_or_default();
    let (access, refresh) = (text("access_token"), text("refresh_token"));
    !access.is_empty() && !refresh.is_empty() && !refresh.starts_with(HANDLE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::{datetime, offset};

    use super::*;

    fn at(seconds: u64) -> Moment {
        let since = Duration::from_secs(seconds);
        Moment { up: since, now: datetime!(2026-01-02 23:30:00 UTC) + since, offset: offset!(+1) }
    }

    fn held(expires_in: &Value) -> Option<Held> {
        let Value::Object(members) = json!({"access_token": "a", "refresh_token": "clh_x",
            "expires_in": expires_in, "expiry": "2026-01-02T23:40:00Z", "account": {"id": 7}})
        else {
            panic!("an object")
        };
        Held::new(members, Version(1), &at(0))
    }

    #[test]
    fn the_expiry_is_local_and_has_no_zone() {
        let given = held(&json!(3600)).unwrap().for_plugin(&at(10)).unwrap();
        assert_eq!(given["expiry"], "2026-01-03T01:30:00");
        assert_eq!(given["expires_in"], 3590);
        assert_eq!(given["account"], json!({"id": 7}));
    }

    #[test]
    fn the_lifetime_is_a_whole_number_whatever_came() {
        for (came, given) in [(json!("90"), 90), (json!(90.9), 90), (json!(1e12), 315_619_200)] {
            assert_eq!(held(&came).unwrap().for_plugin(&at(0)).unwrap()["expires_in"], given);
        }
        for none in [json!(null), json!("soon"), json!(-5), json!([1])] {
            assert!(held(&none).is_none(), "{none}");
        }
    }

    #[test]
    fn nothing_is_given_with_a_minute_or_less_left() {
        let held = held(&json!(100)).unwrap();
        assert!(held.for_plugin(&at(39)).is_some());
        assert!(held.for_plugin(&at(40)).is_none() && held.for_plugin(&at(1000)).is_none());
    }

    #[test]
    fn a_clock_that_is_set_meanwhile_makes_them_no_older() {
        let held = held(&json!(3600)).unwrap();
        let set = Moment { now: at(0).now + Duration::from_hours(5), ..at(10) };
        let given = held.for_plugin(&set).unwrap();
        assert_eq!((&given["expires_in"], &given["expiry"]), (&json!(3590), &json!("2026-01-03T06:29:50")));
    }

    #[test]
    fn what_was_kept_over_a_restart_is_judged_by_the_clock() {
        let kept = serde_json::to_string(&held(&json!(3600)).unwrap()).unwrap();
        let held: Held = serde_json::from_str(&kept).unwrap();
        let later = Moment { up: Duration::ZERO, ..at(3000) };
        assert_eq!(held.for_plugin(&later).unwrap()["expires_in"], 600);
        assert!(!held.are_usable(&Moment { up: Duration::ZERO, ..at(4000) }));
    }

    #[test]
    fn tokens_with_our_handle_are_not_the_plugins_own() {
        let own = |members| are_the_plugins_own(json!(members).as_object().unwrap());
        assert!(own(json!({"access_token": "a", "refresh_token": "r"})));
        for other in [
            json!({"access_token": "a", "refresh_token": "clh_abc"}),
            json!({}),
            json!({"access_token": "a"}),
            json!({"access_token": "a", "refresh_token": null}),
        ] {
            assert!(!own(other.clone()), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_plugin_ever_gets_a_lifetime_that_locks_it_up(expires_in: u64, later in 0..100_000_u64) {
            let held = held(&json!(expires_in)).unwrap();
            if let Some(given) = held.for_plugin(&at(later)) {
                prop_assert!(given["expires_in"].as_u64().unwrap() > 60);
                prop_assert!(given["expires_in"].as_u64().unwrap() <= LONGEST_LIFE.as_secs());
                prop_assert!(!given["expiry"].as_str().unwrap().contains(['Z', '+']));
            }
        }
    }
}
