//! When tokens are refreshed: early enough that a plugin never holds a dead one, late enough to be worth it, and
//! spread, so that what was issued together is not refreshed together. Pure.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{
    clock::{Entropy, draw},
    flow::{UnknownWord, words},
};

/// Refreshing of one slot follows itself no sooner than this: a token that lives a second starts no storm.
const LEAST_PAUSE: Duration = Duration::seconds(3);
/// A token with less than this left is not handed out, if a new one can be had.
const LEAST_LEFT: Duration = Duration::seconds(60);
/// How long access tokens live with most providers.
const USUAL_LIFE: Duration = Duration::hours(1);
/// A moment further ahead than this was written by a clock that was wrong, or is now.
const CLOCK_TOLERANCE: Duration = Duration::minutes(5);
/// The wait after the first failure; it doubles with each, up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::seconds(5);
/// The longest wait between two attempts at a provider that is away.
const LONGEST_BACKOFF: Duration = Duration::minutes(15);
/// The wait before another attempt where only the owner or the plugin's author can help.
const MISCONFIGURED_PAUSE: Duration = Duration::hours(1);

words! {
    /// Of which kind the last failure of a refresh was.
    Trouble {
        /// The provider is away.
        Provider = "provider",
        /// The client or its configuration is refused.
        Configuration = "configuration",
    }

    /// Why a grant ended. The word is the `reason` of `reauthorize`.
    GrantEnd {
        /// The provider said so (RFC 6749 §5.2).
        InvalidGrant = "invalid_grant",
        /// The access token is over, and there is no refresh token.
        Expired = "expired",
        /// A refresh brought the tokens of another user (OpenID Connect Core §12.2).
        AnotherUser = "another_user",
    }
}

/// From when to when an access token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was asked for.
    pub obtained_at: OffsetDateTime,
    /// When it stops working; nothing: never.
    pub expires_at: Option<OffsetDateTime>,
}

impl Lifetime {
    /// That of a token which somebody else obtained, nobody knows when: what is left of it is not taken for all of it.
    pub fn of_unknown_age(expires_at: Option<OffsetDateTime>, now: OffsetDateTime) -> Self {
        let hour_before = expires_at.and_then(|at| at.checked_sub(USUAL_LIFE));
        Self { obtained_at: hour_before.map_or(now, |before| before.min(now)), expires_at }
    }

    /// The latest moment to refresh: `margin` before the end, or half the lifetime where that is less.
    fn latest(&self, margin: Duration) -> Option<OffsetDateTime> {
        let expires_at = self.expires_at?;
        let life = (expires_at - self.obtained_at).max(Duration::ZERO);
        expires_at.checked_sub(margin.min(life / 2))
    }

    /// How much earlier than the latest moment it may be: a tenth of the lifetime, the margin at most.
    fn spread(&self, margin: Duration) -> Duration {
        let life = self.expires_at.map_or(Duration::ZERO, |at| at - self.obtained_at);
        Duration::min(life / 10, margin).max(Duration::ZERO)
    }

    /// Whether it is time to refresh.
    pub fn is_due(&self, margin: Duration, now: OffsetDateTime) -> bool {
        let from = self.latest(margin).and_then(|at| at.checked_sub(self.spread(margin)));
        self.is_from_the_future(now) || from.is_some_and(|from| from <= now)
    }

    /// When to refresh, somewhere between the moment from which it is due and the latest. Nothing: never.
    pub fn refresh_at(
        &self,
        margin: Duration,
        entropy: &dyn Entropy,
        now: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        let at = self.latest(margin)?.checked_sub(fraction(self.spread(margin), entropy))?;
        Some(at.max(now + LEAST_PAUSE))
    }

    /// Whether at least `wanted` is left, or half of a life that is not longer than that.
    pub fn lasts(&self, wanted: Duration, now: OffsetDateTime) -> bool {
        let Some(expires_at) = self.expires_at else { return true };
        let life = expires_at - self.obtained_at;
        let enough = if life > wanted { wanted } else { life / 2 };
        !self.is_from_the_future(now) && expires_at - now >= enough
    }

    /// Whether it can be handed out as it is: 60 s, or half its lifetime, are left.
    pub fn is_fit_for_use(&self, now: OffsetDateTime) -> bool {
        let half = self.expires_at.map_or(LEAST_LEFT, |at| (at - self.obtained_at) / 2);
        let left = self.expires_at.map_or(LEAST_LEFT, |at| at - now);
        !self.is_from_the_future(now) && left >= half.min(LEAST_LEFT)
    }

    /// Whether it is over.
    pub fn is_over(&self, now: OffsetDateTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// A clock that was ahead when it was obtained says nothing true of its end (J09).
    fn is_from_the_future(&self, now: OffsetDateTime) -> bool {
        self.expires_at.is_some() && self.obtained_at - now > CLOCK_TOLERANCE
    }
}

/// What is dated after this was dated by a wrong clock.
pub fn plausible_until(now: OffsetDateTime) -> OffsetDateTime {
    now + CLOCK_TOLERANCE
}

/// The wait after `failures` attempts in a row at a provider that is away: random, up to a limit that doubles.
pub fn backoff(failures: u32, entropy: &dyn Entropy) -> Duration {
    let limit = FIRST_BACKOFF * 2_i32.pow(failures.saturating_sub(1).min(16));
    fraction(limit.min(LONGEST_BACKOFF), entropy).max(Duration::SECOND)
}

/// The wait where only the owner or the plugin's author can help: an hour and up to a tenth more.
pub fn misconfigured_pause(entropy: &dyn Entropy) -> Duration {
    MISCONFIGURED_PAUSE + fraction(MISCONFIGURED_PAUSE / 10, entropy)
}

/// A random part of `whole`.
fn fraction(whole: Duration, entropy: &dyn Entropy) -> Duration {
    whole * (f64::from(u32::from_be_bytes(draw(entropy))) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);
    const MARGIN: Duration = Duration::seconds(120);

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn life(seconds: i64) -> Lifetime {
        Lifetime { obtained_at: NOW, expires_at: Some(NOW + Duration::seconds(seconds)) }
    }

    fn scheduled(seconds: i64, draw: u8) -> i64 {
        (life(seconds).refresh_at(MARGIN, &Fixed(draw), NOW).unwrap() - NOW).whole_seconds()
    }

    #[test]
    fn a_token_is_refreshed_the_margin_before_its_end_and_up_to_as_much_earlier() {
        assert_eq!(scheduled(3600, 0), 3480);
        assert_eq!(scheduled(3600, 255), 3360);
        assert_eq!(scheduled(600, 255), 420, "a tenth of a short life at most");
    }

    #[test]
    fn what_is_left_of_a_token_of_unknown_age_is_not_its_whole_life() {
        let of_unknown_age = |seconds| Lifetime::of_unknown_age(Some(NOW + Duration::seconds(seconds)), NOW);
        assert!(life(59).is_fit_for_use(NOW), "half of it and more");
        assert!(!of_unknown_age(59).is_fit_for_use(NOW));
        assert!(of_unknown_age(60).is_fit_for_use(NOW));
        assert!(!of_unknown_age(60).lasts(Duration::seconds(61), NOW));
        assert_eq!(of_unknown_age(7200), life(7200));
        assert_eq!(Lifetime::of_unknown_age(None, NOW), Lifetime { obtained_at: NOW, expires_at: None });
    }

    #[test]
    fn a_token_that_lives_shorter_than_two_margins_is_refreshed_at_half_its_life() {
        assert_eq!(scheduled(100, 0), 50);
        assert_eq!(scheduled(100, 255), 40);
    }

    #[test]
    fn f02_a_token_that_lives_a_second_is_not_refreshed_every_second() {
        for seconds in [0, 1, 2] {
            assert_eq!(scheduled(seconds, 0), 3);
        }
    }

    #[test]
    fn a_token_without_an_end_is_never_due_and_always_fit() {
        let endless = Lifetime { obtained_at: NOW, expires_at: None };
        assert_eq!(endless.refresh_at(MARGIN, &Fixed(0), NOW), None);
        let later = NOW + Duration::days(36_500);
        assert!(!endless.is_due(MARGIN, later) && endless.is_fit_for_use(later) && !endless.is_over(later));
        assert!(endless.lasts(Duration::hours(1), later));
    }

    #[test]
    fn a_token_is_handed_out_until_a_minute_or_half_its_life_is_left() {
        for (seconds, last) in [(3600, 3540), (120, 60), (100, 50), (10, 5)] {
            let token = life(seconds);
            assert!(token.is_fit_for_use(NOW + Duration::seconds(last)), "{seconds}");
            assert!(!token.is_fit_for_use(NOW + Duration::seconds(last + 1)), "{seconds}");
        }
    }

    #[test]
    fn who_wants_more_than_the_provider_gives_gets_half_of_it() {
        let wanted = Duration::seconds(61);
        assert!(life(3600).lasts(wanted, NOW + Duration::seconds(3539)));
        assert!(!life(3600).lasts(wanted, NOW + Duration::seconds(3540)));
        assert!(life(60).lasts(wanted, NOW + Duration::seconds(30)));
        assert!(!life(60).lasts(wanted, NOW + Duration::seconds(31)));
    }

    #[test]
    fn j09_what_a_clock_dated_that_was_a_day_ahead_is_due() {
        let token = Lifetime {
            obtained_at: NOW + Duration::days(1),
            expires_at: Some(NOW + Duration::days(1) + Duration::hours(1)),
        };
        assert!(token.is_due(MARGIN, NOW) && !token.is_fit_for_use(NOW));
        assert!(!token.lasts(Duration::SECOND, NOW));
        let skewed = Lifetime { obtained_at: NOW + Duration::seconds(2), ..life(3600) };
        assert!(!skewed.is_due(MARGIN, NOW) && skewed.is_fit_for_use(NOW));
    }

    #[test]
    fn the_wait_doubles_with_each_failure_up_to_a_quarter_of_an_hour() {
        let longest = |failures| backoff(failures, &Fixed(255)).whole_seconds();
        assert_eq!([1, 2, 3].map(longest), [5, 10, 20]);
        assert_eq!(longest(u32::MAX), 900);
        assert_eq!(backoff(9, &Fixed(0)), Duration::SECOND);
    }

    proptest! {
        #[test]
        fn a_refresh_is_scheduled_when_it_is_due_and_before_the_end(
            seconds in 8_i64..100_000_000, margin in 0_i64..86_400, draw in any::<u8>()
        ) {
            let (token, margin) = (life(seconds), Duration::seconds(margin));
            let at = token.refresh_at(margin, &Fixed(draw), NOW).unwrap();
            prop_assert!(token.is_due(margin, at));
            prop_assert!(at <= token.expires_at.unwrap() && at >= NOW + LEAST_PAUSE);
            prop_assert!(!token.is_due(margin, NOW));
        }
    }
}
