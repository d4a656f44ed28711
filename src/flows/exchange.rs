//! The exchange: a code becomes tokens, and the tokens are stored before anybody hears of them.
//!
//! Its lease is the flow's row: `exchanging`, with a count of attempts. A replica that dies leaves the row
//! behind; another takes it over once, after more than the time that an exchange may take, while the code may
//! still be good. Every end is guarded by the attempt, so one who was taken for dead stores nothing.

use std::time::Instant;

use time::{Duration, OffsetDateTime};
use tokio::task::JoinHandle;
use url::Url;

use super::{Broker, calm::store_patiently};
use crate::{
    domain::{
        address::EgressPolicy,
        binding::{ClientNetwork, ConsentBinding},
        callback::Granted,
        flow::FlowError,
        ids::SlotAddress,
        metric,
        plugin::{self, Custody, OauthConfiguration},
        refresh::Lifetime,
        secret::{CodeVerifier, ConfirmCode},
        tokens::TokenSet,
    },
    provider::{ExchangeError, Registration},
    store::{Exchange, ExchangeLease, FlowConfiguration, FlowRow, NextLook, StoreError, Stored},
};

/// More than an exchange may take (30 s): who has not ended by then is dead.
const STALE_AFTER: Duration = Duration::seconds(40);
/// Providers let a code live ten minutes at most (RFC 6749 §4.1.2).
const CODE_LIFE: Duration = Duration::minutes(10);
/// Least time to read a confirm code from a page and type it elsewhere.
const CONFIRM_TIME: Duration = Duration::minutes(5);

/// One exchange to make.
pub(super) struct ExchangeTask {
    lease: ExchangeLease,
    address: SlotAddress,
    configuration: OauthConfiguration,
    fixed: FlowConfiguration,
    redirect_uri: Url,
    verifier: CodeVerifier,
    binding: ConsentBinding,
    device_network: ClientNetwork,
    browser_network: Option<ClientNetwork>,
    granted: Granted,
}

impl ExchangeTask {
    /// The first attempt, by the replica that redeemed the flow. `None`: the row lacks its verifier.
    pub(super) fn first(row: FlowRow, configuration: OauthConfiguration, granted: Granted) -> Option<Self> {
        Some(Self {
            lease: ExchangeLease { flow: row.id, attempt: 1 },
            address: row.address,
            configuration,
            fixed: row.configuration,
            redirect_uri: row.redirect_uri,
            verifier: row.verifier?,
            binding: row.binding,
            device_network: row.device_network,
            browser_network: row.browser_network,
            granted,
        })
    }

    /// An attempt that takes over. `None`: what was sealed is no longer understood.
    fn resumed(exchange: Exchange, configuration: OauthConfiguration) -> Option<Self> {
        Some(Self {
            lease: exchange.lease,
            address: exchange.address,
            configuration,
            fixed: exchange.configuration,
            redirect_uri: exchange.redirect_uri,
            verifier: exchange.verifier,
            binding: exchange.binding,
            device_network: exchange.device_network,
            browser_network: exchange.browser_network,
            granted: Granted::from_plaintext(&exchange.callback).ok()?,
        })
    }

    fn registration(&self, egress: EgressPolicy) -> Registration<'_> {
        Registration {
            configuration: &self.configuration,
            variables: &self.fixed.variables,
            callback: &self.granted.parameters,
            redirect_uri: &self.redirect_uri,
            egress,
        }
    }

    fn asks_for_code(&self) -> bool {
        match self.browser_network {
            Some(browser) => self.binding.asks_for_code(self.device_network, browser),
            None => self.binding != ConsentBinding::Page,
        }
    }
}

impl Broker {
    /// Makes an exchange in a task of its own: a browser that goes away does not stop it.
    pub(super) fn start_exchange(&self, task: ExchangeTask) -> JoinHandle<()> {
        let broker = self.clone();
        let flow = task.lease.flow;
        let exchanging = async move {
            if let Err(error) = broker.exchange(task).await {
                tracing::error!(%flow, error = &error as &dyn std::error::Error, "exchange not recorded");
            }
        };
        self.exchanges.spawn_on(exchanging, &self.runtime)
    }

    /// Takes over what replicas left behind when they died, and gives up what can't be saved.
    pub(super) async fn resume_exchanges(&self) -> Result<(), StoreError> {
        let now = self.now();
        let (stale, code_alive) = (now - STALE_AFTER, now - CODE_LIFE);
        for exchange in self.store.lease_abandoned_exchanges(stale, code_alive, now).await? {
            let lease = exchange.lease;
            tracing::warn!(flow = %lease.flow, "taking over an exchange that was left behind");
            let parsed = plugin::parse(&exchange.configuration.document, self.settings.egress);
            let task = parsed.ok().and_then(|parsed| ExchangeTask::resumed(exchange, parsed.configuration));
            match task {
                Some(task) => drop(self.start_exchange(task)),
                None => self.store.fail_exchange(lease, FlowError::ExchangeFailed, now).await?,
            }
        }
        let given_up = self.store.give_up_abandoned_exchanges(stale, code_alive, now).await?;
        if given_up > 0 {
            metrics::counter!(metric::FLOWS, "end" => "exchange_failed").increment(given_up);
            tracing::warn!(flows = given_up, "gave up exchanges that were left behind");
        }
        Ok(())
    }

    async fn exchange(&self, task: ExchangeTask) -> Result<(), StoreError> {
        let answer = self.request_tokens(&task).await;
        if let Err(error) = &answer {
            tracing::warn!(
                flow = %task.lease.flow, slot = %task.address, end = %flow_error(error),
                error = error as &dyn std::error::Error, "exchange failed"
            );
        }
        let waits = || tracing::warn!(flow = %task.lease.flow, "the exchange waits for the database");
        store_patiently(|| self.record(&task, &answer), waits).await
    }

    async fn record(
        &self,
        task: &ExchangeTask,
        answer: &Result<TokenSet, ExchangeError>,
    ) -> Result<(), StoreError> {
        match answer {
            Ok(tokens) if task.asks_for_code() => self.stage(task, tokens).await,
            Ok(tokens) => self.link(task, tokens).await,
            Err(error) => {
                let word = flow_error(error);
                self.store.fail_exchange(task.lease, word, self.now()).await?;
                metrics::counter!(metric::FLOWS, "end" => word.as_str()).increment(1);
                Ok(())
            }
        }
    }

    async fn request_tokens(&self, task: &ExchangeTask) -> Result<TokenSet, ExchangeError> {
        let now = self.now();
        let registration = task.registration(self.settings.egress);
        let request = registration.exchange(&task.granted.code, Some(&task.verifier), now, self.entropy())?;
        let host = request.host().to_owned();
        let started = Instant::now();
        let answer =
            self.provider.exchange(request, &task.configuration, &task.granted.parameters, now).await;
        let outcome = answer.as_ref().map_or_else(ExchangeError::word, |_| "tokens");
        metrics::histogram!(metric::EXCHANGE_SECONDS, "host" => self.hosts.label(&host), "outcome" => outcome)
            .record(started.elapsed().as_secs_f64());
        answer
    }

    async fn link(&self, task: &ExchangeTask, tokens: &TokenSet) -> Result<(), StoreError> {
        let (flow, slot, now) = (task.lease.flow, &task.address, self.now());
        let host = task.registration(self.settings.egress).refresh_host().ok();
        let next =
            NextLook { at: self.first_refresh(&task.configuration, tokens, now), host: host.as_deref() };
        match self.store.store_consent(task.lease, slot, tokens, next, now).await? {
            Stored::Linked(version) => {
                self.bus.knock(slot);
                metrics::counter!(metric::FLOWS, "end" => "linked").increment(1);
                tracing::info!(%flow, %slot, %version, "linked");
            }
            Stored::LeaseLost => tracing::warn!(%flow, %slot, "tokens came too late for their flow"),
        }
        Ok(())
    }

    /// When new tokens are first to be refreshed. Nothing: never by the broker.
    fn first_refresh(
        &self,
        configuration: &OauthConfiguration,
        tokens: &TokenSet,
        now: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        let lifetime = Lifetime { obtained_at: now, expires_at: tokens.expires_at() };
        match configuration.custody {
            Custody::Broker => lifetime.refresh_at(self.refresh_margin(configuration), self.entropy(), now),
            Custody::Device => None,
        }
    }

    async fn stage(&self, task: &ExchangeTask, tokens: &TokenSet) -> Result<(), StoreError> {
        let code = ConfirmCode::draw_digits(self.entropy());
        let until = self.now() + CONFIRM_TIME;
        if self.store.stage_consent(task.lease, tokens, &code, until).await? {
            tracing::info!(flow = %task.lease.flow, slot = %task.address, "consent waits for its code");
        }
        Ok(())
    }
}

/// The word for a flow whose exchange failed.
pub(super) fn flow_error(error: &ExchangeError) -> FlowError {
    error.word().parse().unwrap_or(FlowError::ExchangeFailed)
}
