//! A terminal that wants somebody to sign in, and somebody who does.

use cloudlink::domain::{pkce::CodeChallenge, secret::CodeVerifier};
use reqwest::Method;
use serde_json::Value;

use super::{Browser, OWNER, Page, Reply, Service};

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A terminal in front of a service.
pub(crate) struct Terminal<'a> {
    /// What it asks.
    pub(crate) service: &'a Service,
    /// What it calls itself.
    pub(crate) client: Option<&'a str>,
}

/// A sign-in whose answer a browser brings.
pub(crate) struct Started {
    /// The path of its page.
    pub(crate) page: String,
    verifier: String,
}

impl<'a> Terminal<'a> {
    /// One that calls itself `cloudlink`.
    pub(crate) fn of(service: &'a Service) -> Self {
        Self { service, client: Some("cloudlink") }
    }

    /// A form, as it is.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.service.request(Method::POST, path);
        Reply::of(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    /// Starts a sign-in that is polled for.
    pub(crate) async fn start(&self, scope: Option<&str>) -> Reply {
        let client = self.client.map(|client| ("client_id", client));
        let form: Vec<_> = client.into_iter().chain(scope.map(|scope| ("scope", scope))).collect();
        self.post("/api/device_authorization", &form).await
    }

    /// Polls once.
    pub(crate) async fn poll(&self, started: &Value) -> Reply {
        let code = started["device_code"].as_str().unwrap();
        let mut form = vec![("grant_type", DEVICE_CODE), ("device_code", code)];
        form.extend(self.client.map(|client| ("client_id", client)));
        self.post("/api/token", &form).await
    }

    /// The path of the page that a typed code leads to.
    pub(crate) async fn page(&self, browser: &mut Browser, started: &Value) -> String {
        let csrf = browser.open(self.service, "/link").await.csrf();
        let form = [("csrf", csrf.as_str()), ("user_code", started["user_code"].as_str().unwrap())];
        let answer = browser.post(self.service, "/link", &form).await;
        assert_eq!(answer.status, 303, "{}", answer.html);
        answer.location().to_owned()
    }

    /// Opens a browser at a sign-in's page; `more` is added to the request.
    pub(crate) async fn open(&self, browser: &mut Browser, more: &[(&str, &str)]) -> Started {
        let verifier = "v".repeat(43);
        let challenge = CodeChallenge::of(&CodeVerifier::new(verifier.as_str()));
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("response_type", "code"),
            ("redirect_uri", Self::LISTENER),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("state", "the state"),
        ]);
        query.extend_pairs(self.client.map(|client| ("client_id", client)));
        query.extend_pairs(more);
        let answer = browser.open(self.service, &format!("/api/authorize?{}", query.finish())).await;
        assert_eq!(answer.status, 303, "{}", answer.html);
        Started { page: answer.location().to_owned(), verifier }
    }

    /// Where it listens.
    pub(crate) const LISTENER: &'static str = "http://127.0.0.1:49152/callback";

    /// Trades the code that a browser was sent back with.
    pub(crate) async fn trade(&self, started: &Started, code: &str) -> Reply {
        self.trade_with(started, code, &[]).await
    }

    /// The same with these members changed.
    pub(crate) async fn trade_with(&self, started: &Started, code: &str, changes: &[(&str, &str)]) -> Reply {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", Self::LISTENER),
            ("code_verifier", started.verifier.as_str()),
        ];
        form.extend(self.client.map(|client| ("client_id", client)));
        form.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        form.extend(changes);
        self.post("/api/token", &form).await
    }

    /// A token of the owner, by a sign-in from beginning to end.
    pub(crate) async fn owner_token(&self) -> String {
        let (mut browser, started) = (Browser::default(), self.start(Some("owner")).await.expect(200));
        let page = self.page(&mut browser, &started).await;
        let answer = browser.sign_in_as_owner(self.service, &page).await;
        assert_eq!(answer.status, 200, "{}", answer.html);
        token(&self.poll(&started).await.expect(200))
    }
}

/// The `access_token` of an answer.
pub(crate) fn token(answer: &Value) -> String {
    answer["access_token"].as_str().unwrap().to_owned()
}

impl Browser {
    /// Opens the page, and posts these members with its `csrf`.
    pub(crate) async fn sign_in(&mut self, service: &Service, page: &str, members: &[(&str, &str)]) -> Page {
        let csrf = self.open(service, page).await.csrf();
        let mut form = vec![("csrf", csrf.as_str())];
        form.extend(members);
        self.post(service, page, &form).await
    }

    /// Signs in with the owner's password.
    pub(crate) async fn sign_in_as_owner(&mut self, service: &Service, page: &str) -> Page {
        self.sign_in(service, page, &[("user", OWNER.0), ("password", OWNER.1)]).await
    }
}
