//! What a slot asks of the server's API: one call at a time, each kind tried again later and later while it fails.

use std::time::Duration;

use serde_json::Value;

use crate::domain::json::Object;

/// The wait after the first failure of a kind, or between two calls that did not help.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `PATCH …/oauth`
    Override,
    /// `PUT …/tokens`
    Import,
    /// `POST …/refresh`
    Refresh,
    /// `GET` the slot
    Status,
    /// `POST …/connect`
    Connect,
}

/// A call, with what it sends. Its `Debug` shows only which.
#[derive(Clone, PartialEq)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) body: Option<Object>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(f)
    }
}

/// Why a call failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// Of a refusal.
    pub(super) status: Option<u16>,
    /// The stable word of a refusal; empty otherwise.
    pub(super) code: String,
    /// What went wrong, for a person.
    pub(super) text: String,
}

impl Failure {
    /// Whether the same call would be refused again.
    pub(super) fn is_lasting(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status) && !matches!(status, 401 | 408 | 429))
    }
}

/// How a call ended.
pub(super) struct Outcome {
    pub(super) kind: Kind,
    pub(super) result: Result<Value, Failure>,
}

/// When a kind may be called again.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    not_before: Duration,
    failures: u32,
}

/// What is asked for and what is under way.
#[derive(Default)]
pub(super) struct Calls {
    in_flight: Option<Kind>,
    paces: [Pace; 5],
    /// What failed last, so that it is told once.
    told: Option<String>,
}

impl Calls {
    /// Whether nothing is under way and this kind has waited long enough.
    pub(super) fn may(&self, kind: Kind, up: Duration) -> bool {
        self.in_flight.is_none() && self.paces.get(kind as usize).is_some_and(|pace| pace.not_before <= up)
    }

    /// A call starts.
    pub(super) fn start(&mut self, kind: Kind) {
        self.in_flight = Some(kind);
    }

    /// A call has ended; the next of its kind comes after a pause, unless it is told that it helped.
    pub(super) fn end(&mut self, kind: Kind, up: Duration) {
        self.in_flight = None;
        if let Some(pace) = self.paces.get_mut(kind as usize) {
            let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(pace.failures)).min(LONGEST_PAUSE);
            *pace = Pace { not_before: up + pause, failures: pace.failures.saturating_add(1) };
        }
    }

    /// This kind brought what it should.
    pub(super) fn helped(&mut self, kind: Kind) {
        if let Some(pace) = self.paces.get_mut(kind as usize) {
            *pace = Pace::default();
        }
    }

    /// The text of a failure, where it is another than the last.
    pub(super) fn news(&mut self, text: &str) -> Option<String> {
        let is_new = self.told.as_deref() != Some(text);
        self.told = Some(text.to_owned());
        is_new.then(|| text.to_owned())
    }

    /// Things go well again.
    pub(super) fn all_is_well(&mut self) {
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_fails_is_tried_later_and_later_and_one_that_helped_at_once() {
        let mut calls = Calls::default();
        let mut up = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert!(calls.may(Kind::Refresh, up));
            calls.start(Kind::Refresh);
            assert!(!calls.may(Kind::Connect, up), "one call at a time");
            calls.end(Kind::Refresh, up);
            let pause =
                (0..1000).map(Duration::from_secs).find(|wait| calls.may(Kind::Refresh, up + *wait)).unwrap();
            waits.push(pause.as_secs());
            up += pause;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        assert!(calls.may(Kind::Connect, up));
        calls.start(Kind::Refresh);
        calls.end(Kind::Refresh, up);
        calls.helped(Kind::Refresh);
        assert!(calls.may(Kind::Refresh, up));
    }

    #[test]
    fn a_failure_is_told_once_until_things_go_well() {
        let mut calls = Calls::default();
        assert!(
            calls.news("away").is_some() && calls.news("away").is_none() && calls.news("other").is_some()
        );
        calls.all_is_well();
        assert!(calls.news("other").is_some());
    }

    #[test]
    fn what_may_pass_is_no_lasting_failure() {
        let lasting = |status| Failure { status, code: String::new(), text: String::new() }.is_lasting();
        assert!(lasting(Some(422)) && lasting(Some(409)) && lasting(Some(404)));
        assert!(!lasting(None) && !lasting(Some(429)) && !lasting(Some(503)) && !lasting(Some(401)));
    }
}
