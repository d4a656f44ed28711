//! The long poll: the same events for a client that keeps no socket open.
//!
//! The caller's interest is registered before the database is read, so what changes in between wakes it.
//! A waiting poll takes a place among the connections and holds nothing else.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Relay, RelayAccess,
    connections::Refused,
    event::Event,
    standing,
    state::{self, Since},
};
use crate::{
    domain::{metric, slot::SlotState, topic::Channel},
    store::StoreError,
};

/// The longest that a poll waits.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Which events a poll wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What is not yet acknowledged, now or within the wait.
    Unacknowledged,
    /// What a new connection would get, now.
    All,
}

/// Why a poll has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// There are too many connections: answer 429.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The access token expired or was revoked: answer 401.
    #[error("the access token expired or was revoked")]
    TokenEnded,
    /// The database failed.
    #[error("the slots could not be read")]
    Store(#[from] StoreError),
    /// The database took too long.
    #[error("the database took too long")]
    Timeout,
}

impl Relay {
    /// The events of the caller's slots: at once where there are any, else when some come within `wait`
    /// ([`LONGEST_WAIT`] at most), else none.
    pub async fn poll(
        &self,
        access: &RelayAccess,
        wait: Duration,
        wanted: Wanted,
    ) -> Result<Vec<Event>, PollError> {
        let mut admission = self.admit(access.device)?;
        let mut knocks = self.bus().subscribe(access.device);
        let mut revocations = access.standing.changes();
        let deadline = Instant::now() + wait.min(LONGEST_WAIT).min(access.remaining(self.clock().now()));
        loop {
            if access.standing.is_revoked() || access.remaining(self.clock().now()).is_zero() {
                return Err(PollError::TokenEnded);
            }
            let devices = [access.device];
            let reading = timeout(self.settings().database, self.source().list_states(&devices));
            let rows = reading.await.map_err(|_| PollError::Timeout)??;
            let states = rows.into_iter().map(|(_, state)| state).collect::<Result<Vec<_>, _>>()?;
            let events = self.render(access, &states, wanted);
            let enough = !events.is_empty() || wanted == Wanted::All || Instant::now() >= deadline;
            if enough || self.drain().is_cancelled() {
                metrics::counter!(metric::EVENTS_SENT).increment(events.len() as u64);
                return Ok(events);
            }
            let news = async {
                loop {
                    tokio::select! {
                        _ = knocks.recv() => return,
                        () = standing::changed(&mut revocations) => return,
                        () = self.drain().cancelled() => return,
                        versions = admission.versions() => {
                            let same = |state: &SlotState| versions.get(&state.address.slot) == Some(&state.version);
                            if versions.len() != states.len() || !states.iter().all(same) {
                                return;
                            }
                        }
                    }
                }
            };
            // Either way the database has the last word.
            let _ = timeout_at(deadline, news).await;
        }
    }

    fn render(&self, access: &RelayAccess, states: &[SlotState], wanted: Wanted) -> Vec<Event> {
        let heard =
            |state: &&SlotState| access.topics.allow(Channel::Events, access.device, &state.address.slot);
        let now = self.clock().now();
        let events = states.iter().filter(heard).flat_map(|state| {
            let since = match wanted {
                Wanted::All => Since::NewConnection,
                Wanted::Unacknowledged => Since::Version(state.acked_version),
            };
            state::events(state, since, now, &self.public_url(), self.entropy())
        });
        events.collect()
    }
}

#[cfg(test)]
#[path = "polling_tests.rs"]
mod tests;
