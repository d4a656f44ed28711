//! What is decided on the page of a sign-in, each by one guarded update that says what happened.

use time::OffsetDateTime;

use super::{Store, StoreError, flows::browser_hash, sign_ins::code_hash};
use crate::domain::{
    audit::{Action, Origin},
    ids::{DeviceId, SignInId},
    secret::{AuthorizationCode, BrowserCookie},
    sign_in::{Denial, LoginScope},
};

/// Somebody who signed in.
pub struct Approval<'a> {
    /// In this browser.
    pub browser: &'a BrowserCookie,
    /// Whom the token will speak for.
    pub granted: LoginScope,
    /// The device's newest revocation when its password was right; nothing: as of now.
    pub issued_after: Option<i64>,
    /// The code that the browser brings to the terminal, where it does, and until when it is good.
    pub code: Option<(&'a AuthorizationCode, OffsetDateTime)>,
    /// To be recorded with it: who signed in. A device's login is recorded where its password was right.
    pub recorded: Option<(Action, &'a Origin)>,
}

/// What became of a decision on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInDecided {
    /// Taken.
    Yes,
    /// The sign-in is another browser's, was decided, has run out, or is for a device that is gone.
    TooLate,
}

impl SignInDecided {
    pub(super) fn of(rows: u64) -> Self {
        if rows == 1 { Self::Yes } else { Self::TooLate }
    }
}

impl Store {
    /// Binds a sign-in to the browser that posted to its page first.
    pub async fn take_sign_in(
        &self,
        id: SignInId,
        browser: &BrowserCookie,
        now: OffsetDateTime,
    ) -> Result<SignInDecided, StoreError> {
        let done = sqlx::query!(
            "-- take_sign_in
            update sign_ins set browser_hash = $2
            where id = $1 and status = 'pending' and expires_at > $3
              and (browser_hash is null or browser_hash = $2)",
            id.0,
            browser_hash(browser).to_vec(),
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(SignInDecided::of(done.rows_affected()))
    }

    /// Lets a sign-in earn a token, in the browser that took it.
    pub async fn approve_sign_in(
        &self,
        id: SignInId,
        approval: &Approval<'_>,
        now: OffsetDateTime,
    ) -> Result<SignInDecided, StoreError> {
        let device = approval.granted.device().map(|DeviceId(id)| id);
        let (action, by) = approval.recorded.unzip();
        let approved = sqlx::query_scalar!(
            r#"-- approve_sign_in
            with approved as (
                update sign_ins set status = 'approved', granted = $4, device = $5,
                    issued_after = coalesce($6::bigint,
                        (select max(number) from revocations where device = $5), 0),
                    code_hash = $7, expires_at = coalesce($8, expires_at),
                    provider_state_hash = null, provider_secrets = null
                where id = $1 and browser_hash = $2 and status = 'pending' and expires_at > $3
                  and ($5::uuid is null or exists (select 1 from devices where id = $5))
                returning id),
            audited as (
                insert into audit (at, actor, address, action, subject)
                select $3, $9::text, $10, $11::text, 'device:' || $5::uuid from approved where $11::text is not null)
            select count(*) as "approved!" from approved"#,
            id.0,
            browser_hash(approval.browser).to_vec(),
            now,
            approval.granted.word(),
            device,
            approval.issued_after,
            approval.code.map(|(code, _)| code_hash(code)),
            approval.code.map(|(_, until)| until),
            by.map(|by| by.actor.to_string()),
            by.and_then(Origin::address),
            action.map(Action::as_str)
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(SignInDecided::of(approved.unsigned_abs()))
    }

    /// Ends a sign-in without a token, in the browser that took it.
    pub async fn deny_sign_in(
        &self,
        id: SignInId,
        browser: &BrowserCookie,
        denial: Denial,
        recorded: (Action, &Origin),
        now: OffsetDateTime,
    ) -> Result<SignInDecided, StoreError> {
        let (action, by) = recorded;
        let done = sqlx::query!(
            "-- deny_sign_in
            with denied as (
                update sign_ins set status = 'denied', reason = $4, provider_state_hash = null,
                    provider_secrets = null
                where id = $1 and browser_hash = $2 and status = 'pending' and expires_at > $3
                returning id)
            insert into audit (at, actor, address, action) select $3, $5, $6, $7 from denied",
            id.0,
            browser_hash(browser).to_vec(),
            now,
            denial.as_str(),
            by.actor.to_string(),
            by.address(),
            action.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(SignInDecided::of(done.rows_affected()))
    }
}
