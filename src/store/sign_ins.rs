//! Sign-ins as rows: started by a terminal, and found by their page.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Column, Store, StoreError, column, flows::browser_hash, parse_column};
use crate::{
    domain::{
        binding::ClientNetwork,
        ids::SignInId,
        pkce::CodeChallenge,
        secret::{AuthorizationCode, BrowserCookie, DeviceCode, SecretValue, UserCode},
        sign_in::{ClientId, Denial, LoginScope, LoopbackUri, SignInStatus},
    },
    vault::lookup_hash,
};

const USER_CODE: Column = column!("sign_ins", "user_code");
const CLIENT_STATE: Column = column!("sign_ins", "client_state");

/// A sign-in to start.
pub struct NewSignIn<'a> {
    /// Its id.
    pub id: SignInId,
    /// How the terminal gets its token.
    pub kind: NewKind<'a>,
    /// What the terminal calls itself.
    pub client: Option<&'a ClientId>,
    /// What it asks for; nothing leaves that to who signs in.
    pub asked: Option<LoginScope>,
    /// Where it calls from.
    pub network: ClientNetwork,
    /// Until when somebody can sign in.
    pub expires_at: OffsetDateTime,
    /// When the row is of no use any more.
    pub forget_at: OffsetDateTime,
}

/// How a terminal gets its token.
pub enum NewKind<'a> {
    /// It polls (RFC 8628).
    DeviceCode {
        /// What it polls with.
        code: &'a DeviceCode,
        /// What a person types.
        user_code: &'a UserCode,
        /// How often it may ask.
        interval_seconds: i32,
    },
    /// A browser brings it a code (RFC 8252).
    AuthorizationCode {
        /// Where to.
        redirect_uri: &'a LoopbackUri,
        /// What it wants to get back with it.
        state: Option<&'a SecretValue>,
        /// What the verifier must hash to.
        challenge: &'a CodeChallenge,
    },
}

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInStarted {
    /// It is pending.
    Yes,
    /// As many as there may be are open already.
    TooMany,
}

/// How a sign-in's answer reaches its terminal.
#[derive(Debug, Clone)]
pub enum SignInKind {
    /// It polls.
    DeviceCode {
        /// What a person can compare.
        user_code: UserCode,
    },
    /// A browser brings it.
    AuthorizationCode {
        /// Where to.
        redirect_uri: LoopbackUri,
        /// What goes along.
        state: Option<SecretValue>,
    },
}

/// A sign-in as its page needs it.
#[derive(Debug, Clone)]
pub struct SignInRow {
    /// Its id.
    pub id: SignInId,
    /// How its answer travels.
    pub kind: SignInKind,
    /// How far it has come; what has run out is said by `expires_at`.
    pub status: SignInStatus,
    /// Why it was denied.
    pub denial: Option<Denial>,
    /// What the terminal calls itself.
    pub client: Option<ClientId>,
    /// What it asks for.
    pub asked: Option<LoginScope>,
    /// Where it called from.
    pub network: ClientNetwork,
    /// When.
    pub created_at: OffsetDateTime,
    /// When it runs out.
    pub expires_at: OffsetDateTime,
    browser_hash: Option<Vec<u8>>,
}

impl SignInRow {
    /// Whether `browser` is the one that took this sign-in.
    pub fn is_bound_to(&self, browser: &BrowserCookie) -> bool {
        let hash = browser_hash(browser);
        self.browser_hash
            .as_deref()
            .is_some_and(|bound| aws_lc_rs::constant_time::verify_slices_are_equal(bound, &hash).is_ok())
    }

    /// Whether any browser has taken it.
    pub fn is_bound(&self) -> bool {
        self.browser_hash.is_some()
    }
}

impl Store {
    /// Starts a sign-in, unless `most` are open. Those that start at the same moment are not counted: the bound
    /// keeps the table small, it divides nothing.
    pub async fn start_sign_in(
        &self,
        new: &NewSignIn<'_>,
        most: i64,
        now: OffsetDateTime,
    ) -> Result<SignInStarted, StoreError> {
        let place = new.id.to_string();
        let row = match &new.kind {
            NewKind::DeviceCode { code, user_code, interval_seconds } => KindColumns {
                kind: "device_code",
                device_code_hash: Some(device_code_hash(code)),
                user_code_hash: Some(user_code_hash(user_code)),
                user_code: Some(self.seal(USER_CODE, &place, user_code.expose().as_bytes())),
                poll_seconds: Some(*interval_seconds),
                ..KindColumns::default()
            },
            NewKind::AuthorizationCode { redirect_uri, state, challenge } => KindColumns {
                kind: "authorization_code",
                redirect_uri: Some(redirect_uri.as_str()),
                client_state: state.map(|state| self.seal(CLIENT_STATE, &place, state.expose().as_bytes())),
                code_challenge: Some(challenge.as_str()),
                ..KindColumns::default()
            },
        };
        let done = sqlx::query!(
            "-- start_sign_in
            insert into sign_ins (id, kind, status, client_id, asked, network, created_at, expires_at, forget_at,
                device_code_hash, user_code_hash, user_code, poll_seconds, redirect_uri, client_state, code_challenge)
            select $1, $2, 'pending', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
            where (select count(*) from sign_ins where expires_at > $6) < $16",
            new.id.0,
            row.kind,
            new.client.map(ClientId::as_str),
            new.asked.map(|asked| asked.to_string()),
            new.network.to_string(),
            now,
            new.expires_at,
            new.forget_at,
            row.device_code_hash,
            row.user_code_hash,
            row.user_code,
            row.poll_seconds,
            row.redirect_uri,
            row.client_state,
            row.code_challenge,
            most
        )
        .execute(&self.pool)
        .await?;
        Ok(if done.rows_affected() == 1 { SignInStarted::Yes } else { SignInStarted::TooMany })
    }

    /// A sign-in by its id.
    pub async fn find_sign_in(&self, id: SignInId) -> Result<Option<SignInRow>, StoreError> {
        let row = sqlx::query_as!(
            SealedSignIn,
            "-- find_sign_in
            select id, status, reason, client_id, asked, network, created_at, expires_at, user_code, redirect_uri,
                client_state, browser_hash
            from sign_ins where id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| self.open_sign_in(row)).transpose()
    }

    /// A sign-in that waits for somebody, by its user code.
    pub async fn find_sign_in_by_user_code(
        &self,
        code: &UserCode,
        now: OffsetDateTime,
    ) -> Result<Option<SignInId>, StoreError> {
        let id = sqlx::query_scalar!(
            "-- find_sign_in_by_user_code
            select id from sign_ins where user_code_hash = $1 and status = 'pending' and expires_at > $2",
            user_code_hash(code),
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(id.map(SignInId))
    }

    fn open_sign_in(&self, row: SealedSignIn) -> Result<SignInRow, StoreError> {
        let place = row.id.to_string();
        let kind = match (row.user_code, row.redirect_uri) {
            (Some(sealed), None) => {
                let code = self.open_text(USER_CODE, &place, &sealed)?;
                SignInKind::DeviceCode { user_code: UserCode::new(code.as_str()) }
            }
            (None, Some(uri)) => {
                let state = row.client_state.map(|sealed| self.open_text(CLIENT_STATE, &place, &sealed));
                SignInKind::AuthorizationCode {
                    redirect_uri: parse_column("sign_ins.redirect_uri", &uri)?,
                    state: state.transpose()?.map(|state| SecretValue::new(state.as_str())),
                }
            }
            (Some(_), Some(_)) | (None, None) => return Err(StoreError::Row { column: "sign_ins.kind" }),
        };
        Ok(SignInRow {
            id: SignInId(row.id),
            kind,
            status: parse_column("sign_ins.status", &row.status)?,
            denial: row.reason.map(|reason| parse_column("sign_ins.reason", &reason)).transpose()?,
            client: row.client_id.map(|client| parse_column("sign_ins.client_id", &client)).transpose()?,
            asked: row.asked.map(|asked| parse_column("sign_ins.asked", &asked)).transpose()?,
            network: parse_column("sign_ins.network", &row.network)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            browser_hash: row.browser_hash,
        })
    }
}

#[derive(Default)]
struct KindColumns<'a> {
    kind: &'static str,
    device_code_hash: Option<Vec<u8>>,
    user_code_hash: Option<Vec<u8>>,
    user_code: Option<Vec<u8>>,
    poll_seconds: Option<i32>,
    redirect_uri: Option<&'a str>,
    client_state: Option<Vec<u8>>,
    code_challenge: Option<&'a str>,
}

struct SealedSignIn {
    id: Uuid,
    status: String,
    reason: Option<String>,
    client_id: Option<String>,
    asked: Option<String>,
    network: String,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    user_code: Option<Vec<u8>>,
    redirect_uri: Option<String>,
    client_state: Option<Vec<u8>>,
    browser_hash: Option<Vec<u8>>,
}

pub(super) fn device_code_hash(code: &DeviceCode) -> Vec<u8> {
    lookup_hash("device code", code.expose()).to_vec()
}

pub(super) fn code_hash(code: &AuthorizationCode) -> Vec<u8> {
    lookup_hash("authorization code", code.expose()).to_vec()
}

fn user_code_hash(code: &UserCode) -> Vec<u8> {
    lookup_hash("sign-in user code", code.expose()).to_vec()
}
