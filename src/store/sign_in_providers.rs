//! A sign-in whose browser is at the OpenID provider: what it must bring back, once (A02).

use serde::Serialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    Column, SignInDecided, Store, StoreError, column,
    flows::{browser_hash, state_hash},
};
use crate::domain::{
    ids::SignInId,
    json,
    secret::{BrowserCookie, CodeVerifier, FlowState, Nonce},
};

const SECRETS: Column = column!("sign_ins", "provider_secrets");

/// What a browser is sent to the provider with.
pub struct SentToProvider<'a> {
    /// What it must bring back.
    pub state: &'a FlowState,
    /// What the ID token must name.
    pub nonce: &'a Nonce,
    /// What its code is traded with.
    pub verifier: &'a CodeVerifier,
}

/// A browser that came back.
#[derive(Debug)]
pub struct BackFromProvider {
    /// Its sign-in.
    pub sign_in: SignInId,
    /// What the ID token must name.
    pub nonce: Nonce,
    /// What the code is traded with.
    pub verifier: CodeVerifier,
}

#[derive(Serialize)]
struct Secrets<'a> {
    nonce: &'a str,
    verifier: &'a str,
}

impl Store {
    /// Notes that the browser which took a sign-in goes to the provider; what it was sent with before is void.
    pub async fn send_to_provider(
        &self,
        id: SignInId,
        browser: &BrowserCookie,
        sent: &SentToProvider<'_>,
        now: OffsetDateTime,
    ) -> Result<SignInDecided, StoreError> {
        let secrets = Secrets { nonce: sent.nonce.expose(), verifier: sent.verifier.expose() };
        let misread = |_| StoreError::Row { column: SECRETS.name };
        let plaintext = Zeroizing::new(serde_json::to_vec(&secrets).map_err(misread)?);
        let done = sqlx::query!(
            "-- send_to_provider
            update sign_ins set provider_state_hash = $3, provider_secrets = $4
            where id = $1 and browser_hash = $2 and status = 'pending' and expires_at > $5",
            id.0,
            browser_hash(browser).to_vec(),
            state_hash(sent.state).to_vec(),
            self.seal(SECRETS, &id.to_string(), &plaintext),
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(SignInDecided::of(done.rows_affected()))
    }

    /// Takes what a browser brings back, once, and only from the one that was sent.
    pub async fn return_from_provider(
        &self,
        state: &FlowState,
        browser: &BrowserCookie,
        now: OffsetDateTime,
    ) -> Result<Option<BackFromProvider>, StoreError> {
        let row = sqlx::query!(
            r#"-- return_from_provider
            with back as (
                select id, provider_secrets from sign_ins
                where provider_state_hash = $1 and browser_hash = $2 and status = 'pending' and expires_at > $3
                for update)
            update sign_ins s set provider_state_hash = null, provider_secrets = null
            from back where s.id = back.id
            returning s.id, back.provider_secrets as "secrets!""#,
            state_hash(state).to_vec(),
            browser_hash(browser).to_vec(),
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let misread = || StoreError::Row { column: SECRETS.name };
        let plaintext = self.open(SECRETS, &row.id.to_string(), &row.secrets)?;
        let secrets = json::parse_object(&plaintext).map_err(|_| misread())?;
        let text = |name: &str| secrets.get(name).and_then(serde_json::Value::as_str).ok_or_else(misread);
        Ok(Some(BackFromProvider {
            sign_in: SignInId(row.id),
            nonce: Nonce::new(text("nonce")?),
            verifier: CodeVerifier::new(text("verifier")?),
        }))
    }
}
