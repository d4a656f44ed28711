//! The machine's own clock, time zone and random generator, handed in at start (law 6). Nothing else reads them.

use time::{OffsetDateTime, UtcOffset};

use crate::domain::clock::{Clock, Entropy};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the seam that the lint points to")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// How far this machine's time of day is from UTC at `at`; UTC where nobody has set a time zone.
pub fn local_offset(at: OffsetDateTime) -> UtcOffset {
    UtcOffset::local_offset_at(at).unwrap_or(UtcOffset::UTC)
}

/// The random generator of aws-lc, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// Ends the process if the generator fails: a predictable state or key must never be used, and there is
    /// nothing that a caller could do instead.
    #[allow(clippy::disallowed_methods, reason = "this is the seam that the lint points to")]
    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            tracing::error!("the random generator failed; the process ends");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::draw;

    #[test]
    fn two_draws_differ() {
        assert_ne!(draw::<32>(&SystemEntropy), draw::<32>(&SystemEntropy));
    }

    #[test]
    fn the_clock_is_in_utc() {
        assert!(SystemClock.now().offset().is_utc());
    }
}
