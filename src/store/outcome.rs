//! A flow's steps, each one guarded update that says what happened (law 3).

use time::OffsetDateTime;

use super::{
    Store, StoreError,
    flows::{CALLBACK, CONFIRM_CODE, VERIFIER, browser_hash, state_hash},
};
use crate::domain::{
    audit::{Action, Actor},
    binding::ClientNetwork,
    flow::{CONFIRM_ATTEMPTS, FlowError, FlowStatus},
    ids::{FlowId, SlotAddress},
    secret::{BrowserCookie, CodeVerifier, ConfirmCode, FlowState},
};

/// A browser that goes on to the provider.
pub struct Decision<'a> {
    /// The browser.
    pub browser: &'a BrowserCookie,
    /// Where it calls from.
    pub network: ClientNetwork,
    /// The new state; an older one is void from now on.
    pub state: &'a FlowState,
    /// The new verifier.
    pub verifier: &'a CodeVerifier,
}

/// What became of a decision on the connect page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continued {
    /// Taken.
    Yes,
    /// The flow is another browser's, has gone on, or is over.
    TooLate,
}

/// What became of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// This callback is the one that makes the token request.
    Yes,
    /// Another was first, or the state is void by now.
    Already,
}

/// How a callback ends a flow without a token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burn {
    /// `denied` or `failed`.
    pub status: FlowStatus,
    /// Why.
    pub error: FlowError,
}

impl Burn {
    fn action(self) -> Action {
        if self.status == FlowStatus::Denied { Action::FlowDenied } else { Action::FlowFailed }
    }
}

/// One try at a confirm code, counted before it is looked at.
#[derive(Debug)]
pub enum Confirmation {
    /// The code to compare with; `tries_left` after this one.
    Try {
        /// What is right.
        code: ConfirmCode,
        /// How many more there are.
        tries_left: i16,
    },
    /// Nothing waits for a code.
    NotWaiting,
}

impl Store {
    /// Binds a pending flow to a browser, or renews the state of one that is bound to it already.
    pub async fn continue_flow(
        &self,
        id: FlowId,
        decision: &Decision<'_>,
        now: OffsetDateTime,
    ) -> Result<Continued, StoreError> {
        let verifier = self.seal(VERIFIER, &id.to_string(), decision.verifier.expose().as_bytes());
        let done = sqlx::query!(
            "-- continue_flow
            update flows set status = 'authorizing', browser_hash = $2, browser_network = $3, state_hash = $4,
                verifier = $5
            where id = $1 and status in ('pending', 'authorizing') and (browser_hash is null or browser_hash = $2)
              and expires_at > $6",
            id.0,
            browser_hash(decision.browser).to_vec(),
            decision.network.to_string(),
            state_hash(decision.state).to_vec(),
            verifier,
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { Continued::Yes } else { Continued::TooLate })
    }

    /// Ends a flow on its person's wish. A flow that is bound can be cancelled from its browser only.
    pub async fn cancel_flow(
        &self,
        id: FlowId,
        browser: &BrowserCookie,
        network: ClientNetwork,
        now: OffsetDateTime,
    ) -> Result<Continued, StoreError> {
        let done = sqlx::query!(
            "-- cancel_flow
            with ended as (
                update flows set status = 'denied', error = 'cancelled', browser_hash = $2, verifier = null,
                    finished_at = $3
                where id = $1 and status in ('pending', 'authorizing')
                  and (browser_hash is null or browser_hash = $2) and expires_at > $3
                returning device, slot)
            insert into audit (at, actor, address, action, subject)
            select $3, $4, $5, $6, 'slot:' || device || '/' || slot from ended",
            id.0,
            browser_hash(browser).to_vec(),
            now,
            Actor::Browser.to_string(),
            network.to_string(),
            Action::FlowCancelled.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { Continued::Yes } else { Continued::TooLate })
    }

    /// Takes a flow for its one token request, keeping the callback sealed for a replica that may have to resume.
    pub async fn redeem_flow(
        &self,
        id: FlowId,
        state: &FlowState,
        callback: &[u8],
        now: OffsetDateTime,
    ) -> Result<Redeemed, StoreError> {
        let sealed = self.seal(CALLBACK, &id.to_string(), callback);
        let done = sqlx::query!(
            "-- redeem_flow
            update flows set status = 'exchanging', callback = $3, attempt = 1, exchange_started_at = $4,
                redeemed_at = $4
            where id = $1 and state_hash = $2 and status = 'authorizing' and expires_at > $4",
            id.0,
            state_hash(state).to_vec(),
            sealed,
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { Redeemed::Yes } else { Redeemed::Already })
    }

    /// Ends a flow by its callback, without a token request.
    pub async fn burn_flow(
        &self,
        id: FlowId,
        state: &FlowState,
        burn: Burn,
        now: OffsetDateTime,
    ) -> Result<Redeemed, StoreError> {
        let done = sqlx::query!(
            "-- burn_flow
            with ended as (
                update flows set status = $3, error = $4, verifier = null, finished_at = $5
                where id = $1 and state_hash = $2 and status = 'authorizing'
                returning device, slot, browser_network)
            insert into audit (at, actor, address, action, subject, detail)
            select $5, $6, browser_network, $7, 'slot:' || device || '/' || slot, $4 from ended",
            id.0,
            state_hash(state).to_vec(),
            burn.status.as_str(),
            burn.error.as_str(),
            now,
            Actor::Browser.to_string(),
            burn.action().as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { Redeemed::Yes } else { Redeemed::Already })
    }

    /// Spends one of the five tries at a confirm code before the code is compared, so that no number of parallel
    /// guesses gets more.
    pub async fn try_confirm_code(
        &self,
        id: FlowId,
        address: &SlotAddress,
        now: OffsetDateTime,
    ) -> Result<Confirmation, StoreError> {
        let row = sqlx::query!(
            "-- try_confirm_code
            update flows set confirm_failures = confirm_failures + 1
            where id = $1 and device = $2 and slot = $3 and status = 'confirm' and expires_at > $4
              and confirm_failures < $5
            returning confirm_code, confirm_failures",
            id.0,
            address.device.0,
            address.slot.as_str(),
            now,
            CONFIRM_ATTEMPTS
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(Confirmation::NotWaiting) };
        let Some(sealed) = row.confirm_code else {
            return Err(StoreError::Row { column: CONFIRM_CODE.name });
        };
        let code = self.open_text(CONFIRM_CODE, &id.to_string(), &sealed)?;
        Ok(Confirmation::Try {
            code: ConfirmCode::new(code.as_str()),
            tries_left: CONFIRM_ATTEMPTS - row.confirm_failures,
        })
    }

    /// Ends a flow whose confirm code was wrong for the last time; the staged tokens go.
    pub async fn fail_confirmation(&self, id: FlowId, now: OffsetDateTime) -> Result<(), StoreError> {
        sqlx::query!(
            "-- fail_confirmation
            with ended as (
                update flows set status = 'failed', error = $4, staged = null, confirm_code = null,
                    verifier = null, finished_at = $2
                where id = $1 and status = 'confirm' and confirm_failures >= $3
                returning device, slot, browser_network)
            insert into audit (at, actor, address, action, subject, detail)
            select $2, $5, browser_network, $6, 'slot:' || device || '/' || slot, $4 from ended",
            id.0,
            now,
            CONFIRM_ATTEMPTS,
            FlowError::WrongCode.as_str(),
            Actor::Browser.to_string(),
            Action::FlowFailed.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Ends the flows whose time is up, erasing what they held. How many.
    pub async fn expire_flows(&self, now: OffsetDateTime) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "-- expire_flows
            update flows set status = 'expired', finished_at = $1, verifier = null, staged = null, confirm_code = null
            where status in ('pending', 'authorizing', 'confirm') and expires_at <= $1",
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    /// Forgets flows that ran out before `before`. How many.
    pub async fn forget_flows(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "-- forget_flows\ndelete from flows where expires_at < $1 and status not in ('exchanging')",
            before
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}
