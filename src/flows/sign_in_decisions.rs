//! What a person does on the page of a sign-in: sign in with a password, or cancel.
//!
//! The first post binds the sign-in to its browser, before any password is looked at. The passwords themselves are
//! those of [`login`](super::login), with the same counts and the same record.

use super::{Broker, login::PasswordError, sign_in::SignInPage};
use crate::{
    domain::{
        audit::{Action, Actor, Origin},
        binding::ClientNetwork,
        ids::{DeviceId, SignInId},
        secret::{AuthorizationCode, BrowserCookie, LoginHandle, Password, SecretValue, UserCode},
        sign_in::{CODE_LIFE, Denial, LoginScope, LoopbackUri},
    },
    store::{Approval, SignInDecided, SignInKind, SignInRow, StoreError},
};

/// Somebody who signs in, as they say.
#[derive(Debug)]
pub enum Identity {
    /// The owner, by name and password.
    Owner {
        /// The name.
        user: String,
        /// The password.
        password: Password,
    },
    /// A device, by its password.
    Device {
        /// Which.
        device: DeviceId,
        /// The password.
        password: Password,
    },
}

/// What a decision led to.
#[derive(Debug)]
pub enum SignInOutcome {
    /// It is decided, or was: the page says how.
    Page(SignInPage),
    /// On to the terminal's own listener, with the answer.
    Return(String),
    /// What was given proves nothing: the question again.
    Wrong,
}

/// Why a decision could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The password proves nothing, or could not be looked at.
    #[error("the password proves nothing")]
    Password(#[from] PasswordError),
    /// The store failed.
    #[error("the sign-in could not be decided")]
    Store(#[from] StoreError),
}

/// A sign-in that this browser has taken.
pub(super) enum Taken {
    Yes(Box<SignInRow>),
    No(SignInPage),
}

impl Broker {
    /// Signs somebody in with a password, as far as the terminal asked for that.
    pub async fn sign_in(
        &self,
        handle: &LoginHandle,
        browser: &BrowserCookie,
        identity: Identity,
        network: ClientNetwork,
    ) -> Result<SignInOutcome, SignInError> {
        let row = match self.take_sign_in(handle, browser).await? {
            Taken::Yes(row) => row,
            Taken::No(page) => return Ok(SignInOutcome::Page(page)),
        };
        match identity {
            Identity::Owner { user, password } => {
                if !self.access.is_owner(&user, &password) {
                    self.record_wrong_owner(network).await?;
                    return Ok(SignInOutcome::Wrong);
                }
                self.approve_as_owner(&row, browser, network).await.map_err(Into::into)
            }
            Identity::Device { device, password } => {
                if row.asked.is_some_and(|asked| asked != LoginScope::Device(device)) {
                    return Ok(SignInOutcome::Wrong);
                }
                let issued_after = self.prove_login(device, password, network).await?;
                let granted = LoginScope::Device(device);
                let approved = self.approve(&row, browser, granted, Some(issued_after), None).await?;
                Ok(approved)
            }
        }
    }

    /// Ends the sign-in as its person wishes.
    pub async fn cancel_sign_in(
        &self,
        handle: &LoginHandle,
        browser: &BrowserCookie,
        network: ClientNetwork,
    ) -> Result<SignInOutcome, StoreError> {
        let row = match self.take_sign_in(handle, browser).await? {
            Taken::Yes(row) => row,
            Taken::No(page) => return Ok(SignInOutcome::Page(page)),
        };
        let by = Origin::of(Actor::Browser, network);
        self.deny(&row, browser, Denial::Cancelled, (Action::LoginDenied, &by)).await
    }

    /// The owner has shown who they are. A terminal that asked for a device gets a token of that device.
    pub(super) async fn approve_as_owner(
        &self,
        row: &SignInRow,
        browser: &BrowserCookie,
        network: ClientNetwork,
    ) -> Result<SignInOutcome, StoreError> {
        let granted = row.asked.unwrap_or(LoginScope::Owner);
        let by = Origin::of(Actor::Owner, network);
        if let Some(device) = granted.device()
            && self.store.find_device(device).await?.is_none()
        {
            return Ok(SignInOutcome::Wrong);
        }
        self.approve(row, browser, granted, None, Some((Action::OwnerLogin, &by))).await
    }

    async fn approve(
        &self,
        row: &SignInRow,
        browser: &BrowserCookie,
        granted: LoginScope,
        issued_after: Option<i64>,
        recorded: Option<(Action, &Origin)>,
    ) -> Result<SignInOutcome, StoreError> {
        let now = self.now();
        let code = AuthorizationCode::draw(self.entropy());
        let code = row.redirect().map(|(uri, state)| (uri, state, code));
        let approval = Approval {
            browser,
            granted,
            issued_after,
            code: code.as_ref().map(|(_, _, code)| (code, now + CODE_LIFE)),
            recorded,
        };
        match (self.store.approve_sign_in(row.id, &approval, now).await?, code) {
            (SignInDecided::Yes, Some((uri, state, code))) => {
                Ok(SignInOutcome::Return(self.answer(uri, ("code", code.expose()), state)))
            }
            (SignInDecided::Yes, None) => Ok(SignInOutcome::Page(SignInPage::Approved)),
            (SignInDecided::TooLate, _) => self.page_again(row.id, browser).await,
        }
    }

    pub(super) async fn deny(
        &self,
        row: &SignInRow,
        browser: &BrowserCookie,
        denial: Denial,
        recorded: (Action, &Origin),
    ) -> Result<SignInOutcome, StoreError> {
        match self.store.deny_sign_in(row.id, browser, denial, recorded, self.now()).await? {
            SignInDecided::TooLate => self.page_again(row.id, browser).await,
            SignInDecided::Yes => Ok(match (row.redirect(), denial) {
                (Some((uri, state)), Denial::Cancelled) => {
                    SignInOutcome::Return(self.answer(uri, ("error", "access_denied"), state))
                }
                (Some(_), Denial::NotAllowed) | (None, _) => {
                    SignInOutcome::Page(SignInPage::Denied(denial, None))
                }
            }),
        }
    }

    async fn page_again(&self, id: SignInId, browser: &BrowserCookie) -> Result<SignInOutcome, StoreError> {
        let row = self.store.find_sign_in(id).await?;
        let page = row.map(|row| self.page_of(&row, Some(browser)));
        Ok(match page {
            // It waits still, so it was for a device that is gone.
            Some(SignInPage::Ask(_)) => SignInOutcome::Wrong,
            Some(page) => SignInOutcome::Page(page),
            None => SignInOutcome::Page(SignInPage::Unknown),
        })
    }

    /// Binds a sign-in to the browser, if it still waits and is no other's.
    pub(super) async fn take_sign_in(
        &self,
        handle: &LoginHandle,
        browser: &BrowserCookie,
    ) -> Result<Taken, StoreError> {
        let Some(id) = self.ring.sign_in_of(handle) else { return Ok(Taken::No(SignInPage::Unknown)) };
        let now = self.now();
        let taken = self.store.take_sign_in(id, browser, now).await?;
        Ok(match (taken, self.store.find_sign_in(id).await?) {
            (_, None) => Taken::No(SignInPage::Unknown),
            (SignInDecided::Yes, Some(row)) => Taken::Yes(Box::new(row)),
            (SignInDecided::TooLate, Some(row)) => Taken::No(self.page_of(&row, Some(browser))),
        })
    }

    /// The address of a terminal's listener with an answer for it (RFC 6749 §4.1.2, RFC 9207).
    pub fn answer(&self, uri: &LoopbackUri, answer: (&str, &str), state: Option<&SecretValue>) -> String {
        let state = state.map(|state| ("state", state.expose()));
        let members: Vec<_> = [Some(answer), state, Some(("iss", self.settings.public_url.origin()))].into();
        uri.with(&members.into_iter().flatten().collect::<Vec<_>>())
    }
}

impl SignInRow {
    /// Where a browser brings the answer, and what goes along.
    pub(super) fn redirect(&self) -> Option<(&LoopbackUri, Option<&SecretValue>)> {
        match &self.kind {
            SignInKind::AuthorizationCode { redirect_uri, state } => Some((redirect_uri, state.as_ref())),
            SignInKind::DeviceCode { .. } => None,
        }
    }

    /// What a person can compare.
    pub(super) fn user_code(&self) -> Option<&UserCode> {
        match &self.kind {
            SignInKind::DeviceCode { user_code } => Some(user_code),
            SignInKind::AuthorizationCode { .. } => None,
        }
    }
}
