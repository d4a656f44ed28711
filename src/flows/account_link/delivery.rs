//! The client's part: its socket waits, takes the tokens, and says that it has them.

use crate::{
    bus::{Bus, Knocks},
    domain::{
        account_link::{AccountLinkEnd, AccountLinkError, AccountLinkStatus},
        ids::{AccountLinkId, DeviceId},
        json::Object,
        metric,
        tokens::TokenSet,
    },
    flows::Broker,
    store::StoreError,
};

/// Wakes a socket when its attempt may have gone on. A knock may be lost: who waits looks by itself from time to time.
pub struct AccountLinkWait(Knocks);

impl AccountLinkWait {
    pub(super) fn of(id: AccountLinkId, bus: &Bus) -> Self {
        Self(bus.subscribe(DeviceId(id.0)))
    }

    /// Waits for the next knock.
    pub async fn knocked(&mut self) {
        self.0.recv().await;
    }
}

/// How an attempt stands, for its client.
pub enum AccountLinkNews {
    /// Nothing to tell yet.
    Nothing,
    /// The provider's tokens. They are here until [`Broker::account_link_delivered`].
    Tokens(Object),
    /// It ended; the client's word for it.
    Ended(AccountLinkError),
    /// Its time is over, or it is not known any more.
    TimedOut,
}

impl Broker {
    /// How the attempt stands.
    pub async fn account_link_news(&self, id: AccountLinkId) -> Result<AccountLinkNews, StoreError> {
        let Some(standing) = self.store.find_account_link_standing(id, self.now()).await? else {
            return Ok(AccountLinkNews::TimedOut);
        };
        Ok(match (standing.status, standing.error) {
            (AccountLinkStatus::Granted, _) => match self.store.find_account_link_tokens(id).await? {
                Some(tokens) => AccountLinkNews::Tokens(for_client(tokens.as_received(self.now()), &tokens)),
                None => AccountLinkNews::Nothing,
            },
            (AccountLinkStatus::Denied | AccountLinkStatus::Failed, Some(error)) => {
                AccountLinkNews::Ended(error)
            }
            (AccountLinkStatus::Expired, _) => AccountLinkNews::TimedOut,
            (
                AccountLinkStatus::Pending
                | AccountLinkStatus::Authorizing
                | AccountLinkStatus::Exchanging
                | AccountLinkStatus::Delivered
                | AccountLinkStatus::Denied
                | AccountLinkStatus::Failed,
                _,
            ) => AccountLinkNews::Nothing,
        })
    }

    /// The client has the tokens: they are erased here.
    pub async fn account_link_delivered(&self, id: AccountLinkId) -> Result<(), StoreError> {
        if self.store.deliver_account_link(id, self.now()).await? {
            metrics::counter!(metric::ACCOUNT_LINKS, "end" => "delivered").increment(1);
            tracing::info!(attempt = %id, "account link delivered");
        }
        Ok(())
    }

    /// The client has gone, before it had what it wanted: the attempt ends, and its page says so.
    pub async fn account_link_left(&self, id: AccountLinkId) -> Result<(), StoreError> {
        let end = AccountLinkEnd::failed(AccountLinkError::ClientGone);
        if self.store.end_account_link(id, end, self.now()).await? {
            self.account_link_ended(id, end.error.as_str());
        }
        Ok(())
    }
}

/// The provider's members with what the client can't do without, and without what it takes for a refusal or adds itself.
pub(super) fn for_client(mut members: Object, tokens: &TokenSet) -> Object {
    for name in ["error", "service", "expiry"] {
        members.shift_remove(name);
    }
    members.entry("token_type").or_insert_with(|| tokens.token_type().into());
    members
}
