//! A provider whose refresh tokens are good once, and that ends the grant when one is used twice (RFC 9700 §4.14.2);
//! and what tests of refreshing ask of a home.

use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Answer, Home, Provider, Reply, Service,
    provider::{Judge, TokenRequest},
    until,
};

/// The grants of such a provider: one family of tokens, `at-1`, `rt-1`, `at-2` and so on.
#[derive(Clone, Default)]
pub(crate) struct Rotation(Arc<Mutex<Family>>);

#[derive(Default)]
struct Family {
    issued: usize,
    /// Two that were issued by consent or rotation are never good at once.
    good: Option<String>,
    reused: bool,
}

impl Rotation {
    /// A provider that answers so, from now on.
    pub(crate) async fn provider() -> (Provider, Self) {
        let (provider, rotation) = (Provider::start().await, Self::default());
        provider.always(Answer::Judged(rotation.judge()));
        (provider, rotation)
    }

    /// How it decides.
    pub(crate) fn judge(&self) -> Judge {
        let family = Arc::clone(&self.0);
        Arc::new(move |request: &TokenRequest| family.lock().unwrap().judge(request))
    }

    /// How many token sets it has issued.
    pub(crate) fn issued(&self) -> usize {
        self.0.lock().unwrap().issued
    }

    /// Whether a spent refresh token was used again, since the last consent.
    pub(crate) fn reused(&self) -> bool {
        self.0.lock().unwrap().reused
    }
}

impl Family {
    fn judge(&mut self, request: &TokenRequest) -> (u16, Value) {
        let consent = request.form["grant_type"] == "authorization_code";
        if !consent && request.form.get("refresh_token") != self.good.as_ref() {
            self.good = None;
            self.reused = true;
            return (400, json!({"error": "invalid_grant"}));
        }
        self.reused &= !consent;
        self.issued += 1;
        let refresh = format!("rt-{}", self.issued);
        self.good = Some(refresh.clone());
        let access = format!("at-{}", self.issued);
        (200, json!({"access_token": access, "refresh_token": refresh, "expires_in": 3600}))
    }
}

impl Home {
    /// Asks for the access token.
    pub(crate) async fn get_token(&self, service: &Service) -> Reply {
        self.call(service, Method::GET, &self.at("/token"), None).await
    }

    /// Asks for a new one now.
    pub(crate) async fn refresh(&self, service: &Service) -> Reply {
        self.call(service, Method::POST, &self.at("/refresh"), None).await
    }
}

impl Service {
    /// Waits until somebody has looked at every grant, and nobody is at one.
    pub(crate) async fn grants_are_scheduled(&self) {
        let open = "select count(*) from grants where refresh_lease_until is not null or refresh_at <= refresh_set_at";
        until("the look at all grants", async || (self.database.count(open).await == 0).then_some(())).await;
    }

    /// What the audit record says of actions of this kind: their `detail`, newest first.
    pub(crate) async fn audited(&self, action: &str) -> Vec<Value> {
        let entries = self.owner(Method::GET, "/api/audit?limit=200", None).await.expect(200);
        let entries = entries.as_array().unwrap();
        entries
            .iter()
            .filter(|entry| entry["action"] == action)
            .map(|entry| entry["detail"].clone())
            .collect()
    }
}
