//! A refresh for Home Assistant: passed on to the provider with the plugin's client secret, and kept for a minute, so
//! that who lost the answer, or asks twice, hears the same. Providers that rotate take a repeated token for a stolen one.

use std::{collections::BTreeMap, time::Duration as Period};

use time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::{
    delivery::for_client,
    service::{ServicePlugin, StartAccountLinkError},
};
use crate::{
    domain::{
        account_link::{RefreshAnswer, ServiceDomain, bell},
        binding::ClientNetwork,
        ids::DeviceId,
        metric,
        secret::RefreshToken,
    },
    flows::{Broker, TooManyWait, calm::store_patiently},
    provider::{AnswerError, ExchangeError, RefreshFailure, Registration},
    store::{AccountRefresh, AccountRefreshLease, PresentedToken, StoreError},
};

/// More than a request to the provider may take (30 s).
const LEASE: Duration = Duration::seconds(40);
/// How long a lease is remembered: until whoever has it gives up storing what came of it.
const REMEMBERED: Duration = Duration::minutes(6);
/// How long a client waits for its answer to be kept, too, which takes longer only while the database is away.
const KEPT_SOON: Period = Period::from_secs(1);
/// How long an answer is repeated.
const REPEATED_FOR: Duration = Duration::seconds(60);
/// How long one waits for an answer that another asks for.
const PATIENCE: Period = Period::from_secs(45);
/// How often one looks whether it is there, should the knock be lost.
const LOOK_AGAIN: Period = Period::from_secs(1);
/// When to ask again, where a provider that is away does not say.
const PROVIDER_AWAY: Period = Period::from_secs(30);
/// The longest that a provider's wish to be left alone is repeated without asking it.
const LONGEST_AWAY: Period = Period::from_mins(1);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AccountRefreshError {
    /// There is no such service.
    #[error("there is no such service")]
    UnknownService,
    /// Whoever asks the provider has not heard yet.
    #[error("the refresh is still under way")]
    UnderWay,
    /// As many wait for providers as may.
    #[error(transparent)]
    TooManyWait(#[from] TooManyWait),
    /// The store failed.
    #[error("the refresh could not be made")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Refreshes with a refresh token that Home Assistant keeps, for a caller in `network`.
    pub async fn refresh_account(
        &self,
        domain: &ServiceDomain,
        token: &RefreshToken,
        network: ClientNetwork,
    ) -> Result<RefreshAnswer, AccountRefreshError> {
        let service = self.account_link_service(domain).ok_or(AccountRefreshError::UnknownService)?;
        let plugin = match self.service_plugin(domain, service).await {
            Ok(plugin) => Some(plugin),
            Err(StartAccountLinkError::Store(error)) => return Err(error.into()),
            Err(StartAccountLinkError::Unsupported | StartAccountLinkError::Unavailable) => None,
        };
        let presented = PresentedToken::of(domain, token);
        let _place = self.waiters.enter_from(network)?;
        let deadline = Instant::now() + PATIENCE;
        let mut knocks = self.bus.subscribe(DeviceId(presented.id()));
        loop {
            let now = self.now();
            match self.store.lease_account_refresh(presented, now + LEASE, now + REMEMBERED, now).await? {
                AccountRefresh::Answered(answer) => {
                    metrics::counter!(metric::ACCOUNT_LINK_REFRESHES, "outcome" => "repeated").increment(1);
                    return Ok(answer);
                }
                AccountRefresh::Yours(lease) => {
                    return Ok(self.refresh_under(lease, domain, plugin, token).await);
                }
                AccountRefresh::UnderWay => {}
            }
            if timeout_at(deadline, async { drop(timeout(LOOK_AGAIN, knocks.recv()).await) }).await.is_err() {
                return Err(AccountRefreshError::UnderWay);
            }
        }
    }

    /// Asks, in a task of its own: a client that goes away does not lose a token that its provider has replaced.
    async fn refresh_under(
        &self,
        lease: AccountRefreshLease,
        domain: &ServiceDomain,
        plugin: Option<ServicePlugin>,
        token: &RefreshToken,
    ) -> RefreshAnswer {
        let (broker, token, domain) = (self.clone(), token.clone(), domain.clone());
        let asking = async move {
            let answer = match plugin {
                Some(plugin) => broker.ask_provider(&domain, &plugin, &token).await,
                None => RefreshAnswer::Misconfigured,
            };
            metrics::counter!(metric::ACCOUNT_LINK_REFRESHES, "outcome" => answer.word()).increment(1);
            let (keeper, kept) = (broker.clone(), answer.clone());
            let keeping = async move { keeper.keep_answer(lease, &kept).await };
            let keeping = broker.exchanges.spawn_on(keeping, &broker.runtime);
            // Given in any case, though it may never be kept.
            let _ = timeout(KEPT_SOON, keeping).await;
            answer
        };
        // A panic there was logged where it happened.
        self.exchanges.spawn_on(asking, &self.runtime).await.unwrap_or(RefreshAnswer::Away(PROVIDER_AWAY))
    }

    async fn ask_provider(
        &self,
        domain: &ServiceDomain,
        plugin: &ServicePlugin,
        token: &RefreshToken,
    ) -> RefreshAnswer {
        let ServicePlugin { row, configuration, variables } = plugin;
        let redirect_uri = self.settings.public_url.redirect_uri(configuration.redirect_uri, &row.id);
        let Ok(redirect_uri) = Url::parse(&redirect_uri) else { return RefreshAnswer::Misconfigured };
        let registration = Registration {
            configuration,
            variables,
            callback: &BTreeMap::new(),
            redirect_uri: &redirect_uri,
            egress: self.settings.egress,
        };
        match self.refresh_with(&registration, token).await {
            Ok(tokens) => {
                let mut members = for_client(tokens.as_received(self.now()), &tokens);
                members.entry("refresh_token").or_insert_with(|| token.expose().into());
                RefreshAnswer::Tokens(members)
            }
            Err(error) => {
                let answer = answer_of(&error);
                let error = &error as &dyn std::error::Error;
                tracing::warn!(service = %domain, ?answer, error, "a refresh for Home Assistant failed");
                answer
            }
        }
    }

    /// Keeps an answer for whoever presents the same token again: it may be spent, and what it brought is nowhere else.
    async fn keep_answer(&self, lease: AccountRefreshLease, answer: &RefreshAnswer) {
        let (answered, came_at) = (Instant::now(), self.now());
        let keep = || {
            let from = match answer {
                RefreshAnswer::Tokens(_) => self.now(),
                // The provider may be asked again meanwhile.
                RefreshAnswer::Gone
                | RefreshAnswer::TooOften(_)
                | RefreshAnswer::Away(_)
                | RefreshAnswer::Misconfigured => came_at,
            };
            let kept = answer.told_after(answered.elapsed());
            let until = from + repeated_for(answer);
            async move { self.store.answer_account_refresh(lease, &kept, until).await }
        };
        let waits = || tracing::warn!("a refresh for Home Assistant waits for the database");
        match store_patiently(keep, waits).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("another took a refresh for Home Assistant over before it was answered");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the answer of a refresh could not be kept for whoever repeats it");
            }
        }
        if let Some(bell) = bell(lease.token.id()) {
            self.bus.knock(&bell);
        }
    }
}

fn answer_of(error: &ExchangeError) -> RefreshAnswer {
    if let ExchangeError::Answer(AnswerError::Unavailable { status: 429, retry_after }) = error {
        return RefreshAnswer::TooOften(retry_after.unwrap_or(PROVIDER_AWAY));
    }
    match RefreshFailure::of(error, true) {
        RefreshFailure::GrantGone => RefreshAnswer::Gone,
        RefreshFailure::Misconfigured => RefreshAnswer::Misconfigured,
        RefreshFailure::ProviderAway { retry_after } => {
            RefreshAnswer::Away(retry_after.unwrap_or(PROVIDER_AWAY))
        }
    }
}

/// Tokens are not repeated beyond their own end, nor trouble for longer than it may last.
fn repeated_for(answer: &RefreshAnswer) -> Duration {
    let trouble = |wait: Period| Duration::try_from(wait.min(LONGEST_AWAY)).unwrap_or(REPEATED_FOR);
    match answer {
        RefreshAnswer::Tokens(members) => {
            let left = members.get("expires_in").and_then(serde_json::Value::as_i64).map(Duration::seconds);
            left.map_or(REPEATED_FOR, |left| left.min(REPEATED_FOR))
        }
        RefreshAnswer::Gone => REPEATED_FOR,
        RefreshAnswer::TooOften(wait) | RefreshAnswer::Away(wait) => trouble(*wait),
        RefreshAnswer::Misconfigured => trouble(Period::from_secs(5)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_repeated_for_a_minute_and_never_beyond_the_tokens_end() {
        let tokens = |expires_in: i64| {
            let mut members = crate::domain::json::Object::new();
            members.insert("expires_in".to_owned(), expires_in.into());
            repeated_for(&RefreshAnswer::Tokens(members))
        };
        assert_eq!(tokens(3600), Duration::seconds(60));
        assert_eq!(tokens(7), Duration::seconds(7));
        assert_eq!(repeated_for(&RefreshAnswer::Gone), Duration::seconds(60));
        assert_eq!(repeated_for(&RefreshAnswer::Away(Period::from_secs(2))), Duration::seconds(2));
        assert_eq!(repeated_for(&RefreshAnswer::TooOften(Period::from_mins(150))), Duration::seconds(60));
    }

    #[test]
    fn only_invalid_grant_is_a_dead_grant_and_429_stays_429() {
        let answer =
            |status, retry_after| answer_of(&AnswerError::Unavailable { status, retry_after }.into());
        let second = Some(Period::from_secs(1));
        assert_eq!(answer(429, second), RefreshAnswer::TooOften(Period::from_secs(1)));
        assert_eq!(answer(503, second), RefreshAnswer::Away(Period::from_secs(1)));
        assert_eq!(answer(503, None), RefreshAnswer::Away(PROVIDER_AWAY));
        let refused = |code| {
            answer_of(
                &AnswerError::Refused { code: crate::provider::ErrorCode::parse(code), status: 400 }.into(),
            )
        };
        assert_eq!(refused("invalid_grant"), RefreshAnswer::Gone);
        assert_eq!(refused("invalid_client"), RefreshAnswer::Misconfigured);
    }
}
