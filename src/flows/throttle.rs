//! A bound on what one network, or one caller, may do in a window of time.
//!
//! A right guess in between frees nothing (C05). The memory is bounded: a full table forgets its older half. Each replica
//! counts for itself, so an attacker gets the bound once for each.

use std::{
    collections::HashMap,
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;

use crate::domain::binding::ClientNetwork;

/// Networks remembered at once.
pub const MOST_NETWORKS: usize = 50_000;

/// At most so many wrong guesses from one network in a window of time.
#[derive(Debug)]
pub struct Throttle {
    guesses: u32,
    window: Duration,
    seen: Mutex<Seen>,
}

/// Since when, and how many, by network.
type Seen = HashMap<String, (OffsetDateTime, u32)>;

impl Throttle {
    /// `guesses` in `window`.
    pub fn new(guesses: u32, window: Duration) -> Self {
        Self { guesses, window, seen: Mutex::default() }
    }

    /// Takes one guess before it is looked at, so that guesses made at once don't get more; or says how long `who`,
    /// a network or a caller, has to wait.
    ///
    /// # Errors
    /// The wait, where no guess is left.
    pub fn take(&self, who: impl Display, now: OffsetDateTime) -> Result<(), Duration> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_NETWORKS {
            forget_older_half(&mut seen);
        }
        let (since, guesses) = seen.entry(who.to_string()).or_insert((now, 0));
        if now - *since >= self.window {
            (*since, *guesses) = (now, 0);
        }
        if *guesses >= self.guesses {
            return Err(Duration::try_from(*since + self.window - now).unwrap_or_default());
        }
        *guesses += 1;
        Ok(())
    }

    /// Networks, or callers, that are remembered now; at most [`MOST_NETWORKS`].
    pub fn remembered(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Gives a guess back that was right. Wrong ones before it stay counted.
    pub fn give_back(&self, network: ClientNetwork) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, guesses)) = seen.get_mut(&network.to_string()) {
            *guesses = guesses.saturating_sub(1);
        }
    }
}

fn forget_older_half(seen: &mut HashMap<String, (OffsetDateTime, u32)>) {
    let mut times: Vec<_> = seen.values().map(|(since, _)| *since).collect();
    times.sort_unstable();
    if let Some(median) = times.get(times.len() / 2).copied() {
        seen.retain(|_, (since, _)| *since > median);
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
        for _ in 0..9 {
            assert_eq!(throttle.take(attacker, start), Ok(()));
        }
        assert_eq!(throttle.take(attacker, start), Ok(()));
        throttle.give_back(attacker);
        assert_eq!(throttle.take(attacker, start), Ok(()), "a right one costs nothing");
        assert_eq!(throttle.take(attacker, start), Err(Duration::from_mins(10)), "and frees nothing");
        assert_eq!(throttle.take(network("203.0.113.10"), start), Ok(()));
        assert_eq!(throttle.take(attacker, start + Duration::from_mins(10)), Ok(()), "a new window begins");
    }

    #[test]
    fn a_full_table_forgets_the_older_half() {
        let start = datetime!(2026-01-02 03:04:05 UTC);
        let mut seen: HashMap<_, _> =
            (0..10).map(|n| (n.to_string(), (start + Duration::from_secs(n), 1))).collect();
        forget_older_half(&mut seen);
        let mut left: Vec<_> = seen.into_keys().collect();
        left.sort();
        assert_eq!(left, ["6", "7", "8", "9"]);
    }
}
