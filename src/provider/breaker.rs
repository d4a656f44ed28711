//! Which providers are not asked for a while, because they did not answer the last few times (E11).
//!
//! After [`FAILURES`] in a row a host is left alone for a while that doubles with each further failure; then one
//! request may try, and its outcome decides for all. A refusal costs nobody anything: it is no attempt. The
//! memory is this process's own and bounded: a host is remembered only while it fails.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Failures in a row after which a host is left alone.
const FAILURES: u32 = 5;
/// For how long at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// How long the one request that tries may take before another may.
const TRIAL: Duration = Duration::from_secs(40);
/// Hosts that are remembered; beyond that those that are asked least soon are forgotten.
const MOST_HOSTS: usize = 1024;

/// The host is left alone for this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftAlone(pub Duration);

#[derive(Debug, Clone, Copy)]
struct Trouble {
    failures: u32,
    /// Nobody asks before; while a request tries, nobody else does.
    quiet_until: Instant,
}

impl Trouble {
    fn is_quiet(&self, now: Instant) -> bool {
        self.failures >= FAILURES && self.quiet_until > now
    }
}

/// Remembers which hosts fail.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<HashMap<Box<str>, Trouble>>);

impl Breaker {
    /// Whether `host` may be asked now. Where it was left alone until now, who is told yes is the one that tries.
    ///
    /// # Errors
    /// For how long it is left alone.
    pub fn admit(&self, host: &str, now: Instant) -> Result<(), LeftAlone> {
        let mut hosts = self.lock();
        let Some(trouble) = hosts.get_mut(host).filter(|trouble| trouble.failures >= FAILURES) else {
            return Ok(());
        };
        if trouble.quiet_until > now {
            return Err(LeftAlone(trouble.quiet_until - now));
        }
        trouble.quiet_until = now + TRIAL;
        Ok(())
    }

    /// For how long `host` is left alone, if it is.
    pub fn is_left_alone(&self, host: &str, now: Instant) -> Option<LeftAlone> {
        let hosts = self.lock();
        let trouble = hosts.get(host).filter(|trouble| trouble.is_quiet(now))?;
        Some(LeftAlone(trouble.quiet_until - now))
    }

    /// `host` answered, whatever it said ([`HostSign`](super::HostSign)). Whether it was left alone before.
    pub fn answered(&self, host: &str) -> bool {
        self.lock().remove(host).is_some_and(|trouble| trouble.failures >= FAILURES)
    }

    /// `host` did not answer. Whether it is left alone from now on, and was not before.
    pub fn failed(&self, host: &str, now: Instant) -> bool {
        let mut hosts = self.lock();
        if hosts.len() >= MOST_HOSTS && !hosts.contains_key(host) {
            forget_one(&mut hosts);
        }
        let trouble = hosts.entry(host.into()).or_insert(Trouble { failures: 0, quiet_until: now });
        trouble.failures = trouble.failures.saturating_add(1);
        if trouble.failures >= FAILURES {
            let (first, longest) = PAUSE;
            let doubled = first.saturating_mul(2_u32.saturating_pow((trouble.failures - FAILURES).min(8)));
            trouble.quiet_until = now + doubled.min(longest);
        }
        trouble.failures == FAILURES
    }

    /// The hosts that are left alone now.
    pub fn left_alone(&self, now: Instant) -> Vec<String> {
        let hosts = self.lock();
        let quiet =
            hosts.iter().filter(|(_, trouble)| trouble.is_quiet(now)).map(|(host, _)| host.to_string());
        quiet.collect()
    }

    /// A panic elsewhere leaves the map valid.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_one(hosts: &mut HashMap<Box<str>, Trouble>) {
    let oldest = hosts.iter().min_by_key(|(_, trouble)| trouble.quiet_until).map(|(host, _)| host.clone());
    if let Some(host) = oldest {
        hosts.remove(&host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        let opened: Vec<bool> = (0..FAILURES).map(|_| breaker.failed("dead.example", now)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn e11_a_host_that_fails_five_times_in_a_row_is_left_alone_and_others_are_not() {
        let now = Instant::now();
        let breaker = broken(now);
        assert_eq!(breaker.admit("dead.example", now), Err(LeftAlone(PAUSE.0)));
        assert_eq!(breaker.admit("live.example", now), Ok(()));
        assert_eq!(breaker.left_alone(now), ["dead.example"]);
    }

    #[test]
    fn one_request_tries_and_its_outcome_decides_for_all() {
        let now = Instant::now();
        let breaker = broken(now);
        let later = now + PAUSE.0;
        assert_eq!(breaker.admit("dead.example", later), Ok(()));
        assert!(breaker.admit("dead.example", later).is_err(), "somebody tries already");
        assert!(!breaker.failed("dead.example", later), "it was left alone before");
        assert_eq!(breaker.admit("dead.example", later), Err(LeftAlone(2 * PAUSE.0)), "twice as long");
        let recovered = later + 2 * PAUSE.0;
        assert_eq!(breaker.admit("dead.example", recovered), Ok(()));
        assert!(breaker.answered("dead.example"));
        assert_eq!(breaker.admit("dead.example", recovered), Ok(()));
        assert_eq!(breaker.admit("dead.example", recovered), Ok(()));
    }

    #[test]
    fn an_answer_in_between_makes_failures_begin_anew() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for round in 0..20 {
            assert!(!breaker.failed("flaky.example", now), "{round}");
            if round % 4 == 3 {
                assert!(!breaker.answered("flaky.example"));
            }
        }
    }

    #[test]
    fn who_tries_and_is_never_heard_of_again_makes_room_for_another() {
        let now = Instant::now();
        let breaker = broken(now);
        let later = now + PAUSE.0;
        assert_eq!(breaker.admit("dead.example", later), Ok(()));
        assert_eq!(breaker.admit("dead.example", later + TRIAL), Ok(()));
    }

    #[test]
    fn the_memory_is_bounded() {
        let now = Instant::now();
        let breaker = broken(now);
        for n in 0..2 * MOST_HOSTS {
            breaker.failed(&format!("h{n}.example"), now);
        }
        assert_eq!(breaker.lock().len(), MOST_HOSTS);
        assert!(breaker.admit("dead.example", now).is_err(), "who is left alone is not forgotten first");
    }

    #[test]
    fn a_host_that_goes_on_failing_is_asked_once_a_minute() {
        let mut now = Instant::now();
        let breaker = broken(now);
        for _ in 0..100 {
            let LeftAlone(wait) = breaker.admit("dead.example", now).unwrap_err();
            assert!(wait <= PAUSE.1);
            now += wait;
            assert_eq!(breaker.admit("dead.example", now), Ok(()));
            breaker.failed("dead.example", now);
        }
        assert_eq!(breaker.admit("dead.example", now), Err(LeftAlone(PAUSE.1)));
    }
}
