//! Bounds on guessing: wrong passwords and wrong user codes, by the caller's network.
//!
//! A right guess in between frees nothing (C05). The memory is bounded: a full table starts afresh with the
//! oldest entries gone. Each replica counts for itself, so an attacker gets the bound once for each.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;

use crate::domain::binding::ClientNetwork;

/// Networks remembered at once.
const MOST_NETWORKS: usize = 50_000;

/// One bound for each thing that can be guessed.
#[derive(Debug)]
pub struct Throttles {
    /// The owner's password.
    pub logins: Throttle,
    /// User codes typed at `/link`.
    pub user_codes: Throttle,
}

impl Default for Throttles {
    fn default() -> Self {
        Self {
            logins: Throttle::new(20, Duration::from_mins(1)),
            user_codes: Throttle::new(10, Duration::from_mins(10)),
        }
    }
}

/// At most so many wrong guesses from one network in a window of time.
#[derive(Debug)]
pub struct Throttle {
    guesses: u32,
    window: Duration,
    seen: Mutex<HashMap<String, (OffsetDateTime, u32)>>,
}

impl Throttle {
    /// `guesses` in `window`.
    pub fn new(guesses: u32, window: Duration) -> Self {
        Self { guesses, window, seen: Mutex::default() }
    }

    /// How long the network has to wait, if it has no guess left.
    pub fn is_exhausted(&self, network: ClientNetwork, now: OffsetDateTime) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, guesses) = seen.get(&network.to_string())?;
        let left = Duration::try_from(*since + self.window - now).ok().filter(|left| !left.is_zero())?;
        (*guesses >= self.guesses).then_some(left)
    }

    /// Counts a wrong guess.
    pub fn spend(&self, network: ClientNetwork, now: OffsetDateTime) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_NETWORKS {
            let window = self.window;
            seen.retain(|_, (since, _)| now - *since < window);
            if seen.len() >= MOST_NETWORKS {
                seen.clear();
            }
        }
        let (since, guesses) = seen.entry(network.to_string()).or_insert((now, 0));
        if now - *since >= self.window {
            (*since, *guesses) = (now, 0);
        }
        *guesses = guesses.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn network(text: &str) -> ClientNetwork {
        ClientNetwork::of(text.parse().unwrap())
    }

    #[test]
    fn c05_after_ten_wrong_guesses_a_network_waits_and_others_do_not() {
        let throttle = Throttle::new(10, Duration::from_mins(10));
        let (attacker, start) = (network("203.0.113.9"), datetime!(2026-01-02 03:04:05 UTC));
        for _ in 0..10 {
            assert_eq!(throttle.is_exhausted(attacker, start), None);
            throttle.spend(attacker, start);
        }
        assert_eq!(throttle.is_exhausted(attacker, start), Some(Duration::from_mins(10)));
        assert_eq!(throttle.is_exhausted(network("203.0.113.10"), start), None);
        let later = start + Duration::from_mins(10);
        assert_eq!(throttle.is_exhausted(attacker, later), None);
        throttle.spend(attacker, later);
        assert_eq!(throttle.is_exhausted(attacker, later), None, "a new window begins");
    }
}
