//! Bounds on guessing, wrong passwords and wrong user codes, and on what anybody may start, by the caller's network.
//!
//! A right guess in between frees nothing (C05). The memory is bounded: a full table forgets its older half. Each replica counts for itself, so an attacker gets the bound once for each.

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

/// One bound for each thing that can be guessed.
#[derive(Debug)]
pub struct Throttles {
    /// The owner's password.
    pub logins: Throttle,
    /// Passwords of devices, whichever.
    pub device_logins: Throttle,
    /// Enrolments by who is not the owner.
    pub enrolments: Throttle,
    /// User codes typed at `/link`.
    pub user_codes: Throttle,
    /// Sign-ins that terminals start.
    pub sign_ins: Throttle,
    /// Tokens that are given back, which every replica must remember.
    pub revocations: Throttle,
    /// Examinations of plugins, each of which asks a provider; the owner's, from wherever.
    pub examinations: Throttle,
    /// Client secrets of slots.
    pub slot_clients: Throttle,
    /// Commands for one hub, each of which is in the audit record; by its device.
    pub commands: Throttle,
    /// Attempts of account link, started.
    pub account_links: Throttle,
    /// Refreshes for Home Assistant.
    pub account_refreshes: Throttle,
}

impl Default for Throttles {
    fn default() -> Self {
        Self {
            logins: Throttle::new(20, Duration::from_mins(1)),
            device_logins: Throttle::new(20, Duration::from_mins(1)),
            enrolments: Throttle::new(10, Duration::from_mins(10)),
            user_codes: Throttle::new(10, Duration::from_mins(10)),
            sign_ins: Throttle::new(30, Duration::from_mins(10)),
            revocations: Throttle::new(60, Duration::from_mins(10)),
            examinations: Throttle::new(10, Duration::from_mins(1)),
            slot_clients: Throttle::new(20, Duration::from_mins(1)),
            commands: Throttle::new(60, Duration::from_mins(1)),
            account_links: Throttle::new(30, Duration::from_mins(10)),
            account_refreshes: Throttle::new(120, Duration::from_mins(1)),
        }
    }
}

impl Throttles {
    /// All of them, by the names that metrics have for them.
    pub fn by_name(&self) -> [(&'static str, &Throttle); 11] {
        let Self {
            logins,
            device_logins,
            enrolments,
            user_codes,
            sign_ins,
            revocations,
            examinations,
            slot_clients,
            commands,
            account_links,
            account_refreshes,
        } = self;
        [
            ("logins", logins),
            ("device_logins", device_logins),
            ("enrolments", enrolments),
            ("user_codes", user_codes),
            ("sign_ins", sign_ins),
            ("revocations", revocations),
            ("examinations", examinations),
            ("slot_clients", slot_clients),
            ("commands", commands),
            ("account_links", account_links),
            ("account_refreshes", account_refreshes),
        ]
    }
}

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
