//! How often to ask, and when to stop asking (RFC 8628 §3.5). Pure: time comes in.

use std::time::Duration;

/// What the server may demand by one `slow_down`.
const SLOWER: Duration = Duration::from_secs(5);
/// Never asked more often than this, whatever the server says.
const SHORTEST: Duration = Duration::from_secs(1);
/// Never waited longer than this.
const LONGEST: Duration = Duration::from_mins(5);

/// What came of one question, a token apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// `authorization_pending`.
    Pending,
    /// `slow_down`, or 429.
    SlowDown,
    /// No answer, or a server in trouble.
    Trouble,
    /// `expired_token`.
    Expired,
    /// `access_denied`.
    Denied,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask again after that time.
    Wait(Duration),
    /// Stop: the code's time is up.
    Expired,
    /// Stop: somebody said no.
    Denied,
}

/// Asks for one device code.
#[derive(Debug, Clone)]
pub(super) struct Poller {
    interval: Duration,
    lasts: Duration,
}

impl Poller {
    /// For a code that `lasts` so long, asked for every `interval`.
    pub(super) fn new(interval: Duration, lasts: Duration) -> Self {
        Self { interval: interval.clamp(SHORTEST, LONGEST), lasts }
    }

    /// How long to wait before the first question.
    pub(super) fn first(&self) -> Duration {
        self.interval
    }

    /// What follows from an answer, so long after the code was made.
    pub(super) fn next(&mut self, elapsed: Duration, heard: Heard) -> Step {
        match heard {
            Heard::Expired => return Step::Expired,
            Heard::Denied => return Step::Denied,
            Heard::Pending => {}
            // For this and all later questions.
            Heard::SlowDown => self.interval = (self.interval + SLOWER).min(LONGEST),
            // RFC 8628 has connection timeouts answered by exponential backoff.
            Heard::Trouble => self.interval = (self.interval * 2).min(LONGEST),
        }
        if elapsed + self.interval < self.lasts { Step::Wait(self.interval) } else { Step::Expired }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn c06_slow_down_lasts_and_adds_up() {
        let mut poller = Poller::new(seconds(5), seconds(600));
        assert_eq!(poller.first(), seconds(5));
        assert_eq!(poller.next(seconds(5), Heard::Pending), Step::Wait(seconds(5)));
        assert_eq!(poller.next(seconds(10), Heard::SlowDown), Step::Wait(seconds(10)));
        assert_eq!(poller.next(seconds(20), Heard::Pending), Step::Wait(seconds(10)));
        assert_eq!(poller.next(seconds(30), Heard::SlowDown), Step::Wait(seconds(15)));
        assert_eq!(poller.next(seconds(45), Heard::Trouble), Step::Wait(seconds(30)));
    }

    #[test]
    fn an_end_is_an_end() {
        let mut poller = Poller::new(seconds(5), seconds(600));
        assert_eq!(poller.next(seconds(5), Heard::Denied), Step::Denied);
        assert_eq!(poller.next(seconds(5), Heard::Expired), Step::Expired);
        assert_eq!(poller.next(seconds(594), Heard::Pending), Step::Wait(seconds(5)));
        assert_eq!(poller.next(seconds(595), Heard::Pending), Step::Expired);
    }

    proptest! {
        #[test]
        fn c06_it_asks_never_faster_than_it_may_and_never_for_ever(
            interval in 0_u64..1000, lasts in 0_u64..2000,
            answers in proptest::collection::vec(
                prop_oneof![Just(Heard::Pending), Just(Heard::SlowDown), Just(Heard::Trouble)], 1..4000),
        ) {
            let mut poller = Poller::new(seconds(interval), seconds(lasts));
            let (mut now, mut least) = (poller.first(), seconds(interval).clamp(SHORTEST, LONGEST));
            for heard in answers {
                if heard == Heard::SlowDown {
                    least = (least + SLOWER).min(LONGEST);
                }
                match poller.next(now, heard) {
                    Step::Wait(wait) => {
                        prop_assert!(wait >= least && wait <= LONGEST, "{wait:?} {least:?}");
                        (least, now) = (wait, now + wait);
                        prop_assert!(now < seconds(lasts), "{now:?}");
                    }
                    Step::Expired => return Ok(()),
                    Step::Denied => prop_assert!(false, "nobody said no"),
                }
            }
        }
    }
}
