//! How many requests are handled at once: one more is told to come back, rather than made to wait behind all others.
//!
//! A request is not counted while its body comes, so that who sends slowly keeps nobody out (J04): connections and the
//! time for a body bound those. Not counted either are those that have bounds of their own: relay connections and long
//! polls, which are the relay's, and `/healthz` and `/readyz`, which must answer most of all when there is too much to
//! do (J07).

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::domain::metric;

/// Routes that are not counted.
const UNCOUNTED: [&str; 4] = ["/healthz", "/readyz", "/api/cloudlink/relay", "/api/cloudlink/events"];

/// The requests that are being handled. Clones count together.
#[derive(Clone)]
pub struct Load(Arc<Counter>);

struct Counter {
    handled: AtomicUsize,
    most: usize,
    gauge: metrics::Gauge,
}

/// A request that is being handled, until dropped; its place can be given back in between.
pub(super) struct Handled {
    /// Nothing where the route is not counted.
    counter: Option<Arc<Counter>>,
    counted: Cell<bool>,
}

impl Load {
    /// `most` requests at once, by the listener named `listener`.
    pub fn new(listener: &'static str, most: usize) -> Self {
        let limit = metrics::gauge!(metric::HTTP_REQUESTS_LIMIT, "listener" => listener);
        limit.set(f64::from(u32::try_from(most).unwrap_or(u32::MAX)));
        let gauge = metrics::gauge!(metric::HTTP_REQUESTS_HANDLED, "listener" => listener);
        Self(Arc::new(Counter { handled: AtomicUsize::new(0), most, gauge }))
    }

    /// Takes a place for a request to `route`, or none where there are as many as there may be.
    pub(super) fn take(&self, route: &str) -> Option<Handled> {
        let counter = (!UNCOUNTED.contains(&route)).then(|| Arc::clone(&self.0));
        let handled = Handled { counter, counted: Cell::new(false) };
        handled.enter().then_some(handled)
    }
}

impl Handled {
    /// Takes a place, unless it has one. Whether it has one now.
    pub(super) fn enter(&self) -> bool {
        let Some(counter) = &self.counter else { return true };
        if self.counted.replace(true) {
            return true;
        }
        let before = counter.handled.fetch_add(1, Ordering::Relaxed);
        counter.gauge.increment(1.0);
        if before >= counter.most {
            self.leave();
        }
        self.counted.get()
    }

    /// Gives the place back.
    pub(super) fn leave(&self) {
        if let Some(counter) = &self.counter
            && self.counted.replace(false)
        {
            counter.handled.fetch_sub(1, Ordering::Relaxed);
            counter.gauge.decrement(1.0);
        }
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counter { handled, most, gauge: _ } = &*self.0;
        f.debug_struct("Load").field("handled", handled).field("most", most).finish_non_exhaustive()
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_may_be_is_refused_and_a_place_given_back_is_free() {
        let load = Load::new("test", 2);
        let one = load.take("/api/devices").unwrap();
        let two = load.take("/api/devices").unwrap();
        assert!(load.take("/api/devices").is_none());
        assert!(load.take("/api/devices").is_none(), "a refusal takes no place");
        drop(one);
        assert!(load.take("/api/devices").is_some());
        drop(two);
    }

    #[test]
    fn a_place_given_back_in_between_is_free_and_may_be_gone() {
        let load = Load::new("test", 1);
        let slow = load.take("/api/login").unwrap();
        slow.leave();
        let quick = load.take("/api/login").unwrap();
        assert!(!slow.enter(), "somebody else has it");
        assert!(quick.enter(), "who has one keeps it");
        drop(quick);
        assert!(slow.enter());
        assert!(load.take("/api/login").is_none());
        drop(slow);
        assert!(load.take("/api/login").is_some(), "each gave back what it had");
    }

    #[test]
    fn j07_health_is_answered_however_much_there_is_to_do() {
        let load = Load::new("test", 0);
        assert!(load.take("/api/devices").is_none());
        for route in UNCOUNTED {
            assert!(load.take(route).is_some());
        }
    }
}
