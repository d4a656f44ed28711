//! Whether the database has answered for a while.
//!
//! Who spent a code or a refresh token and got an answer tries every second to store it, and after an outage it should
//! be the first: to others it looks dead, and one who takes over spends the same once more. So nobody takes over until
//! the database has been answering long enough for whoever is alive to have done so.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::{Store, StoreError};

/// More than the pause between two attempts to store, and the pool's between two to connect.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
/// An answer that takes longer is none.
const QUICK: Duration = Duration::from_secs(1);
/// How long an answer is kept for a database that is away; whoever took over meanwhile has made it void.
pub(super) const STORE_PATIENCE: Duration = Duration::from_mins(5);
/// The pause between two attempts to store it.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Stores what a code or a refresh token was spent for: while the database is away again and again, because it is not
/// to be had a second time. `waits` says for the log who waits.
pub(super) async fn store_patiently<T, Storing: Future<Output = Result<T, StoreError>>>(
    store: impl Fn() -> Storing,
    waits: impl Fn(),
) -> Result<T, StoreError> {
    let answered = Instant::now();
    loop {
        match store().await {
            Err(error) if error.is_outage() && answered.elapsed() < STORE_PATIENCE => {
                waits();
                tokio::time::sleep(STORE_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// One task's experience with the database; at first it has none, which is as good.
#[derive(Debug, Default)]
pub(super) struct Calm {
    disturbed: Option<Instant>,
}

impl Calm {
    /// Asks the database: whether it answers, and has for a while.
    pub(super) async fn lasts(&mut self, store: &Store) -> bool {
        let asked = Instant::now();
        let answers = store.ping().await.is_ok() && asked.elapsed() < QUICK;
        self.saw(answers, Instant::now())
    }

    fn saw(&mut self, answers: bool, now: Instant) -> bool {
        if !answers {
            self.disturbed = Some(now);
        }
        self.disturbed.is_none_or(|disturbed| now.duration_since(disturbed) >= LONG_ENOUGH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_calm_until_the_database_is_away_and_a_while_after_that() {
        let (mut calm, now) = (Calm::default(), Instant::now());
        assert!(calm.saw(true, now));
        assert!(!calm.saw(false, now));
        let then = now + LONG_ENOUGH / 2;
        assert!(!calm.saw(true, then), "it is back, and so is whoever waited for it");
        assert!(!calm.saw(false, then));
        assert!(!calm.saw(true, now + LONG_ENOUGH));
        assert!(calm.saw(true, then + LONG_ENOUGH));
    }
}
