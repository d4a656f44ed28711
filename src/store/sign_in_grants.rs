//! What sign-ins earn: each is traded for a token once, by one guarded update (RFC 6749 §4.1.2, RFC 8628 §3.5).

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError, parse_column,
    sign_ins::{code_hash, device_code_hash},
};
use crate::domain::{
    audit::{Action, Actor},
    ids::{DeviceId, SignInId},
    pkce::CodeChallenge,
    secret::{AuthorizationCode, DeviceCode},
    sign_in::{ClientId, LoginScope, LoopbackUri, SignInStatus},
};

/// The token that a sign-in is about to earn.
#[derive(Debug, Clone, Copy)]
pub struct TokenToBe {
    /// Its `jti`.
    pub id: Uuid,
    /// When the sign-in need not be remembered any more, because the token is over too.
    pub forget_at: OffsetDateTime,
}

/// A sign-in that was traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earned {
    /// The sign-in.
    pub sign_in: SignInId,
    /// Whom the token speaks for.
    pub granted: LoginScope,
    /// The number of the device's newest revocation when somebody signed in.
    pub issued_after: i64,
}

/// What became of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// It is traded: this poll's token.
    Earned(Earned),
    /// Nobody has signed in.
    Pending,
    /// The poll came too early; from now on the interval is five seconds longer.
    TooSoon,
    /// Nobody signed in in time.
    Expired,
    /// Nobody will sign in.
    Denied,
    /// No such code, another client's, or traded already; or what was signed in with has lost its trust since.
    Refused,
}

/// An authorization code as it is presented.
pub struct PresentedCode<'a> {
    /// The code.
    pub code: &'a AuthorizationCode,
    /// Where it was brought to.
    pub redirect_uri: &'a LoopbackUri,
    /// What the presented verifier hashes to.
    pub challenge: &'a CodeChallenge,
    /// Who presents it.
    pub client: Option<&'a ClientId>,
}

/// What became of a presented code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeUse {
    /// It is traded.
    Earned(Earned),
    /// It is wrong, late or another client's.
    Refused,
    /// It was traded before: what it earned is void now.
    Replayed,
}

impl Store {
    /// Trades a device code, or says how its sign-in stands. A poll may come a second early: clocks and lines vary.
    pub async fn poll_sign_in(
        &self,
        code: &DeviceCode,
        client: Option<&ClientId>,
        token: TokenToBe,
        now: OffsetDateTime,
    ) -> Result<Polled, StoreError> {
        let hash = device_code_hash(code);
        let earned = sqlx::query!(
            r#"-- redeem_device_code
            update sign_ins s set status = 'redeemed', token_id = $4, forget_at = $5, polled_at = $3
            where device_code_hash = $1 and (client_id is null or client_id = $2) and status = 'approved'
              and expires_at > $3
              and (polled_at is null or polled_at + make_interval(secs => poll_seconds - 1) <= $3)
              and not exists (select 1 from revocations r
                  where r.device = s.device and r.number > s.issued_after and r.key_hash is null)
            returning id, granted as "granted!", device, issued_after as "issued_after!""#,
            hash,
            client.map(ClientId::as_str),
            now,
            token.id,
            token.forget_at
        )
        .fetch_optional(&self.pool)
        .await?;
        if let Some(row) = earned {
            return Ok(Polled::Earned(earned_of(row.id, &row.granted, row.device, row.issued_after)?));
        }
        let row = sqlx::query!(
            r#"-- note_poll
            with before as (
                select id, status, expires_at,
                    polled_at + make_interval(secs => poll_seconds - 1) > $3 as too_soon
                from sign_ins where device_code_hash = $1 and (client_id is null or client_id = $2)
                for update)
            update sign_ins s set polled_at = $3,
                poll_seconds = case when before.too_soon then least(s.poll_seconds + 5, 600) else s.poll_seconds end
            from before where s.id = before.id
            returning before.status, before.expires_at, coalesce(before.too_soon, false) as "too_soon!",
                exists (select 1 from revocations r
                    where r.device = s.device and r.number > s.issued_after and r.key_hash is null) as "void!""#,
            hash,
            client.map(ClientId::as_str),
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(Polled::Refused) };
        Ok(match parse_column("sign_ins.status", &row.status)? {
            SignInStatus::Redeemed => Polled::Refused,
            SignInStatus::Denied => Polled::Denied,
            SignInStatus::Pending | SignInStatus::Approved if row.expires_at <= now => Polled::Expired,
            SignInStatus::Approved if row.void => Polled::Refused,
            SignInStatus::Pending | SignInStatus::Approved if row.too_soon => Polled::TooSoon,
            SignInStatus::Pending | SignInStatus::Approved => Polled::Pending,
        })
    }

    /// Trades an authorization code. One that was traded before ends the token that it earned.
    pub async fn redeem_code(
        &self,
        presented: &PresentedCode<'_>,
        token: TokenToBe,
        now: OffsetDateTime,
    ) -> Result<CodeUse, StoreError> {
        let hash = code_hash(presented.code);
        let earned = sqlx::query!(
            r#"-- redeem_code
            update sign_ins s set status = 'redeemed', token_id = $6, forget_at = $7
            where code_hash = $1 and redirect_uri = $2 and code_challenge = $3
              and (client_id is null or client_id = $4) and status = 'approved' and expires_at > $5
              and not exists (select 1 from revocations r
                  where r.device = s.device and r.number > s.issued_after and r.key_hash is null)
            returning id, granted as "granted!", device, issued_after as "issued_after!""#,
            hash,
            presented.redirect_uri.as_str(),
            presented.challenge.as_str(),
            presented.client.map(ClientId::as_str),
            now,
            token.id,
            token.forget_at
        )
        .fetch_optional(&self.pool)
        .await?;
        if let Some(row) = earned {
            return Ok(CodeUse::Earned(earned_of(row.id, &row.granted, row.device, row.issued_after)?));
        }
        // A statement of its own: only what begins after the trade was committed sees it.
        let replayed = sqlx::query_scalar!(
            r#"-- revoke_replayed
            with replayed as (
                select token_id, forget_at, device from sign_ins where code_hash = $1 and status = 'redeemed'),
            revoked as (
                insert into revoked_tokens (id, forget_at) select token_id, forget_at from replayed
                on conflict (id) do nothing returning id),
            audited as (
                insert into audit (at, actor, action, subject)
                select $2, $3::text, $4, 'device:' || replayed.device from revoked, replayed)
            select count(*) as "replayed!" from replayed"#,
            hash,
            now,
            Actor::Broker.to_string(),
            Action::TokenRevoked.as_str()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(if replayed == 0 { CodeUse::Refused } else { CodeUse::Replayed })
    }

    /// Forgets sign-ins and revoked tokens that nobody can present any more.
    pub async fn forget_sign_ins(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        sqlx::query!(
            "-- forget_sign_ins
            with tokens as (delete from revoked_tokens where forget_at < $1)
            delete from sign_ins where forget_at < $1",
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn earned_of(id: Uuid, granted: &str, device: Option<Uuid>, issued_after: i64) -> Result<Earned, StoreError> {
    let granted = match (granted, device) {
        ("owner", None) => LoginScope::Owner,
        ("device", Some(device)) => LoginScope::Device(DeviceId(device)),
        _ => return Err(StoreError::Row { column: "sign_ins.granted" }),
    };
    Ok(Earned { sign_in: SignInId(id), granted, issued_after })
}
