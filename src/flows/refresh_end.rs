//! The end of a refresh: recorded first, then told.

use time::{Duration, OffsetDateTime};

use super::{
    Broker,
    calm::store_patiently,
    refresh::{Outcome, RefreshTask},
};
use crate::{
    domain::{
        metric,
        refresh::{GrantEnd, Lifetime, Trouble, backoff, misconfigured_pause},
    },
    provider::RefreshFailure,
    store::{NextLook, RefreshLease, Refreshed, StoreError},
};

impl Broker {
    /// Records what a refresh came to, for as long as it is kept for a database that is away.
    pub(super) async fn record_patiently(
        &self,
        task: &RefreshTask,
        host: Option<&str>,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let slot = &task.leased.lease.address;
        let waits = || tracing::warn!(%slot, "the refresh waits for the database");
        store_patiently(|| self.record_refresh(task, host, outcome), waits).await
    }

    async fn record_refresh(
        &self,
        task: &RefreshTask,
        host: Option<&str>,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let (lease, now) = (&task.leased.lease, self.now());
        match outcome {
            Outcome::Tokens { tokens, obtained_at } => {
                let lifetime = Lifetime { obtained_at: *obtained_at, expires_at: tokens.expires_at() };
                let next = NextLook { at: lifetime.refresh_at(task.margin, self.entropy(), now), host };
                let stored = self.store.store_refresh(lease, tokens, *obtained_at, next, now).await?;
                self.tell(lease, stored, "refreshed");
                Ok(())
            }
            Outcome::End(why) => self.end_grant(lease, *why).await,
            Outcome::Failed(RefreshFailure::ProviderAway { retry_after }) => {
                let rest = retry_after.map(|rest| Duration::try_from(rest).unwrap_or(Duration::DAY));
                let pause = backoff(task.leased.failures.saturating_add(1), self.entropy());
                let next = NextLook { at: Some(now + pause.max(rest.unwrap_or_default())), host };
                let hold_until = rest.map(|rest| now + rest);
                self.store.fail_refresh(lease, Trouble::Provider, next, hold_until, now).await?;
                metrics::counter!(metric::REFRESHES, "outcome" => outcome.word()).increment(1);
                Ok(())
            }
            Outcome::Failed(RefreshFailure::Misconfigured | RefreshFailure::GrantGone) => {
                self.refuse(lease, host, now).await
            }
        }
    }

    /// Only the owner or the plugin's author can help: the owner is told once, and it is tried once an hour.
    pub(super) async fn refuse(
        &self,
        lease: &RefreshLease,
        host: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let at = Some(now + misconfigured_pause(self.entropy()));
        let next = NextLook { at, host };
        let begun = self.store.fail_refresh(lease, Trouble::Configuration, next, at, now).await?;
        metrics::counter!(metric::REFRESHES, "outcome" => "refused").increment(1);
        if begun {
            let slot = &lease.address;
            tracing::error!(%slot, "the provider refuses the slot's client or configuration; please check it");
        }
        Ok(())
    }

    pub(super) async fn end_grant(&self, lease: &RefreshLease, why: GrantEnd) -> Result<(), StoreError> {
        let ended = self.store.end_grant(lease, why, self.now()).await?;
        self.tell(lease, ended, why.as_str());
        Ok(())
    }

    /// After the commit.
    fn tell(&self, lease: &RefreshLease, stored: Refreshed, outcome: &'static str) {
        let slot = &lease.address;
        match stored {
            Refreshed::Yes(version) => {
                self.bus.knock(slot);
                metrics::counter!(metric::REFRESHES, "outcome" => outcome).increment(1);
                tracing::info!(%slot, %version, outcome, "refresh ended");
            }
            Refreshed::LeaseLost => {
                metrics::counter!(metric::REFRESHES, "outcome" => "lost").increment(1);
                tracing::warn!(%slot, outcome, "a refresh came too late for its slot");
            }
        }
    }
}
