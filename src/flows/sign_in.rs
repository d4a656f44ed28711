//! Signing in from a terminal: it starts, somebody signs in on its page, and it gets a token.
//!
//! With a device code the terminal polls (RFC 8628); with an authorization code a browser on the same machine
//! brings it the answer (RFC 8252, with PKCE). The page is the same. What is traded for the token stands in
//! `flows/sign_in_grants`.

use time::{Duration, OffsetDateTime};

use super::Broker;
use crate::{
    domain::{
        binding::ClientNetwork,
        ids::SignInId,
        pkce::CodeChallenge,
        secret::{BrowserCookie, DeviceCode, LoginHandle, SecretValue, UserCode},
        sign_in::{ClientId, Denial, LoginScope, LoopbackUri, POLL_INTERVAL, SIGN_IN_LIFE, SignInStatus},
    },
    store::{NewKind, NewSignIn, SignInRow, SignInStarted, StoreError},
};

/// Sign-ins that may be open at once, of all terminals together.
const MOST_OPEN: i64 = 10_000;
/// How long a terminal that comes too late is still told so.
const REMEMBERED: Duration = Duration::hours(1);

/// Who starts a sign-in, and for what.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// What it calls itself.
    pub client: Option<ClientId>,
    /// What it asks for; nothing leaves that to who signs in.
    pub asked: Option<LoginScope>,
    /// Where it calls from, or the browser that it opened.
    pub network: ClientNetwork,
}

/// A sign-in that a terminal polls for. Its codes are secrets until their people have them.
#[derive(Debug)]
pub struct DeviceAuthorization {
    /// What it polls with.
    pub device_code: DeviceCode,
    /// What a person types at `/link`.
    pub user_code: UserCode,
    /// How long somebody has to sign in.
    pub expires_in: Duration,
    /// Between two polls.
    pub interval: Duration,
}

/// Why no sign-in was started.
#[derive(Debug, thiserror::Error)]
pub enum StartSignInError {
    /// Too many are open.
    #[error("too many sign-ins are open")]
    TooMany,
    /// The store failed.
    #[error("the sign-in could not be started")]
    Store(#[from] StoreError),
}

/// What the page of a sign-in asks.
#[derive(Debug)]
pub struct SignInQuestion {
    /// What the terminal calls itself.
    pub client: Option<ClientId>,
    /// Where it called from.
    pub network: ClientNetwork,
    /// When.
    pub started_at: OffsetDateTime,
    /// The code to compare, where the terminal shows one.
    pub user_code: Option<UserCode>,
    /// What it asks for.
    pub asked: Option<LoginScope>,
}

/// What a `/login` URL shows to this browser now.
#[derive(Debug)]
pub enum SignInPage {
    /// The question.
    Ask(Box<SignInQuestion>),
    /// Somebody signed in, in this browser.
    Approved,
    /// Nobody will, as was decided in this browser; the way back to the terminal's listener, where it has one.
    Denied(Denial, Option<String>),
    /// Another browser was first.
    OtherBrowser,
    /// Nobody signed in in time.
    Expired,
    /// No such sign-in.
    Unknown,
}

impl Broker {
    /// Starts a sign-in that a terminal polls for (RFC 8628 §3.1).
    pub async fn authorize_device(
        &self,
        terminal: &Terminal,
    ) -> Result<DeviceAuthorization, StartSignInError> {
        let code = DeviceCode::draw(self.entropy());
        let user_code = UserCode::draw_typeable(self.entropy());
        let interval_seconds = i32::try_from(POLL_INTERVAL.whole_seconds()).unwrap_or(i32::MAX);
        let kind = NewKind::DeviceCode { code: &code, user_code: &user_code, interval_seconds };
        self.start_sign_in(terminal, kind).await?;
        Ok(DeviceAuthorization {
            device_code: code,
            user_code,
            expires_in: SIGN_IN_LIFE,
            interval: POLL_INTERVAL,
        })
    }

    /// Starts a sign-in whose answer a browser brings (RFC 8252): where its page is.
    pub async fn authorize_browser(
        &self,
        terminal: &Terminal,
        redirect_uri: &LoopbackUri,
        state: Option<&SecretValue>,
        challenge: &CodeChallenge,
    ) -> Result<LoginHandle, StartSignInError> {
        let kind = NewKind::AuthorizationCode { redirect_uri, state, challenge };
        let id = self.start_sign_in(terminal, kind).await?;
        Ok(self.ring.login_handle(id))
    }

    async fn start_sign_in(
        &self,
        terminal: &Terminal,
        kind: NewKind<'_>,
    ) -> Result<SignInId, StartSignInError> {
        let (id, now) = (SignInId::draw(self.entropy()), self.now());
        let new = NewSignIn {
            id,
            kind,
            client: terminal.client.as_ref(),
            asked: terminal.asked,
            network: terminal.network,
            expires_at: now + SIGN_IN_LIFE,
            forget_at: now + SIGN_IN_LIFE + REMEMBERED,
        };
        match self.store.start_sign_in(&new, MOST_OPEN, now).await? {
            SignInStarted::Yes => Ok(id),
            SignInStarted::TooMany => Err(StartSignInError::TooMany),
        }
    }

    /// The `/login` handle of the sign-in that waits for this user code.
    pub async fn find_sign_in_by_user_code(
        &self,
        code: &UserCode,
    ) -> Result<Option<LoginHandle>, StoreError> {
        let id = self.store.find_sign_in_by_user_code(code, self.now()).await?;
        Ok(id.map(|id| self.ring.login_handle(id)))
    }

    /// What the page of a sign-in shows. Changes nothing: messengers preview links.
    pub async fn show_sign_in(
        &self,
        handle: &LoginHandle,
        browser: Option<&BrowserCookie>,
    ) -> Result<SignInPage, StoreError> {
        Ok(match self.find_sign_in(handle).await? {
            Some(row) => self.page_of(&row, browser),
            None => SignInPage::Unknown,
        })
    }

    pub(super) async fn find_sign_in(&self, handle: &LoginHandle) -> Result<Option<SignInRow>, StoreError> {
        match self.ring.sign_in_of(handle) {
            Some(id) => self.store.find_sign_in(id).await,
            None => Ok(None),
        }
    }

    /// What a browser may know of a sign-in.
    pub(super) fn page_of(&self, row: &SignInRow, browser: Option<&BrowserCookie>) -> SignInPage {
        if row.is_bound() && !browser.is_some_and(|browser| row.is_bound_to(browser)) {
            return SignInPage::OtherBrowser;
        }
        match (row.status, row.denial) {
            (SignInStatus::Approved | SignInStatus::Redeemed, _) => SignInPage::Approved,
            (SignInStatus::Denied, denial) => {
                let back =
                    row.redirect().map(|(uri, state)| self.answer(uri, ("error", "access_denied"), state));
                SignInPage::Denied(denial.unwrap_or(Denial::Cancelled), back)
            }
            (SignInStatus::Pending, _) if row.expires_at <= self.now() => SignInPage::Expired,
            (SignInStatus::Pending, _) => SignInPage::Ask(Box::new(SignInQuestion {
                client: row.client.clone(),
                network: row.network,
                started_at: row.created_at,
                user_code: row.user_code().cloned(),
                asked: row.asked,
            })),
        }
    }
}
