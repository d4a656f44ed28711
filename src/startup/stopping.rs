//! The time that a stop has: one deadline, which its parts share in turn.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

/// Kept at the end of a stop for what is still to be stored and for the database's connections, half of it each; of a
/// short stop no more than half.
pub(super) const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Until when each part of a stop may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    work: Instant,
    tasks: Instant,
    all: Instant,
}

impl Stopping {
    /// A stop that began at `now` and takes no longer than `limit`.
    pub(super) fn within(limit: Duration, now: Instant) -> Self {
        let last = LAST_MOMENT.min(limit / 2);
        let after = |time| now + time;
        Self {
            work: after(limit.saturating_sub(last)),
            tasks: after(limit.saturating_sub(last / 2)),
            all: after(limit),
        }
    }

    /// Lets others go on for so long.
    pub(super) async fn pause(&self, time: Duration) {
        sleep_until(self.work.min(Instant::now() + time)).await;
    }

    /// Waits for what is under way. Whether it ended.
    pub(super) async fn work(&self, done: impl Future<Output = ()>) -> bool {
        timeout_at(self.work, done).await.is_ok()
    }

    /// Waits for what runs beside it; what is still busy then ends with the process.
    pub(super) async fn tasks(&self, done: impl Future<Output = ()>) {
        let _ = timeout_at(self.tasks, done).await;
    }

    /// Waits for what all others needed; what is still busy then ends with the process.
    pub(super) async fn connections(&self, done: impl Future<Output = ()>) {
        let _ = timeout_at(self.all, done).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[test]
    fn a_stop_has_one_deadline_and_each_part_some_of_the_time() {
        let now = Instant::now();
        for limit in [1, 2, 25, 300].map(Duration::from_secs) {
            let Stopping { work, tasks, all } = Stopping::within(limit, now);
            assert_eq!(all, now + limit);
            assert!(now < work && work < tasks && tasks < all, "{limit:?}");
        }
    }

    #[tokio::test]
    async fn what_hangs_is_given_up_part_by_part() {
        let start = Instant::now();
        let limit = Duration::from_millis(40);
        let stopping = Stopping::within(limit, start);
        stopping.pause(Duration::from_hours(1)).await;
        assert!(!stopping.work(pending()).await);
        stopping.tasks(pending()).await;
        stopping.connections(pending()).await;
        assert!(start.elapsed() >= limit);
        assert!(stopping.work(std::future::ready(())).await, "what is done by then is done");
    }
}
