//! How long to wait before the next attempt: random up to a ceiling that doubles, to a limit (full jitter), so that many
//! that lost the same server do not come back at the same moment.

use std::time::Duration;

use super::clock::{Entropy, draw};

/// Counts failures in a row.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet: the first wait is `first` at most, and none is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// It went well: the next wait is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait: anything from nothing to the present ceiling.
    pub fn wait(&mut self, entropy: &dyn Entropy) -> Duration {
        let ceiling = self.first.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let share = f64::from(u32::from_be_bytes(draw(entropy))) / f64::from(u32::MAX);
        ceiling.mul_f64(share)
    }

    /// The next wait where a server may have asked for one: that, but no more than the longest.
    pub fn wait_as_asked(&mut self, asked: Option<Duration>, entropy: &dyn Entropy) -> Duration {
        let wait = self.wait(entropy);
        asked.map_or(wait, |asked| asked.min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_mins(1);

    struct Always(u8);

    impl Entropy for Always {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_longest_and_a_reset_starts_anew() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let waits: Vec<u128> = (0..9).map(|_| backoff.wait(&Always(0xff)).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        backoff.reset();
        assert_eq!(backoff.wait(&Always(0xff)), FIRST);
    }

    #[test]
    fn the_jitter_reaches_down_to_nothing() {
        assert_eq!(Backoff::new(FIRST, LONGEST).wait(&Always(0)), Duration::ZERO);
    }

    #[test]
    fn what_the_server_asks_for_is_kept_up_to_the_longest_and_is_a_failure_all_the_same() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let asked = Duration::from_millis(1500);
        assert_eq!(backoff.wait_as_asked(Some(asked), &Always(0xff)), asked);
        assert_eq!(backoff.wait_as_asked(Some(Duration::from_hours(1)), &Always(0xff)), LONGEST);
        assert_eq!(backoff.wait_as_asked(None, &Always(0xff)), FIRST * 4);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest(byte: u8, failures: u32) {
            let mut backoff = Backoff { failures, ..Backoff::new(FIRST, LONGEST) };
            prop_assert!(backoff.wait(&Always(byte)) <= LONGEST);
        }
    }
}
