//! Operators through an OpenID provider (OpenID Connect Core §3.1): the browser of a sign-in goes there and comes back
//! with a code, which is traded for an ID token. An account that may operate this service approves the sign-in as the
//! owner's password would.
//!
//! What comes back counts once, and only in the browser that was sent. The provider's access token is asked for
//! nothing but the account's e-mail address, and kept nowhere.

use url::Url;

use super::{
    Broker,
    openid_provider::{Keys, OpenIdProvider, ProviderError},
    sign_in::SignInPage,
    sign_in_decisions::{SignInOutcome, Taken},
};
use crate::{
    domain::{
        audit::{Action, Actor, Origin},
        binding::ClientNetwork,
        openid::{OpenIdAccount, OpenIdSettings},
        secret::{AuthorizationCode, BrowserCookie, CodeVerifier, FlowState, LoginHandle, Nonce},
        sign_in::Denial,
    },
    provider::{OpenIdError, OpenIdTokens, RequestError, openid_object},
    store::{SentToProvider, SignInDecided, StoreError},
    vault::id_token::{Expected, IdTokenError, verified_email},
};

/// Where providers send browsers back.
const CALLBACK: &str = "/api/login/callback";

/// What became of the wish to go to the provider.
#[derive(Debug)]
pub enum OpenIdStart {
    /// The browser goes there.
    Authorize(Url),
    /// The sign-in is decided, or is another browser's.
    Page(SignInPage),
    /// The provider can't be used now.
    Unavailable,
}

/// What a browser brings back from the provider.
#[derive(Debug)]
pub struct OpenIdAnswer {
    /// `state`.
    pub state: FlowState,
    /// `code`; nothing where the provider said no.
    pub code: Option<AuthorizationCode>,
    /// `iss`.
    pub issuer: Option<String>,
}

/// What that led to.
#[derive(Debug)]
pub enum Returned {
    /// It belongs to no sign-in of this browser.
    Unknown,
    /// The sign-in is decided.
    Decided(LoginHandle, SignInOutcome),
    /// Nobody is known by it; the sign-in waits.
    Failed(LoginHandle),
}

/// Why an answer of the provider tells of nobody.
#[derive(Debug, thiserror::Error)]
enum AnswerRefused {
    #[error("the person or the provider said no")]
    NoCode,
    #[error("the answer came from another issuer")]
    Issuer,
    #[error("the provider could not be used")]
    Provider(#[from] ProviderError),
    #[error("the token request can't be written")]
    Request(#[from] RequestError),
    #[error("the ID token is not believed")]
    IdToken(#[from] IdTokenError),
    #[error("the provider told of another account than the ID token")]
    OtherAccount,
}

impl From<crate::provider::SendError> for AnswerRefused {
    fn from(error: crate::provider::SendError) -> Self {
        Self::Provider(error.into())
    }
}

impl From<OpenIdError> for AnswerRefused {
    fn from(error: OpenIdError) -> Self {
        Self::Provider(error.into())
    }
}

impl Broker {
    /// Sends the browser of a sign-in to the provider.
    pub async fn sign_in_at_provider(
        &self,
        handle: &LoginHandle,
        browser: &BrowserCookie,
    ) -> Result<OpenIdStart, StoreError> {
        let Some(settings) = &self.settings.openid else { return Ok(OpenIdStart::Unavailable) };
        let row = match self.take_sign_in(handle, browser).await? {
            Taken::Yes(row) => row,
            Taken::No(page) => return Ok(OpenIdStart::Page(page)),
        };
        let provider = match self.openid_provider(settings, Keys::Kept).await {
            Ok(provider) => provider,
            Err(error) => {
                tracing::warn!(cause = &error as &dyn std::error::Error, "the OpenID provider can't be used");
                return Ok(OpenIdStart::Unavailable);
            }
        };
        let (state, nonce) = (FlowState::draw(self.entropy()), Nonce::draw(self.entropy()));
        let verifier = CodeVerifier::draw(self.entropy());
        let callback = self.settings.public_url.join(CALLBACK);
        let url = provider.metadata.authorization_url(settings, &callback, &state, &nonce, &verifier);
        let sent = SentToProvider { state: &state, nonce: &nonce, verifier: &verifier };
        Ok(match self.store.send_to_provider(row.id, browser, &sent, self.now()).await? {
            SignInDecided::Yes => OpenIdStart::Authorize(url),
            SignInDecided::TooLate => OpenIdStart::Page(self.show_sign_in(handle, Some(browser)).await?),
        })
    }

    /// Takes what a browser brings back from the provider, once.
    pub async fn return_from_provider(
        &self,
        answer: &OpenIdAnswer,
        browser: &BrowserCookie,
        network: ClientNetwork,
    ) -> Result<Returned, StoreError> {
        let Some(settings) = &self.settings.openid else { return Ok(Returned::Unknown) };
        let Some(back) = self.store.return_from_provider(&answer.state, browser, self.now()).await? else {
            return Ok(Returned::Unknown);
        };
        let handle = self.ring.login_handle(back.sign_in);
        let Some(row) = self.store.find_sign_in(back.sign_in).await? else { return Ok(Returned::Unknown) };
        let account = match self.account(settings, answer, &back.nonce, &back.verifier).await {
            Ok(account) => account,
            Err(error) => {
                tracing::warn!(
                    cause = &error as &dyn std::error::Error,
                    "nobody is known by a provider's answer"
                );
                return Ok(Returned::Failed(handle));
            }
        };
        let outcome = if settings.operators.include(&account) {
            self.approve_as_owner(&row, browser, network).await?
        } else {
            let by = Origin::of(Actor::Anyone, network);
            self.deny(&row, browser, Denial::NotAllowed, (Action::OwnerLoginFailed, &by)).await?
        };
        Ok(Returned::Decided(handle, outcome))
    }

    async fn account(
        &self,
        settings: &OpenIdSettings,
        answer: &OpenIdAnswer,
        nonce: &Nonce,
        verifier: &CodeVerifier,
    ) -> Result<OpenIdAccount, AnswerRefused> {
        let provider = self.openid_provider(settings, Keys::Kept).await?;
        match &answer.issuer {
            Some(issuer) if issuer != settings.issuer.as_str() => return Err(AnswerRefused::Issuer),
            None if provider.metadata.names_itself => return Err(AnswerRefused::Issuer),
            Some(_) | None => {}
        }
        let code = answer.code.as_ref().ok_or(AnswerRefused::NoCode)?;
        let callback = self.settings.public_url.join(CALLBACK);
        let request = provider.metadata.exchange(settings, &callback, code, verifier)?;
        let tokens = OpenIdTokens::parse(&self.provider.send(request).await?)?;
        let (issuer, client_id) = (settings.issuer.as_str(), settings.client_id.as_str());
        let expected = Expected { issuer, client_id, nonce };
        let believed = match provider.keys.verify(tokens.id_token.expose(), expected, self.now()) {
            Err(IdTokenError::UnknownKey) => {
                let newer = self.openid_provider(settings, Keys::Newer).await?;
                newer.keys.verify(tokens.id_token.expose(), expected, self.now())
            }
            believed => believed,
        };
        self.with_email(settings, &provider, believed?, &tokens).await
    }

    /// Many providers tell the e-mail address only where it is asked for (OpenID Connect Core §5.3, §5.4).
    async fn with_email(
        &self,
        settings: &OpenIdSettings,
        provider: &OpenIdProvider,
        account: OpenIdAccount,
        tokens: &OpenIdTokens,
    ) -> Result<OpenIdAccount, AnswerRefused> {
        let known = account.verified_email.is_some() || !settings.operators.ask_for_email(&account.subject);
        let (Some(endpoint), Some(token), false) =
            (&provider.metadata.userinfo_endpoint, &tokens.access_token, known)
        else {
            return Ok(account);
        };
        let told = openid_object(&self.provider.get(endpoint.clone(), Some(token)).await?)?;
        if told.get("sub").and_then(serde_json::Value::as_str) != Some(&account.subject) {
            return Err(AnswerRefused::OtherAccount);
        }
        Ok(OpenIdAccount { verified_email: verified_email(&told), ..account })
    }
}
