//! Whether an access token still stands while a connection or a poll goes on with it.

use std::{sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::domain::{ids::DeviceId, topic::Topics};

/// Whether an access token still stands. Made for one token by whoever checked it; there is one for each connection,
/// so it keeps no more of the token than it needs.
pub trait Standing: Send + Sync + 'static {
    /// Whether it has been revoked: with its key, by a password change, or with the key that signed it.
    fn is_revoked(&self) -> bool;

    /// Changes whenever the answer of [`Standing::is_revoked`] may have become another.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What an access token, already checked, allows.
#[derive(Clone)]
pub struct RelayAccess {
    /// Its device.
    pub device: DeviceId,
    /// What it may hear and say.
    pub topics: Arc<Topics>,
    /// When it ends.
    pub expires_at: OffsetDateTime,
    /// Whether it still stands.
    pub standing: Arc<dyn Standing>,
}

impl RelayAccess {
    /// How long it is still valid; zero once it is not.
    pub(super) fn remaining(&self, now: OffsetDateTime) -> Duration {
        until(self.expires_at, now)
    }
}

/// From `now` to `at`; zero where that is past.
pub(super) fn until(at: OffsetDateTime, now: OffsetDateTime) -> Duration {
    Duration::try_from(at - now).unwrap_or(Duration::ZERO)
}

/// Waits until the token is revoked.
pub(super) async fn revoked(standing: Arc<dyn Standing>) {
    let mut revocations = standing.changes();
    while !standing.is_revoked() {
        changed(&mut revocations).await;
    }
}

/// Waits until revocations may have changed; forever, once nobody can change them.
pub(super) async fn changed(revocations: &mut watch::Receiver<u64>) {
    if revocations.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
