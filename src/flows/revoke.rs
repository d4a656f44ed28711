//! Revocation at the provider (RFC 7009) of what was erased here: after the fact, and as well as it can be done.
//!
//! Whoever unlinks does not wait for it. The job stands in the database before the erasing is committed, so that a
//! crash loses neither; any replica's sweep takes it up.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};
use url::Url;

use super::Broker;
use crate::{
    domain::{metric, plugin, public_url::REDIRECT_PATH},
    provider::{AnswerError, ExchangeError, Registration, RequestError, Revocable, SendError, TokenRequest},
    store::{LeasedRevocation, RevocationEnd, RevocationJob, StoreError, TokensAfterChange},
};

/// How long a try may take before another replica makes the next: more than a request may (30 s).
const LEASE: Duration = Duration::seconds(60);
/// The wait after the first try without an answer; it doubles with each, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::minutes(2);
const LONGEST_PAUSE: Duration = Duration::hours(4);

/// What asking the provider came to.
enum Outcome {
    Ended(RevocationEnd),
    Later(Option<Duration>),
}

impl Outcome {
    /// A token that the provider does not know is revoked too (RFC 7009 §2.2). What it refuses once it refuses again.
    fn of(answer: &Result<(), ExchangeError>) -> Self {
        match answer {
            Ok(()) => Self::Ended(RevocationEnd::Revoked),
            Err(ExchangeError::Answer(AnswerError::Unavailable { retry_after, .. })) => {
                Self::Later(retry_after.and_then(|wait| wait.try_into().ok()))
            }
            Err(ExchangeError::Send(
                SendError::Unreachable(_) | SendError::TimedOut | SendError::Invalid(_),
            )) => Self::Later(None),
            Err(
                ExchangeError::Request(_)
                | ExchangeError::Send(SendError::Blocked | SendError::TooLarge)
                | ExchangeError::Answer(
                    AnswerError::Refused { .. } | AnswerError::Invalid | AnswerError::TooLarge,
                ),
            ) => Self::Ended(RevocationEnd::Failed),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Ended(RevocationEnd::Revoked) => "revoked",
            Self::Ended(RevocationEnd::Failed) => "refused",
            Self::Later(_) => "provider_away",
        }
    }
}

impl Broker {
    /// Starts a round at once, in a task of its own.
    pub(super) fn revoke_soon(&self) {
        let broker = self.clone();
        let revoking = async move {
            if let Err(error) = broker.start_revocations().await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "revocations not started; the sweep does it");
            }
        };
        self.exchanges.spawn_on(revoking, &self.runtime);
    }

    /// The same where a change of configuration has erased tokens.
    pub(super) fn revoke_after(&self, fate: TokensAfterChange) {
        if fate == TokensAfterChange::Erase {
            self.revoke_soon();
        }
    }

    /// Takes up what is due, each in a task of its own, and gives up what is too old.
    pub(super) async fn start_revocations(&self) -> Result<(), StoreError> {
        let now = self.now();
        for leased in self.store.lease_due_revocations(now, now + LEASE).await? {
            let broker = self.clone();
            let revoking = async move {
                if let Err(error) = broker.revoke(leased).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a revocation was not recorded; it is made again");
                }
            };
            self.exchanges.spawn_on(revoking, &self.runtime);
        }
        let given_up = self.store.give_up_revocations(now).await?;
        if given_up > 0 {
            metrics::counter!(metric::REVOCATIONS, "outcome" => "given_up").increment(given_up);
            tracing::warn!(given_up, "providers were away for too long: tokens were not revoked there");
        }
        Ok(())
    }

    async fn revoke(&self, leased: LeasedRevocation) -> Result<(), StoreError> {
        let (lease, outcome) = match leased {
            Ok(job) => {
                let outcome = self.ask_to_revoke(&job).await;
                (job.lease, outcome)
            }
            Err((lease, error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(slot = %lease.address, error, "a revocation can't be read");
                (lease, Outcome::Ended(RevocationEnd::Failed))
            }
        };
        metrics::counter!(metric::REVOCATIONS, "outcome" => outcome.word()).increment(1);
        match outcome {
            Outcome::Ended(end) => self.store.end_revocation(&lease, end, self.now()).await,
            Outcome::Later(wait) => {
                let pause = pause_after(lease.tries).max(wait.unwrap_or_default());
                self.store.put_off_revocation(&lease, self.now() + pause).await
            }
        }
    }

    async fn ask_to_revoke(&self, job: &RevocationJob) -> Outcome {
        let (slot, now) = (&job.lease.address, self.now());
        let Some(request) = self.revocation_request(job, now) else {
            tracing::warn!(%slot, "the configuration of erased tokens is not valid any more; they are not revoked");
            return Outcome::Ended(RevocationEnd::Failed);
        };
        let answer = match request {
            Ok(request) => self.provider.revoke(request, now).await,
            Err(error) => Err(error.into()),
        };
        let outcome = Outcome::of(&answer);
        match &answer {
            Ok(()) => tracing::info!(%slot, "revoked at the provider"),
            Err(error) => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(%slot, outcome = outcome.word(), error, "revocation failed");
            }
        }
        outcome
    }

    /// The request, to where the tokens came from.
    fn revocation_request(
        &self,
        job: &RevocationJob,
        now: OffsetDateTime,
    ) -> Option<Result<TokenRequest, RequestError>> {
        let configuration = plugin::parse(&job.configuration, self.settings.egress).ok()?.configuration;
        let variables = configuration.variables(&job.variables).ok()?;
        let redirect_uri = Url::parse(&self.settings.public_url.join(REDIRECT_PATH)).ok()?;
        let registration = Registration {
            configuration: &configuration,
            variables: &variables,
            callback: &BTreeMap::new(),
            redirect_uri: &redirect_uri,
            egress: self.settings.egress,
        };
        let (refresh, access) = (job.tokens.refresh_token(), job.tokens.access_token());
        let token = refresh.as_ref().map_or(Revocable::AccessToken(&access), Revocable::RefreshToken);
        registration.revocation(token, now, self.entropy()).transpose()
    }
}

/// How long to wait after the try of this number.
fn pause_after(tries: i32) -> Duration {
    let doubled = tries.saturating_sub(1).clamp(0, 10).unsigned_abs();
    (FIRST_PAUSE * 2_i32.pow(doubled)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_double_up_to_four_hours_so_that_a_day_has_a_dozen_tries() {
        let waits = [1, 2, 3, 8, 9, 40].map(|tries| pause_after(tries).whole_minutes());
        assert_eq!(waits, [2, 4, 8, 240, 240, 240]);
    }
}
