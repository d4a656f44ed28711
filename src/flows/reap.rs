//! Forgetting what is of no use any more: by every replica from time to time, and by command.

use time::{Duration, OffsetDateTime};

use crate::store::{Horizons, Reapable, Store, StoreError};

/// How long an ended flow can still be asked about.
const REMEMBER_FLOWS: Duration = Duration::days(1);
/// How long the page of one of Home Assistant's attempts says how it ended.
const REMEMBER_ACCOUNT_LINKS: Duration = Duration::hours(1);
/// How long a network counts as one from which somebody logged in.
const REMEMBER_NETWORKS: Duration = Duration::days(90);

/// Whether one looks or does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reap {
    /// Only counts.
    DryRun,
    /// Deletes too.
    Round,
}

/// One round over everything that is kept for a while: what it finds, by kind.
pub async fn reap(
    store: &Store,
    how: Reap,
    audit_retention: Duration,
    now: OffsetDateTime,
) -> Result<Reapable, StoreError> {
    let horizons = horizons(audit_retention, now);
    let found = store.count_reapable(&horizons).await?;
    if how == Reap::Round {
        store.forget_flows(horizons.flows).await?;
        store.forget_spent(now).await?;
        store.forget_account_links(horizons.account_links, now).await?;
        store.give_up_revocations(now).await?;
        forget_slowly(store, &horizons).await?;
    }
    Ok(found)
}

/// From when on things count as old.
pub(super) fn horizons(audit_retention: Duration, now: OffsetDateTime) -> Horizons {
    Horizons {
        now,
        flows: now - REMEMBER_FLOWS,
        account_links: now - REMEMBER_ACCOUNT_LINKS,
        networks: now - REMEMBER_NETWORKS,
        audit: now - audit_retention,
    }
}

/// What need not go at once.
pub(super) async fn forget_slowly(store: &Store, horizons: &Horizons) -> Result<(), StoreError> {
    store.forget_enrolment_codes(horizons.now).await?;
    store.forget_logins(horizons.networks, horizons.now).await?;
    store.forget_signing_keys(horizons.now).await?;
    store.forget_sign_ins(horizons.now).await?;
    store.forget_stray_tokens().await?;
    store.forget_audit(horizons.audit).await
}
