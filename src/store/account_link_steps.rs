//! The steps of Home Assistant's attempts, each one guarded update that says what happened (law 3).

use time::OffsetDateTime;

use super::{
    Store, StoreError,
    account_links::{TOKENS, VERIFIER},
    flows::{FlowConfiguration, browser_hash, state_hash},
    outcome::{Continued, Decision, Redeemed},
};
use crate::domain::{
    account_link::{AccountLinkEnd, AccountLinkError, AccountLinkStatus},
    audit::{Action, Actor},
    binding::ClientNetwork,
    ids::AccountLinkId,
    secret::{BrowserCookie, FlowState},
    tokens::TokenSet,
};

impl Store {
    /// Binds a pending attempt to a browser, or renews the state of one that is bound to it already. `fixed` is what
    /// it fixes from now on.
    pub async fn continue_account_link(
        &self,
        id: AccountLinkId,
        decision: &Decision<'_>,
        fixed: &FlowConfiguration,
        now: OffsetDateTime,
    ) -> Result<Continued, StoreError> {
        let verifier = self.seal(VERIFIER, &id.to_string(), decision.verifier.expose().as_bytes());
        let configuration = self.seal_account_configuration(id, fixed);
        let done = sqlx::query!(
            "-- continue_account_link
            update account_links set status = 'authorizing', browser_hash = $2, browser_network = $3, state_hash = $4,
                verifier = $5, configuration = $6
            where id = $1 and status in ('pending', 'authorizing') and (browser_hash is null or browser_hash = $2)
              and expires_at > $7",
            id.0,
            browser_hash(decision.browser).to_vec(),
            decision.network.to_string(),
            state_hash(decision.state).to_vec(),
            verifier,
            configuration,
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { Continued::Yes } else { Continued::TooLate })
    }

    /// Ends an attempt by its page. One that is bound can be ended from its browser only.
    pub async fn end_account_link_by_browser(
        &self,
        id: AccountLinkId,
        (browser, network): (&BrowserCookie, ClientNetwork),
        end: AccountLinkEnd,
        now: OffsetDateTime,
    ) -> Result<Continued, StoreError> {
        let done = sqlx::query!(
            "-- end_account_link_by_browser
            with ended as (
                update account_links set status = $3, error = $4, browser_hash = $2, verifier = null, finished_at = $5
                where id = $1 and status in ('pending', 'authorizing')
                  and (browser_hash is null or browser_hash = $2) and expires_at > $5
                returning plugin)
            insert into audit (at, actor, address, action, subject, detail)
            select $5, $6, $7, $8, 'plugin:' || plugin, $4 from ended",
            id.0,
            browser_hash(browser).to_vec(),
            end.status.as_str(),
            end.error.as_str(),
            now,
            Actor::Browser.to_string(),
            network.to_string(),
            Action::AccountLinkEnded.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { Continued::Yes } else { Continued::TooLate })
    }

    /// Ends an attempt by its callback, without a token request.
    pub async fn end_account_link_by_callback(
        &self,
        id: AccountLinkId,
        state: &FlowState,
        end: AccountLinkEnd,
        now: OffsetDateTime,
    ) -> Result<Redeemed, StoreError> {
        let done = sqlx::query!(
            "-- end_account_link_by_callback
            with ended as (
                update account_links set status = $3, error = $4, verifier = null, finished_at = $5
                where id = $1 and state_hash = $2 and status = 'authorizing'
                returning plugin, browser_network)
            insert into audit (at, actor, address, action, subject, detail)
            select $5, $6, browser_network, $7, 'plugin:' || plugin, $4 from ended",
            id.0,
            state_hash(state).to_vec(),
            end.status.as_str(),
            end.error.as_str(),
            now,
            Actor::Browser.to_string(),
            Action::AccountLinkEnded.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { Redeemed::Yes } else { Redeemed::Already })
    }

    /// Takes an attempt for its one token request.
    pub async fn redeem_account_link(
        &self,
        id: AccountLinkId,
        state: &FlowState,
        now: OffsetDateTime,
    ) -> Result<Redeemed, StoreError> {
        let done = sqlx::query!(
            "-- redeem_account_link
            update account_links set status = 'exchanging', exchange_started_at = $3
            where id = $1 and state_hash = $2 and status = 'authorizing' and expires_at > $3",
            id.0,
            state_hash(state).to_vec(),
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { Redeemed::Yes } else { Redeemed::Already })
    }

    /// Keeps the tokens until the client's socket has them, until `expires_at` at most. Whether anybody still waits.
    pub async fn grant_account_link(
        &self,
        id: AccountLinkId,
        tokens: &TokenSet,
        expires_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "-- grant_account_link
            update account_links set status = 'granted', tokens = $2, verifier = null, exchange_started_at = null,
                expires_at = $3
            where id = $1 and status = 'exchanging'",
            id.0,
            self.seal(TOKENS, &id.to_string(), &tokens.to_plaintext()),
            expires_at
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Erases the tokens: the client has them. Whether they were there.
    pub async fn deliver_account_link(
        &self,
        id: AccountLinkId,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "-- deliver_account_link
            with delivered as (
                update account_links set status = 'delivered', tokens = null, finished_at = $2
                where id = $1 and status = 'granted'
                returning service, plugin, client_network)
            insert into audit (at, actor, address, action, subject, detail)
            select $2, $3, client_network, $4, 'plugin:' || plugin, service from delivered",
            id.0,
            now,
            Actor::Anyone.to_string(),
            Action::AccountLinked.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends an attempt on our own, or because its client has gone, wherever it stands; one whose time is over expires
    /// instead. Whether it had not ended yet.
    pub async fn end_account_link(
        &self,
        id: AccountLinkId,
        end: AccountLinkEnd,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let actor = match end.error {
            AccountLinkError::ClientGone => Actor::Anyone,
            AccountLinkError::AccessDenied
            | AccountLinkError::Cancelled
            | AccountLinkError::ExchangeFailed
            | AccountLinkError::ProviderUnavailable
            | AccountLinkError::InvalidAnswer
            | AccountLinkError::AnswerTooLarge
            | AccountLinkError::IssuerMismatch
            | AccountLinkError::DifferentNetwork => Actor::Broker,
        };
        let done = sqlx::query!(
            "-- end_account_link
            with ended as (
                update account_links set status = $2, error = $3, tokens = null, verifier = null,
                    exchange_started_at = null, finished_at = $4
                where id = $1 and (status = 'exchanging'
                    or (status in ('pending', 'authorizing', 'granted') and expires_at > $4))
                returning plugin, client_network)
            insert into audit (at, actor, address, action, subject, detail)
            select $4, $5, client_network, $6, 'plugin:' || plugin, $3 from ended",
            id.0,
            end.status.as_str(),
            end.error.as_str(),
            now,
            actor.to_string(),
            Action::AccountLinkEnded.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends the attempts whose time is up and the exchanges that began before `stale`, erasing what they held. The
    /// attempts that ended, with how.
    pub async fn end_stale_account_links(
        &self,
        stale: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Vec<(AccountLinkId, AccountLinkStatus)>, StoreError> {
        let rows = sqlx::query!(
            r#"-- end_stale_account_links
            update account_links set status = case status when 'exchanging' then 'failed' else 'expired' end,
                error = case status when 'exchanging' then $3 end, tokens = null, verifier = null,
                exchange_started_at = null, finished_at = $2
            where (status in ('pending', 'authorizing', 'granted') and expires_at <= $2)
               or (status = 'exchanging' and exchange_started_at < $1)
            returning id, status"#,
            stale,
            now,
            AccountLinkError::ExchangeFailed.as_str()
        )
        .fetch_all(&self.pool)
        .await?;
        let ended = |status: &str| {
            if status == "failed" { AccountLinkStatus::Failed } else { AccountLinkStatus::Expired }
        };
        Ok(rows.into_iter().map(|row| (AccountLinkId(row.id), ended(&row.status))).collect())
    }

    /// Forgets attempts that ran out before `before`, and refreshes that nobody repeats any more.
    pub async fn forget_account_links(
        &self,
        before: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- forget_account_links\ndelete from account_links where expires_at < $1 and finished_at is not null",
            before
        )
        .execute(&self.pool)
        .await?;
        sqlx::query!("-- forget_account_refreshes\ndelete from account_refreshes where forget_at <= $1", now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
