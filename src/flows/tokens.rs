//! The access token of a slot, for whoever may have it.

use std::time::Duration as Period;

use time::{Duration, OffsetDateTime};
use tokio::time::{Instant, timeout};

use super::{
    Broker,
    refresh::{Attempt, Occasion},
    waiters::TooManyWait,
};
use crate::{
    domain::{
        delivery::{Delivery, NotEncrypted, Undelivered},
        ids::{SlotAddress, Version},
        json::Object,
        refresh::plausible_until,
        slot::SlotStatus,
        tokens::TokenSet,
    },
    provider::LeftAlone,
    store::{Grant, SlotGrant, StoreError},
};

/// How long a caller waits for a refresh: an exchange may take 30 s.
const PATIENCE: Period = Period::from_secs(33);
/// How often it looks by itself, where no knock comes.
const POLL: Period = Period::from_millis(250);
/// The least and the most that it is told to wait before it asks again.
const RETRY: (Period, Period) = (Period::from_secs(1), Period::from_hours(1));

/// How fresh a token must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// For use: refreshed where under 60 s or half its lifetime is left, whichever is less.
    ForUse,
    /// Refreshed now, however long it would last.
    Now,
    /// Good for at least this long, where the provider gives tokens that live longer than that.
    AtLeast(Period),
}

/// Why there is no token to give.
#[derive(Debug, thiserror::Error)]
pub enum TokenUnavailable {
    /// There is no such slot.
    #[error("there is no such slot")]
    UnknownSlot,
    /// The user has not linked it, or must again.
    #[error("the user must link the slot first")]
    AuthorizationRequired,
    /// The plugin keeps the tokens itself.
    #[error("the plugin holds the tokens itself")]
    TokensWithDevice,
    /// The key that the slot's tokens are sealed to is not trusted any more.
    #[error("the slot's tokens are withheld")]
    Withheld,
    /// The token could not be encrypted.
    #[error(transparent)]
    NotEncrypted(#[from] NotEncrypted),
    /// The token has expired, and the provider gives no new one for now.
    #[error("the token has expired and could not be refreshed")]
    ProviderAway {
        /// When it is worth to ask again.
        retry_after: Period,
    },
    /// As many wait for a token as may, and the one there is has expired.
    #[error(transparent)]
    TooManyWait(#[from] TooManyWait),
    /// The store failed.
    #[error("the token could not be read")]
    Store(#[from] StoreError),
}

/// What a caller found when it came, to recognise what happened since.
struct Arrival {
    at: OffsetDateTime,
    tokens_version: Version,
    fence: i64,
    failures: i32,
}

impl Arrival {
    fn new(grant: &Grant, at: OffsetDateTime) -> Self {
        Self { at, tokens_version: grant.tokens_version, fence: grant.fence, failures: grant.failures }
    }

    /// Whether a refresh that ended since has brought tokens.
    fn sees_new_tokens(&self, grant: &Grant, now: OffsetDateTime) -> bool {
        let since = grant.refreshed_at.is_some_and(|at| self.is_since(at, now));
        grant.tokens_version > self.tokens_version || since
    }

    /// Whether an attempt that ended since has brought nothing: it stands for one of this caller's own.
    fn sees_failure(&self, grant: &Grant, now: OffsetDateTime) -> bool {
        let newer = grant.fence != self.fence && grant.failures > self.failures;
        newer || (grant.failures > 0 && self.is_since(grant.decided_at, now))
    }

    /// Later than this caller; not so much later that a clock was wrong.
    fn is_since(&self, moment: OffsetDateTime, now: OffsetDateTime) -> bool {
        moment >= self.at && moment <= plausible_until(now)
    }
}

/// What a caller does about a grant that it found.
enum Next {
    /// It is what is needed.
    Take,
    /// Nobody asks the provider now: what is there must do.
    Settle,
    /// Somebody asks already.
    Wait,
    /// Nobody does.
    Ask,
}

impl Need {
    fn is_met(self, grant: &Grant, arrival: &Arrival, now: OffsetDateTime) -> bool {
        let enough = match self {
            Self::Now => false,
            Self::ForUse => grant.lifetime.is_fit_for_use(now),
            Self::AtLeast(time) => {
                grant.lifetime.lasts(Duration::try_from(time).unwrap_or(Duration::MAX), now)
            }
        };
        enough || (arrival.sees_new_tokens(grant, now) && !grant.lifetime.is_over(now))
    }
}

impl Broker {
    /// The slot's tokens, fresh as needed. Where the provider is away they are those from before, while they last.
    ///
    /// Any number of callers at once, on all replicas together, cost the provider one request: one of them leases the
    /// refresh, the others wait for what comes of it. It takes at most as long as an exchange and a little more. Only so
    /// many wait ([`waiters`](super::waiters)); one more gets the tokens from before, while they last.
    pub async fn fresh_token(&self, address: &SlotAddress, need: Need) -> Result<TokenSet, TokenUnavailable> {
        self.fresh(address, need).await.map(|(tokens, _)| tokens)
    }

    async fn fresh(
        &self,
        address: &SlotAddress,
        need: Need,
    ) -> Result<(TokenSet, Delivery), TokenUnavailable> {
        let (arrived, deadline) = (self.now(), Instant::now() + PATIENCE);
        let mut knocks = self.bus.subscribe(address.device);
        let mut arrival = None;
        let (mut settled, mut place) = (false, None);
        loop {
            let now = self.now();
            let found = self.store.find_grant(address, now).await?;
            let SlotGrant { status, delivery, grant } = found.ok_or(TokenUnavailable::UnknownSlot)?;
            if status != SlotStatus::Linked {
                return Err(TokenUnavailable::AuthorizationRequired);
            }
            if matches!(delivery, Delivery::Withheld) {
                return Err(TokenUnavailable::Withheld);
            }
            let grant = grant.ok_or(TokenUnavailable::TokensWithDevice)?;
            let arrival = arrival.get_or_insert_with(|| Arrival::new(&grant, arrived));
            settled |= Instant::now() >= deadline;
            let next = self.next(&grant, arrival, need, settled, now);
            if matches!(next, Next::Wait | Next::Ask) && place.is_none() {
                match self.waiters.enter_for_slot(address) {
                    Ok(entered) => place = Some(entered),
                    Err(_) if !grant.lifetime.is_over(now) => return Ok((grant.tokens, delivery)),
                    Err(too_many) => return Err(too_many.into()),
                }
            }
            match next {
                Next::Take => return Ok((grant.tokens, delivery)),
                Next::Settle => return self.settle(grant, now).map(|tokens| (tokens, delivery)),
                Next::Wait => {
                    // A failure knocks at nobody.
                    let _ = timeout(POLL, knocks.recv()).await;
                }
                Next::Ask => {
                    if let Some(leased) = self.store.lease_refresh(address, grant.fence, now).await? {
                        let attempt = self.start_refresh(leased, Occasion::Wanted).await;
                        if matches!(attempt, Ok(Attempt::NotOurs)) && grant.lifetime.is_over(now) {
                            return Err(TokenUnavailable::TokensWithDevice);
                        }
                        settled = true;
                    }
                }
            }
        }
    }

    fn next(&self, grant: &Grant, arrival: &Arrival, need: Need, settled: bool, now: OffsetDateTime) -> Next {
        let left_alone = |host: &String| self.breaker.is_left_alone(host, Instant::now()).is_some();
        if need.is_met(grant, arrival, now) {
            Next::Take
        } else if settled {
            Next::Settle
        } else if grant.leased {
            Next::Wait
        } else if arrival.sees_failure(grant, now)
            || grant.hold_until.is_some_and(|until| until > now)
            || grant.host.as_ref().is_some_and(left_alone)
        {
            Next::Settle
        } else {
            Next::Ask
        }
    }

    /// The old token while it lasts.
    fn settle(&self, grant: Grant, now: OffsetDateTime) -> Result<TokenSet, TokenUnavailable> {
        if !grant.lifetime.is_over(now) {
            return Ok(grant.tokens);
        }
        let host = grant.host.as_ref();
        let quiet = host.and_then(|host| self.breaker.is_left_alone(host, Instant::now()));
        let next = grant.hold_until.max(grant.refresh_at).map(|at| at - now);
        let next = next.and_then(|wait| Period::try_from(wait).ok()).unwrap_or_default();
        let retry_after = next.max(quiet.map(|LeftAlone(wait)| wait).unwrap_or_default());
        Err(TokenUnavailable::ProviderAway { retry_after: retry_after.clamp(RETRY.0, RETRY.1) })
    }

    /// The slot's access token as a plugin is told it: `access_token`, `token_type`, `expiry`, `scope`. In plain,
    /// unless the slot's tokens are withheld.
    pub async fn current_token(&self, address: &SlotAddress, need: Need) -> Result<Object, TokenUnavailable> {
        let (tokens, _) = self.fresh(address, need).await?;
        Ok(told(&tokens, self.now()))
    }

    /// The same as the `data` of a reply over the relay: sealed where the slot's `seal_to` says so.
    pub async fn deliver_token(&self, address: &SlotAddress, need: Need) -> Result<Object, TokenUnavailable> {
        let (tokens, delivery) = self.fresh(address, need).await?;
        let token = told(&tokens, self.now());
        delivery.deliver(token, self.entropy()).map_err(|undelivered| match undelivered {
            Undelivered::Withheld => TokenUnavailable::Withheld,
            Undelivered::NotEncrypted(cause) => cause.into(),
        })
    }
}

fn told(tokens: &TokenSet, now: OffsetDateTime) -> Object {
    let mut token = Object::new();
    token.insert("access_token".to_owned(), tokens.access_token().expose().into());
    token.insert("token_type".to_owned(), tokens.token_type().into());
    token.insert("expiry".to_owned(), tokens.expiry(now).into());
    if let Some(scope) = tokens.scope() {
        token.insert("scope".to_owned(), scope.into());
    }
    token
}
