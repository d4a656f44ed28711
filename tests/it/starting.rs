//! Starting a flow: what is drawn for it, what a configuration may not set, and how many there may be.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use time::Duration;

use crate::harness::{Attempt, Browser, Home, Provider, Sent, Service};

async fn stage() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, provider, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn a01_a_state_is_random_and_says_nothing() {
    const DRAWN: usize = 200;
    let (service, _provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let url = connection["connect_url"].as_str().unwrap();
    let mut browser = Browser::default();
    let csrf = browser.open(&service, url).await.csrf();
    let (mut states, mut ones) = (BTreeSet::new(), BTreeMap::<usize, usize>::new());
    for _ in 0..DRAWN {
        let form = [("csrf", csrf.as_str()), ("decision", "continue")];
        let sent = Sent::to(browser.post(&service, url, &form).await.location());
        let state = sent.query["state"].clone();
        assert!(state.len() >= 22, "128 bits of base64url: {state}");
        let bytes = URL_SAFE_NO_PAD.decode(&state).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            for bit in 0..8 {
                *ones.entry(at * 8 + bit).or_default() += usize::from(byte >> bit & 1);
            }
        }
        let read = String::from_utf8_lossy(&bytes).into_owned() + &state;
        for id in [home.device.as_str(), "heating", "acme", connection["flow"].as_str().unwrap()] {
            assert!(!read.contains(id) && !read.contains(&id.replace('-', "")), "{id} in {state}");
        }
        states.insert(state);
    }
    assert_eq!(states.len(), DRAWN);
    // A fair bit of 200 draws lies outside of 55..=145 once in 10^9.
    assert!(ones.values().all(|ones| (55..=145).contains(ones)), "{ones:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a05_every_flow_proves_itself_with_a_verifier_of_its_own() {
    let (service, provider, home) = stage().await;
    let mut verifiers = BTreeSet::new();
    for flow in 0..20 {
        let mut attempt = Attempt::start(&service, &home).await;
        assert_eq!(attempt.sent.query["code_challenge_method"], "S256");
        attempt.back(&service, &[("code", "c")]).await;
        let verifier = provider.requests()[flow].form["code_verifier"].clone();
        assert_eq!(
            attempt.sent.query["code_challenge"],
            URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
        );
        assert!((43..=128).contains(&verifier.len()), "{verifier}");
        assert!(verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)), "{verifier}");
        assert!(!attempt.sent.url.as_str().contains(&verifier), "not plain");
        verifiers.insert(verifier);
    }
    assert_eq!(verifiers.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a06_code_state_and_verifier_stay_where_the_protocol_needs_them() {
    let (service, provider, home) = stage().await;
    let mut attempt = Attempt::start(&service, &home).await;
    let state = attempt.sent.query["state"].clone();
    let stored = service.database.everything().await;
    assert!(!stored.contains(&hex(&state)) && !stored.contains(&state), "only a hash of the state is kept");
    let callback = attempt.back(&service, &[("code", "canary-of-the-code")]).await;
    let page = attempt.browser.open(&service, callback.location()).await;
    let verifier = provider.requests()[0].form["code_verifier"].clone();
    let pushed = home.poll(&service, "state=all").await.text;
    let flow = home.flow(&service, &attempt.connection).await.to_string();
    let stored = service.database.everything().await;
    for secret in [state.as_str(), "canary-of-the-code", verifier.as_str()] {
        for place in
            [&page.html, &format!("{:?}{:?}", page.headers, callback.headers), &pushed, &flow, &stored]
        {
            assert!(!place.contains(secret) && !place.contains(&hex(secret)), "{secret} in {place}");
        }
        assert!(!attempt.browser.cookie.as_ref().unwrap().contains(secret));
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a07_a_configuration_without_pkce_is_visible_and_can_be_forbidden() {
    for (setting, status) in [("false", 201), ("true", 409)] {
        let service = Service::with(&[("FLOW__REQUIRE_PKCE", setting)]).await;
        let provider = Provider::start().await;
        let home = Home::bare(&service).await;
        let plain = provider.configured(json!({"pkce": false}));
        let put = service.owner(Method::PUT, "/api/plugins/acme", Some(plain)).await.expect(201);
        let warned = put["warnings"].as_array().unwrap().iter().any(|warning| warning["field"] == "/pkce");
        assert!(warned, "{put}");
        home.install(&service, "acme", json!({})).await.expect(201);
        let reply = home.call(&service, Method::POST, &home.at("/connect"), None).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        if status == 409 {
            assert_eq!(reply.json["code"], "pkce_required");
            home.install_store(&service, "acme", provider.configuration()).await;
            home.connect(&service).await;
        } else {
            let attempt = Attempt::of(&service, reply.json, Browser::default()).await;
            assert!(!attempt.sent.query.keys().any(|name| name.starts_with("code_")), "{:?}", attempt.sent);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a08_a09_no_configuration_or_override_sets_what_is_the_brokers_own() {
    let (service, provider, home) = stage().await;
    for (member, parameters) in [
        ("parameters", json!({"state": "x"})),
        ("parameters", json!({"redirect_uri": "https://evil.example/"})),
        ("parameters", json!({"code_challenge": "x"})),
        ("parameters", json!({"code_challenge_method": "plain"})),
        ("parameters", json!({"request": "x"})),
        ("parameters", json!({"request_uri": "https://evil.example/"})),
        ("parameters", json!({"response_type": "token"})),
        ("token_parameters", json!({"code": "x"})),
        ("token_parameters", json!({"redirect_uri": "https://evil.example/"})),
        ("token_parameters", json!({"refresh_token": "x"})),
        ("token_parameters", json!({"code_verifier": "x"})),
    ] {
        let name = parameters.as_object().unwrap().keys().next().unwrap().clone();
        let field = format!("/{member}/{name}");
        let changed = provider.configured(json!({ member: parameters }));
        let refused = service.owner(Method::PUT, "/api/plugins/acme", Some(changed)).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field);
        let patch = Some(json!({ member: parameters }));
        let refused = home.call(&service, Method::PATCH, &home.at("/oauth"), patch).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field);
    }
    let patch = json!({"parameters": {"prompt": "consent", "response_type": "code id_token"}});
    home.call(&service, Method::PATCH, &home.at("/oauth"), Some(patch)).await.expect(200);
    let attempt = Attempt::start(&service, &home).await;
    assert_eq!(attempt.sent.query["prompt"], "consent");
    for name in
        ["state", "redirect_uri", "code_challenge", "code_challenge_method", "client_id", "response_type"]
    {
        assert_eq!(attempt.sent.url.query_pairs().filter(|(key, _)| key == name).count(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_device_has_twenty_flows_open_and_the_table_stays_flat() {
    let (service, provider, home) = stage().await;
    let (home, path) = (&home, home.at("/connect"));
    let replica = service.replica().await;
    let token = home.token(&service).await;
    let starts = (0..50).map(|n| {
        let service = if n % 2 == 0 { &service } else { &replica };
        service.request(Method::POST, &path).bearer_auth(&token).send()
    });
    let answers = join_all(starts).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap().status().as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 20, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 30, "{statuses:?}");
    assert_eq!(service.database.count("select count(*) from flows").await, 20);
    let refused = home.call(&service, Method::POST, &path, None).await;
    assert_eq!((refused.status, &refused.json["code"]), (429, &json!("too_many_requests")));
    assert!(refused.headers.contains_key("retry-after"));

    let neighbour = Home::bare(&service).await;
    neighbour.install(&service, "acme", json!({})).await.expect(201);
    Attempt::start(&service, &neighbour).await;
    service.clock.advance(Duration::seconds(601));
    Attempt::start(&service, home).await;
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_who_starts_and_cancels_in_a_loop_fills_no_table() {
    let (service, provider) =
        (Service::with(&[("FLOW__PENDING_PER_DEVICE", "1")]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut browser = Browser::default();
    for _ in 0..10 {
        let connection = home.connect(&service).await;
        let url = connection["connect_url"].as_str().unwrap();
        let page = browser.open(&service, url).await;
        assert_eq!(browser.decide(&service, url, &page, "cancel").await.status, 303);
    }
    let refused = home.call(&service, Method::POST, &home.at("/connect"), None).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    service.clock.advance(Duration::seconds(601));
    home.connect(&service).await;
}
