//! Refreshes for Home Assistant: of all who present the same refresh token within a minute, one asks the provider, on
//! whichever replica, and all hear the same.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Column, Store, StoreError, column};
use crate::{
    domain::{
        account_link::{RefreshAnswer, ServiceDomain},
        secret::RefreshToken,
    },
    vault::lookup_hash,
};

const ANSWER: Column = column!("account_refreshes", "answer");

/// A refresh token as it was presented for a service, as a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentedToken([u8; 32]);

/// The right to ask the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountRefreshLease {
    /// For whom.
    pub token: PresentedToken,
    attempt: i64,
}

/// What is known of a refresh token that is presented.
#[derive(Debug)]
pub enum AccountRefresh {
    /// Nobody asks: the caller may, and must say what came of it.
    Yours(AccountRefreshLease),
    /// Somebody asks at this moment.
    UnderWay,
    /// It was presented a moment ago, and this was the answer.
    Answered(RefreshAnswer),
}

impl PresentedToken {
    /// `token`, presented for `service`.
    pub fn of(service: &ServiceDomain, token: &RefreshToken) -> Self {
        Self(lookup_hash("account refresh", &format!("{service} {}", token.expose())))
    }

    /// Half of the hash, for knocks.
    pub fn id(self) -> Uuid {
        Uuid::from_u128(self.halves().0)
    }

    /// In hex.
    fn place(self) -> String {
        let (high, low) = self.halves();
        format!("{high:032x}{low:032x}")
    }

    fn halves(self) -> (u128, u128) {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
        let (high, low) = self.0.split_at(16);
        (number(high), number(low))
    }
}

impl Store {
    /// Takes the right to ask the provider, unless somebody has it or has been answered. It ends at `lease_until`; until
    /// `forget_at` what came of it can be stored, unless another has taken it.
    pub async fn lease_account_refresh(
        &self,
        token: PresentedToken,
        lease_until: OffsetDateTime,
        forget_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<AccountRefresh, StoreError> {
        let attempt = sqlx::query_scalar!(
            "-- lease_account_refresh
            insert into account_refreshes as old (token_hash, lease_until, forget_at) values ($1, $2, $4)
            on conflict (token_hash) do update set attempt = old.attempt + 1, answer = null,
                lease_until = excluded.lease_until, forget_at = excluded.forget_at
            where (old.answer is null and old.lease_until <= $3) or (old.answer is not null and old.forget_at <= $3)
            returning attempt",
            token.0.as_slice(),
            lease_until,
            now,
            forget_at
        )
        .fetch_optional(&self.pool)
        .await?;
        if let Some(attempt) = attempt {
            return Ok(AccountRefresh::Yours(AccountRefreshLease { token, attempt }));
        }
        let answer = sqlx::query_scalar!(
            "-- find_account_refresh\nselect answer from account_refreshes where token_hash = $1",
            token.0.as_slice()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(sealed) = answer.flatten() else { return Ok(AccountRefresh::UnderWay) };
        let plaintext = self.open(ANSWER, &token.place(), &sealed)?;
        let answer =
            serde_json::from_slice(&plaintext).map_err(|_| StoreError::Row { column: ANSWER.name })?;
        Ok(AccountRefresh::Answered(answer))
    }

    /// Keeps the answer for whoever presents the same token before `forget_at`. Whether the lease still held.
    pub async fn answer_account_refresh(
        &self,
        lease: AccountRefreshLease,
        answer: &RefreshAnswer,
        forget_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let plaintext = serde_json::to_vec(answer)
            .map(zeroize::Zeroizing::new)
            .map_err(|_| StoreError::Row { column: ANSWER.name })?;
        let done = sqlx::query!(
            "-- answer_account_refresh
            update account_refreshes set answer = $3, forget_at = $4, lease_until = $4
            where token_hash = $1 and attempt = $2 and answer is null",
            lease.token.0.as_slice(),
            lease.attempt,
            self.seal(ANSWER, &lease.token.place(), &plaintext),
            forget_at
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
