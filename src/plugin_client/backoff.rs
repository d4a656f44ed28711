//! How long to wait before the next attempt: exponential, with full jitter, so that many plugins that lost
//! the same server do not come back at the same moment.

use std::time::Duration;

use crate::domain::clock::{Entropy, draw};

/// The most that the first wait can be.
pub(super) const FIRST: Duration = Duration::from_millis(500);
/// The most that any wait can be, one that the server asked for included.
pub(super) const LONGEST: Duration = Duration::from_mins(1);

/// Counts failures in a row.
pub struct Backoff<'a> {
    entropy: &'a dyn Entropy,
    failures: u32,
}

impl<'a> Backoff<'a> {
    /// No failure yet.
    pub fn new(entropy: &'a dyn Entropy) -> Self {
        Self { entropy, failures: 0 }
    }

    /// It went well: the next wait is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait: what the server asked for, else anything from nothing to the present ceiling.
    pub fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        asked.map_or_else(|| self.jittered(ceiling), |asked| asked.min(LONGEST))
    }

    fn jittered(&self, ceiling: Duration) -> Duration {
        let share = f64::from(u32::from_be_bytes(draw(self.entropy))) / f64::from(u32::MAX);
        ceiling.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Always(u8);

    impl Entropy for Always {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_longest_and_a_reset_starts_anew() {
        let mut backoff = Backoff::new(&Always(0xff));
        let waits: Vec<u64> = (0..9).map(|_| backoff.wait(None).as_millis().try_into().unwrap()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        backoff.reset();
        assert_eq!(backoff.wait(None), FIRST);
    }

    #[test]
    fn the_jitter_reaches_down_to_nothing() {
        assert_eq!(Backoff::new(&Always(0)).wait(None), Duration::ZERO);
    }

    #[test]
    fn what_the_server_asks_for_is_kept_up_to_the_longest() {
        let mut backoff = Backoff::new(&Always(0xff));
        assert_eq!(backoff.wait(Some(Duration::from_millis(1500))), Duration::from_millis(1500));
        assert_eq!(backoff.wait(Some(Duration::from_hours(1))), LONGEST);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest(byte: u8, failures in 0..200_u32) {
            let entropy = Always(byte);
            let mut backoff = Backoff { entropy: &entropy, failures };
            prop_assert!(backoff.wait(None) <= LONGEST);
        }
    }
}
