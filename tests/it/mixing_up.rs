//! Mix-ups between plugins (COAT, CORF) and between flows: a code reaches the provider it came from, or nobody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Attempt, Browser, Home, Provider, Sent, Service};

/// An authorization server that checks codes as RFC 6749 §4.1.3 and RFC 7636 §4.6 say.
struct Honest {
    token_endpoint: Provider,
    codes: Arc<Mutex<HashMap<String, Sent>>>,
}

impl Honest {
    async fn start() -> Self {
        let (token_endpoint, codes) =
            (Provider::start().await, Arc::new(Mutex::<HashMap<String, Sent>>::default()));
        let known = Arc::clone(&codes);
        token_endpoint.always(Answer::Judged(Arc::new(move |request| {
            let form = &request.form;
            let sent = known.lock().unwrap().remove(&form["code"]);
            let verifier = form.get("code_verifier").map(|verifier| challenge(verifier));
            let fits = sent.is_some_and(|sent| {
                verifier.as_ref() == sent.query.get("code_challenge")
                    && form.get("redirect_uri") == sent.query.get("redirect_uri")
                    && form["client_id"] == sent.query["client_id"]
            });
            if fits {
                (200, json!({"access_token": format!("for-{}", form["code"]), "expires_in": 3600}))
            } else {
                (400, json!({"error": "invalid_grant"}))
            }
        })));
        Self { token_endpoint, codes }
    }

    /// The person consents to this request.
    fn consents(&self, sent: &Sent, code: &str) -> String {
        self.codes.lock().unwrap().insert(code.to_owned(), sent.clone());
        code.to_owned()
    }
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

async fn store(service: &Service, plugin: &str, configuration: Value) {
    let put = service.owner(Method::PUT, &format!("/api/plugins/{plugin}"), Some(configuration)).await;
    assert!(put.status < 300, "{}", put.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_a_configuration_that_changes_during_the_flow_gets_nothing() {
    let (service, old, new) = (Service::start().await, Provider::start().await, Provider::start().await);
    let home = Home::enrol(&service, &old).await;

    // The store alone changes: the slot keeps its copy, the flow its endpoints.
    let mut attempt = Attempt::start(&service, &home).await;
    store(&service, "acme", new.configured(json!({"client_id": "the-new-client"}))).await;
    assert_eq!(attempt.back(&service, &[("code", "c")]).await.status, 303);
    assert_eq!(attempt.stands(&service, &home).await, "linked");
    assert_eq!(old.requests()[0].form["client_id"], "the-client");

    // The slot takes the change over while a flow is under way: that flow ends, nobody gets the code.
    let mut attempt = Attempt::start(&service, &home).await;
    home.install(&service, "acme", json!({})).await.expect(200);
    assert_eq!(attempt.back(&service, &[("code", "c")]).await.status, 303);
    assert_eq!(attempt.stands(&service, &home).await, "failed/exchange_failed");
    assert_eq!((old.requests().len(), new.requests().len()), (1, 0));

    // The next flow is of the new configuration.
    let attempt_after = Attempt::start(&service, &home).await;
    assert!(attempt_after.sent.url.as_str().starts_with(&new.url));
    assert_eq!(attempt_after.sent.query["client_id"], "the-new-client");
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_a_flow_that_starts_while_its_configuration_changes_has_the_new_one_or_ends() {
    let service = Service::start().await;
    let providers = [Provider::start().await, Provider::start().await];
    let home = Home::enrol(&service, &providers[0]).await;
    let token = home.token(&service).await;
    for round in 1..=12 {
        let current = &providers[round % 2];
        store(&service, "acme", current.configuration()).await;
        let connect = || service.request(Method::POST, &home.at("/connect")).bearer_auth(&token).send();
        let starts = join_all((0..6).map(|_| connect()));
        let (installed, started) = tokio::join!(home.install(&service, "acme", json!({})), starts);
        installed.expect(200);
        for answer in started {
            let connection: Value = serde_json::from_str(&answer.unwrap().text().await.unwrap()).unwrap();
            if home.flow(&service, &connection).await["status"] == "failed" {
                continue;
            }
            let mut browser = Browser::default();
            let url = connection["connect_url"].as_str().unwrap();
            let sent = browser.consent(&service, url).await;
            assert!(sent.url.as_str().starts_with(&current.url), "tokens of the old host in the new slot");
            let page = browser.open(&service, url).await;
            browser.decide(&service, url, &page, "cancel").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b02_a_callback_on_any_path_but_the_flows_own_burns_it_and_sends_nothing() {
    let (service, provider, other) =
        (Service::start().await, Provider::start().await, Provider::start().await);
    let home = Home::enrol_with(&service, &provider, json!({"redirect_uri": "own"})).await;
    store(&service, "other", other.configured(json!({"redirect_uri": "own"}))).await;
    let shared = format!("{}/api/cloudlink/redirect", service.public_url());
    for (kind, path) in
        [("own", ""), ("own", "/other"), ("own", "/unknown"), ("shared", "/acme"), ("shared", "/other")]
    {
        home.install_store(&service, "acme", provider.configured(json!({"redirect_uri": kind}))).await;
        let mut attempt = Attempt::start(&service, &home).await;
        let expected = if kind == "own" { format!("{shared}/acme") } else { shared.clone() };
        assert_eq!(attempt.sent.query["redirect_uri"], expected);
        let state = attempt.sent.query["state"].clone();
        let address = format!("{shared}{path}?code=c&state={state}");
        let page = attempt.browser.open(&service, &address).await;
        assert_eq!(page.status, 400, "{kind} {path}");
        assert_eq!(attempt.stands(&service, &home).await, "failed/issuer_mismatch", "{kind} {path}");
        assert_eq!(attempt.back(&service, &[("code", "c")]).await.status, 303, "burnt: to the flow's end");
        assert_eq!(attempt.stands(&service, &home).await, "failed/issuer_mismatch");
    }
    assert_eq!((provider.requests().len(), other.requests().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn b04_the_issuer_is_compared_as_plain_text() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::bare(&service).await;
    let url = provider.url.as_str();
    let strict = json!({"issuer": "https://idp.example", "iss_required": true});
    let named = json!({"issuer": "https://idp.example"});
    let (slash, upper) = (format!("{url}/"), url.to_ascii_uppercase());
    for (changes, iss, good) in [
        (&json!({}), None, true),
        (&json!({}), Some(url), true),
        (&json!({}), Some(slash.as_str()), true),
        (&json!({}), Some(upper.as_str()), true),
        (&json!({}), Some("https://evil.example"), false),
        (&json!({}), Some("http://127.0.0.1:1"), false),
        (&json!({}), Some("not a url"), false),
        (&named, None, true),
        (&named, Some("https://idp.example"), true),
        (&named, Some("https://idp.example/"), false),
        (&named, Some("https://IDP.example"), false),
        (&named, Some("https://idp.example:443"), false),
        (&named, Some(url), false),
        (&strict, None, false),
        (&strict, Some(""), false),
        (&strict, Some("https://idp.example"), true),
        (&json!({"iss_required": true}), None, false),
    ] {
        home.install_store(&service, "acme", provider.configured(changes.clone())).await;
        for answer in [("code", "c"), ("error", "access_denied")] {
            let asked = provider.requests().len();
            let mut attempt = Attempt::start(&service, &home).await;
            let members: Vec<_> = [answer].into_iter().chain(iss.map(|iss| ("iss", iss))).collect();
            let page = attempt.back(&service, &members).await;
            let ends = match (good, answer.0) {
                (true, "code") => "linked",
                (true, _) => "denied/access_denied",
                (false, _) => "failed/issuer_mismatch",
            };
            assert_eq!(attempt.stands(&service, &home).await, ends, "{changes} {iss:?}");
            assert_eq!(page.status, if good { 303 } else { 400 }, "{changes} {iss:?}");
            assert_eq!(provider.requests().len() - asked, usize::from(ends == "linked"), "{changes} {iss:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_an_evil_provider_that_sends_its_visitor_on_to_an_honest_one_never_sees_the_code() {
    let service = Service::start().await;
    for kind in ["own", "shared"] {
        let (honest, evil) = (Honest::start().await, Provider::start().await);
        let (victim, attacker) = (Home::bare(&service).await, Home::bare(&service).await);
        let plugin = |name: &str| format!("{name}-{kind}");
        store(&service, &plugin("honest"), honest.token_endpoint.configured(json!({"redirect_uri": kind})))
            .await;
        store(&service, &plugin("evil"), evil.configured(json!({"redirect_uri": kind, "client_id": "evil"})))
            .await;

        // The attacker parks a flow of the honest plugin, to learn its client id and a challenge of its own.
        attacker.install(&service, &plugin("honest"), json!({})).await.expect(201);
        let mut parked = Attempt::start(&service, &attacker).await;
        // The victim links the evil plugin. Its provider redirects to the honest one, with the parked challenge
        // and the victim's state, at the redirect URI that the honest registration allows.
        victim.install(&service, &plugin("evil"), json!({})).await.expect(201);
        let mut lured = Attempt::start(&service, &victim).await;
        let mut forged = parked.sent.clone();
        let state = lured.sent.query["state"].clone();
        forged.query.insert("state".to_owned(), state.clone());
        let code = honest.consents(&forged, "victims-code");
        let mut answer = vec![("code", code.as_str())];
        if kind == "shared" {
            answer.push(("iss", honest.token_endpoint.url.as_str()));
        }
        let page = lured.browser.callback(&service, &forged, &answer).await;
        assert_eq!(page.status, 400, "{kind}: {}", page.html);
        assert_eq!(lured.stands(&service, &victim).await, "failed/issuer_mismatch", "{kind}");

        // Neither does the code come to the attacker by any other way.
        assert_eq!(parked.back(&service, &[("code", "guessed")]).await.status, 303);
        assert_eq!(parked.stands(&service, &attacker).await, "failed/exchange_failed");
        assert_eq!(evil.requests().len(), 0, "{kind}");
        let seen = honest.token_endpoint.requests();
        assert!(seen.iter().all(|request| request.form["code"] != code), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_the_flow_says_whose_code_it_is_whatever_else_the_request_says() {
    let (service, honest, other) = (Service::start().await, Honest::start().await, Provider::start().await);
    let home = Home::enrol_with(&service, &honest.token_endpoint, json!({})).await;
    store(&service, "other", other.configured(json!({"client_id": "other"}))).await;
    let mut second = Home::bare(&service).await;
    "cooling".clone_into(&mut second.slot);
    second.install(&service, "other", json!({})).await.expect(201);
    // One browser, two flows under way: the state alone picks one.
    let mut attempt = Attempt::start(&service, &home).await;
    let beside = Attempt::of(&service, second.connect(&service).await, attempt.browser.clone()).await;
    let code = honest.consents(&attempt.sent, "c");
    let lies = [
        ("code", code.as_str()),
        ("plugin", "other"),
        ("slot", "cooling"),
        ("device", second.device.as_str()),
        ("flow", beside.connection["flow"].as_str().unwrap()),
        ("token_endpoint", other.url.as_str()),
        ("client_id", "other"),
    ];
    assert_eq!(attempt.back(&service, &lies).await.status, 303);
    assert_eq!(attempt.stands(&service, &home).await, "linked");
    assert_eq!(beside.stands(&service, &second).await, "authorizing");
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn b07_the_codes_of_two_flows_cant_be_swapped() {
    let (service, honest) = (Service::start().await, Honest::start().await);
    let home = Home::enrol(&service, &honest.token_endpoint).await;
    let mut one = Attempt::start(&service, &home).await;
    let mut two = Attempt::start(&service, &home).await;
    let (first, second) = (honest.consents(&one.sent, "first"), honest.consents(&two.sent, "second"));
    assert_eq!(one.back(&service, &[("code", &second)]).await.status, 303);
    assert_eq!(two.back(&service, &[("code", &first)]).await.status, 303);
    for attempt in [&one, &two] {
        assert_eq!(attempt.stands(&service, &home).await, "failed/exchange_failed");
    }
    assert_eq!(home.show(&service).await["status"], "unlinked");
    let requests = honest.token_endpoint.requests();
    assert_eq!(requests.len(), 2, "one each");
    assert!(requests.iter().all(|request| request.form.contains_key("code_verifier")));

    let mut three = Attempt::start(&service, &home).await;
    let code = honest.consents(&three.sent, "third");
    three.back(&service, &[("code", &code)]).await;
    assert_eq!(three.stands(&service, &home).await, "linked", "the provider does accept what fits");
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_a_token_url_from_the_callback_must_fit_its_pattern() {
    let (service, provider, evil) =
        (Service::start().await, Provider::start().await, Provider::start().await);
    let pattern = provider.url.replace('.', "\\.");
    let changes = json!({
        "callback_parameters": {"accounts-server": {"pattern": pattern}},
        "token_endpoint": "{accounts-server}/oauth/v2/token",
    });
    let home = Home::enrol_with(&service, &provider, changes).await;
    let beyond = [
        evil.url.clone(),
        format!("{}@{}", provider.url, evil.url.trim_start_matches("http://")),
        format!("{}\n{}", evil.url, provider.url),
        format!("{}#{}", evil.url, provider.url),
        format!("{}/", provider.url),
        format!("{}0", provider.url),
        String::new(),
    ];
    for value in &beyond {
        let mut attempt = Attempt::start(&service, &home).await;
        let page = attempt.back(&service, &[("code", "c"), ("accounts-server", value)]).await;
        assert_eq!(page.status, if value.is_empty() { 303 } else { 400 }, "{value}");
        assert_eq!(attempt.stands(&service, &home).await, "failed/exchange_failed", "{value}");
    }
    assert_eq!((provider.requests().len(), evil.requests().len()), (0, 0));
    let mut attempt = Attempt::start(&service, &home).await;
    attempt.back(&service, &[("code", "c"), ("accounts-server", &provider.url)]).await;
    assert_eq!(attempt.stands(&service, &home).await, "linked");
    assert_eq!(provider.requests()[0].target, "/oauth/v2/token");
}

#[tokio::test(flavor = "multi_thread")]
async fn d08_the_redirect_uri_comes_from_the_configuration_and_no_header_changes_it() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let lies = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "666"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-original-url", "/evil"),
    ];
    let request = lies.iter().fold(
        service.request(Method::POST, &home.at("/connect")).bearer_auth(home.token(&service).await),
        |request, (name, value)| request.header(*name, *value),
    );
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(!text.contains("evil") && !text.contains("666"), "{text}");
    let connection: Value = serde_json::from_str(&text).unwrap();
    let headers = lies.map(|(name, value)| (name, value.to_owned())).to_vec();
    let attempt = Attempt::of(&service, connection, Browser { headers, ..Browser::default() }).await;
    assert_eq!(
        attempt.sent.query["redirect_uri"],
        format!("{}/api/cloudlink/redirect", service.public_url())
    );
}
