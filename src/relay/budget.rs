//! How much a peer may send in a minute.

use time::{Duration, OffsetDateTime};

/// What a peer may send in a minute, before it is told or closed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Text messages other than acks. Beyond it each gets an `error` frame; beyond ten times it the
    /// connection is closed.
    pub messages: u32,
    /// Acknowledgements.
    pub acks: u32,
    /// Pings, pongs and fragments.
    pub controls: u32,
    /// Bytes of text.
    pub bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages: 100, acks: 6000, controls: 600, bytes: 8 * 1024 * 1024 }
    }
}

/// What was made of a limit in the current minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spending {
    /// Within the limit.
    Within,
    /// Above it.
    Over,
    /// Above ten times as much.
    FarOver,
}

/// One limit and what was spent of it. Minutes follow one another from the first spending on; a clock that
/// jumps back begins a new one.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u32,
    spent: u32,
    since: OffsetDateTime,
}

impl Budget {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, spent: 0, since: OffsetDateTime::UNIX_EPOCH }
    }

    pub(super) fn spend(&mut self, amount: usize, now: OffsetDateTime) -> Spending {
        if now < self.since || now - self.since >= Duration::MINUTE {
            (self.spent, self.since) = (0, now);
        }
        self.spent = self.spent.saturating_add(u32::try_from(amount).unwrap_or(u32::MAX));
        if self.spent <= self.limit {
            Spending::Within
        } else if self.spent <= self.limit.saturating_mul(10) {
            Spending::Over
        } else {
            Spending::FarOver
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::fixture::NOW;

    #[test]
    fn a_minute_later_or_on_a_clock_set_back_the_budget_is_whole_again() {
        let mut budget = Budget::new(2);
        let spent: Vec<Spending> = (0..21).map(|_| budget.spend(1, NOW)).collect();
        assert_eq!(spent[..2], [Spending::Within; 2]);
        assert_eq!(spent[2..20], [Spending::Over; 18]);
        assert_eq!(spent[20], Spending::FarOver);
        assert_eq!(budget.spend(1, NOW + Duration::seconds(59)), Spending::FarOver);
        assert_eq!(budget.spend(1, NOW + Duration::MINUTE), Spending::Within);
        assert_eq!(budget.spend(usize::MAX, NOW + Duration::MINUTE), Spending::FarOver);
        assert_eq!(budget.spend(1, NOW - Duration::DAY), Spending::Within);
    }
}
