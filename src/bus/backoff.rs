//! The waits between attempts to connect: random up to a ceiling that doubles, to a limit (full jitter).

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::domain::clock::{Entropy, draw};

/// The ceiling of the first wait.
const FIRST: Duration = Duration::from_millis(200);
/// That of the longest one.
const LONGEST: Duration = Duration::from_secs(10);

/// How long it has not gone well.
pub(super) struct Backoff {
    failures: u32,
    entropy: Arc<dyn Entropy>,
}

impl Backoff {
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { failures: 0, entropy }
    }

    /// Waits before the next attempt. What began at `began` has just failed.
    pub(super) async fn pause(&mut self, began: Instant) {
        sleep(self.next(began.elapsed())).await;
    }

    /// The next wait. What went well for long is a new beginning; what a server took and dropped is none, so that
    /// it is not asked all the time.
    fn next(&mut self, went_well: Duration) -> Duration {
        if went_well >= LONGEST {
            self.failures = 0;
        }
        let wait = wait(self.failures, self.entropy.as_ref());
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

fn wait(failures: u32, entropy: &dyn Entropy) -> Duration {
    let ceiling = FIRST.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(LONGEST);
    ceiling.mul_f64(f64::from(u32::from_be_bytes(draw(entropy))) / f64::from(u32::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Draws one byte over and over.
    pub(in crate::bus) struct Constant(pub(in crate::bus) u8);

    impl Entropy for Constant {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn the_wait_between_attempts_grows_to_its_limit_and_is_spread() {
        assert_eq!(wait(0, &Constant(255)), FIRST);
        assert_eq!(wait(3, &Constant(255)), FIRST * 8);
        assert_eq!(wait(u32::MAX, &Constant(255)), LONGEST);
        assert_eq!(wait(u32::MAX, &Constant(0)), Duration::ZERO);
    }

    #[test]
    fn only_what_went_well_for_long_is_a_new_beginning() {
        let mut backoff = Backoff::new(Arc::new(Constant(255)));
        let briefly = LONGEST / 2;
        assert_eq!([briefly; 3].map(|time| backoff.next(time)), [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!([LONGEST, briefly].map(|time| backoff.next(time)), [FIRST, FIRST * 2]);
    }
}
