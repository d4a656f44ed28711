//! One refresh: old tokens become new ones, stored before anybody hears of them (RFC 6749 §6).
//!
//! Whoever refreshes holds a lease (`store/refresh_leases`), written before the provider is asked; every end is
//! guarded by its fence. It is not renewed: it lasts longer than the request and the wait for the database
//! together. A replica that dies leaves it behind; when it is over, another asks once more with the same refresh
//! token. If that one was spent, the provider says so, and the slot asks for its user.

use std::{collections::BTreeMap, time::Instant};

use time::{Duration, OffsetDateTime};
use tokio::task::JoinHandle;
use url::Url;

use super::Broker;
use crate::{
    domain::{
        metric,
        plugin::{self, Custody, OauthConfiguration},
        refresh::GrantEnd,
        tokens::TokenSet,
    },
    provider::{
        ExchangeError, HostSign, RefreshFailure, Registration, callback_values, merge, names_another_user,
    },
    store::{Leased, LeasedRefresh, NextLook, RefreshLease, StoreError},
};

/// Why a refresh was leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// It was time to look at it.
    Due,
    /// Somebody wants a token.
    Wanted,
}

/// How a refresh ended, for who waits for it. What came of it stands in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is over.
    Over,
    /// The plugin keeps the tokens and refreshes them itself.
    NotOurs,
}

/// What a leased refresh works with.
pub(super) struct RefreshTask {
    pub(super) leased: LeasedRefresh,
    configuration: OauthConfiguration,
    variables: BTreeMap<String, String>,
    callback: BTreeMap<String, String>,
    redirect_uri: Url,
    pub(super) margin: Duration,
}

/// What is to be done about a grant.
enum Step {
    /// Nothing yet.
    Wait(Option<OffsetDateTime>),
    /// Nothing at all: the plugin does it.
    Leave,
    /// It is over.
    End(GrantEnd),
    /// Ask the provider.
    Ask,
}

/// What asking the provider came to.
pub(super) enum Outcome {
    Tokens { tokens: TokenSet, obtained_at: OffsetDateTime },
    End(GrantEnd),
    Failed(RefreshFailure),
}

impl RefreshTask {
    fn registration<'a>(&'a self, broker: &'a Broker) -> Registration<'a> {
        Registration {
            configuration: &self.configuration,
            variables: &self.variables,
            callback: &self.callback,
            redirect_uri: &self.redirect_uri,
            egress: broker.settings.egress,
        }
    }

    fn step(&self, broker: &Broker, occasion: Occasion, now: OffsetDateTime) -> Step {
        let lifetime = self.leased.lifetime;
        if self.configuration.custody == Custody::Device {
            return Step::Leave;
        }
        // After a failure, or where another died over it, nobody knows whether the refresh token is spent.
        let due = self.leased.failures > 0 || lifetime.is_due(self.margin, now);
        if !due && occasion == Occasion::Due {
            return Step::Wait(lifetime.refresh_at(self.margin, broker.entropy(), now));
        }
        let refresh_token = self.leased.tokens.refresh_token();
        if self.registration(broker).is_refreshable(refresh_token.as_ref()) {
            return Step::Ask;
        }
        if lifetime.is_over(now) { Step::End(GrantEnd::Expired) } else { Step::Wait(lifetime.expires_at) }
    }

    /// What a failure means; it is logged here and nowhere else.
    fn failed(&self, error: &ExchangeError, spent: bool) -> Outcome {
        let failure = RefreshFailure::of(error, spent);
        let (slot, failures) = (&self.leased.lease.address, self.leased.failures);
        tracing::warn!(%slot, failures, ?failure, error = error as &dyn std::error::Error, "refresh failed");
        if failure == RefreshFailure::GrantGone {
            return Outcome::End(GrantEnd::InvalidGrant);
        }
        Outcome::Failed(failure)
    }
}

impl Broker {
    /// Ends a leased refresh in a task of its own: a caller that goes away does not stop it.
    pub(super) fn start_refresh(&self, leased: Leased, occasion: Occasion) -> JoinHandle<Attempt> {
        let broker = self.clone();
        let refreshing = async move {
            let address = match &leased {
                Ok(leased) => leased.lease.address.clone(),
                Err((lease, _)) => lease.address.clone(),
            };
            broker.refresh(leased, occasion).await.unwrap_or_else(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::error!(slot = %address, error, "refresh not recorded; it is made again");
                Attempt::Over
            })
        };
        self.exchanges.spawn_on(refreshing, &self.runtime)
    }

    async fn refresh(&self, leased: Leased, occasion: Occasion) -> Result<Attempt, StoreError> {
        let task = match self.prepare(leased) {
            Ok(task) => task,
            Err(lease) => {
                self.refuse(&lease, None, self.now()).await?;
                return Ok(Attempt::Over);
            }
        };
        let (lease, now) = (&task.leased.lease, self.now());
        let host = task.registration(self).refresh_host().ok();
        match task.step(self, occasion, now) {
            Step::Leave => {
                self.store.put_off_refresh(lease, NextLook { at: None, host: None }, now).await?;
                return Ok(Attempt::NotOurs);
            }
            Step::Wait(at) => {
                self.store.put_off_refresh(lease, NextLook { at, host: host.as_deref() }, now).await?;
            }
            Step::End(why) => self.end_grant(lease, why).await?,
            Step::Ask if host.as_deref().is_none_or(|host| self.admit(host)) => {
                let outcome = self.ask(&task, host.as_deref()).await;
                self.record_patiently(&task, host.as_deref(), &outcome).await?;
            }
            Step::Ask => {
                // The host is known now: nothing there is leased until it may be asked again.
                let next = NextLook { at: Some(now), host: host.as_deref() };
                self.store.put_off_refresh(lease, next, now).await?;
            }
        }
        Ok(Attempt::Over)
    }

    /// What was leased as a task. Else why not was logged, and only somebody else can help.
    fn prepare(&self, leased: Leased) -> Result<RefreshTask, RefreshLease> {
        let leased = leased.map_err(|(lease, error)| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(slot = %lease.address, error, "a grant can't be read");
            lease
        })?;
        let parsed = plugin::parse(&leased.configuration.effective(), self.settings.egress).ok();
        let configuration = parsed.map(|parsed| parsed.configuration);
        let values = configuration.and_then(|configuration| {
            let variables = configuration.variables(&leased.configuration.variables).ok()?;
            let uri = self.settings.public_url.redirect_uri(configuration.redirect_uri, &leased.plugin);
            Some((variables, Url::parse(&uri).ok()?, configuration))
        });
        let Some((variables, redirect_uri, configuration)) = values else {
            tracing::warn!(slot = %leased.lease.address, "the slot's configuration is not valid any more");
            return Err(leased.lease);
        };
        Ok(RefreshTask {
            callback: callback_values(&configuration, &leased.tokens),
            margin: self.refresh_margin(&configuration),
            leased,
            configuration,
            variables,
            redirect_uri,
        })
    }

    /// How long before their end tokens of this configuration are refreshed.
    pub(super) fn refresh_margin(&self, configuration: &OauthConfiguration) -> Duration {
        let own = configuration.refresh_margin.map(|margin| Duration::seconds(margin.into()));
        own.unwrap_or(self.settings.refresh_margin)
    }

    fn admit(&self, host: &str) -> bool {
        self.breaker.admit(host, tokio::time::Instant::now()).is_ok()
    }

    async fn ask(&self, task: &RefreshTask, host: Option<&str>) -> Outcome {
        let (previous, obtained_at) = (&task.leased.tokens, self.now());
        let token = previous.refresh_token();
        let request =
            task.registration(self).refresh(token.as_ref(), previous.scope(), obtained_at, self.entropy());
        let started = Instant::now();
        let answer = match request {
            Ok(request) => {
                self.provider.exchange(request, &task.configuration, &task.callback, obtained_at).await
            }
            Err(error) => Err(error.into()),
        };
        if let Some(host) = host {
            self.remember(host, HostSign::of(&answer));
        }
        let spent = task.leased.lifetime.is_over(self.now());
        let outcome = match answer {
            Ok(fresh) if names_another_user(previous, &fresh) => Outcome::End(GrantEnd::AnotherUser),
            Ok(fresh) => match merge(previous, &fresh) {
                Ok(tokens) => Outcome::Tokens { tokens, obtained_at },
                Err(error) => task.failed(&error.into(), spent),
            },
            Err(error) => task.failed(&error, spent),
        };
        if let Some(host) = host {
            metrics::histogram!(
                metric::REFRESH_SECONDS, "host" => self.hosts.label(host), "outcome" => outcome.word()
            )
            .record(started.elapsed().as_secs_f64());
        }
        outcome
    }

    /// Tells the breaker how the host did.
    fn remember(&self, host: &str, sign: HostSign) {
        let left_alone = |value| {
            metrics::gauge!(metric::PROVIDER_LEFT_ALONE, "host" => self.hosts.label(host)).set(value);
        };
        match sign {
            HostSign::Answers if self.breaker.answered(host) => {
                left_alone(0.0);
                tracing::info!(host, "the provider answers again");
            }
            HostSign::Fails if self.breaker.failed(host, tokio::time::Instant::now()) => {
                left_alone(1.0);
                tracing::warn!(host, "the provider does not answer; it is left alone for a while");
            }
            HostSign::Answers | HostSign::Fails | HostSign::Unasked => {}
        }
    }
}

impl Outcome {
    /// For metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Tokens { .. } => "refreshed",
            Self::End(why) => why.as_str(),
            Self::Failed(RefreshFailure::ProviderAway { .. }) => "provider_away",
            Self::Failed(RefreshFailure::Misconfigured | RefreshFailure::GrantGone) => "refused",
        }
    }
}
