//! The connect page: who is asked for what, in which browser, and how a person says yes or no.

use serde_json::json;

use crate::harness::{Attempt, Browser, Home, Provider, Service};

async fn stage() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, provider, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn c01_a_callback_counts_only_in_the_browser_that_continued() {
    let (service, provider, home) = stage().await;
    let mut attempt = Attempt::start(&service, &home).await;
    let mut no_cookie = Browser::default();
    let mut visitor = Browser::default();
    visitor.open(&service, "/link").await;
    assert!(visitor.cookie.is_some());
    let mut forger = Browser { cookie: Some("cloudlink=".to_owned()), ..Browser::default() };
    for browser in [&mut no_cookie, &mut visitor, &mut forger] {
        let page = browser.callback(&service, &attempt.sent, &[("code", "the-code")]).await;
        assert_eq!(page.status, 400, "{}", page.html);
        assert_eq!(browser.open(&service, attempt.url()).await.status, 410);
    }
    assert_eq!(provider.requests().len(), 0);
    assert_eq!(attempt.back(&service, &[("code", "the-code")]).await.status, 303);
    assert_eq!(attempt.stands(&service, &home).await, "linked");
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_the_page_says_who_asks_for_what_and_only_a_genuine_form_goes_on() {
    let (service, provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let url = connection["connect_url"].as_str().unwrap();
    let (mut browser, mut other) = (Browser::default(), Browser::default());
    let page = browser.open(&service, url).await;
    assert_eq!(page.status, 200);
    let host = provider.url.trim_start_matches("http://");
    for fact in
        ["Living room", "Acme Thermostats", host, "<code>read</code>", "<code>write</code>", "127.0.0.1"]
    {
        assert!(page.html.contains(fact), "{fact} is missing: {}", page.html);
    }
    assert!(page.html.find("value=\"cancel\"") < page.html.find("value=\"continue\""), "Cancel comes first");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(!policy.contains("form-action"), "the 303 leads to the provider: {policy}");

    let foreign = other.open(&service, url).await.csrf();
    let of_link = browser.open(&service, "/link").await.csrf();
    let own = page.csrf();
    for form in [
        vec![("decision", "continue")],
        vec![("decision", "continue"), ("csrf", "")],
        vec![("decision", "continue"), ("csrf", "wrong")],
        vec![("decision", "continue"), ("csrf", &foreign)],
        vec![("decision", "continue"), ("csrf", &of_link)],
        vec![("decision", "cancel"), ("csrf", &foreign)],
    ] {
        let answer = browser.post(&service, url, &form).await;
        assert_eq!(answer.status, 403, "{form:?}");
        assert!(answer.html.contains("<h1>"), "a page");
    }
    let form = [("decision", "continue"), ("csrf", own.as_str())];
    assert_eq!(Browser::default().post(&service, url, &form).await.status, 403, "csrf without its cookie");
    for origin in ["https://evil.example", "http://127.0.0.1:9.evil.example", "http://127.0.0.1:10"] {
        let mut page_elsewhere = browser.clone();
        page_elsewhere.headers.push(("origin", origin.to_owned()));
        assert_eq!(page_elsewhere.post(&service, url, &form).await.status, 403, "{origin}");
    }
    assert_eq!(browser.post(&service, url, &[("csrf", &own)]).await.status, 400, "which button?");
    assert_eq!(home.flow(&service, &connection).await["status"], "pending");
    for origin in ["null", service.public_url()] {
        let mut private = browser.clone();
        private.headers.push(("origin", origin.to_owned()));
        assert_eq!(private.post(&service, url, &form).await.status, 303, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_the_link_binds_nothing_and_continuing_does() {
    let (service, _provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let url = connection["connect_url"].as_str().unwrap();
    let (mut preview, mut person) = (Browser::default(), Browser::default());
    let previewed = preview.open(&service, url).await;
    assert_eq!(previewed.status, 200);
    let mut attempt = Attempt::of(&service, connection.clone(), person.clone()).await;
    person = attempt.browser.clone();
    assert_eq!(preview.decide(&service, url, &previewed, "continue").await.status, 410);
    assert_eq!(preview.decide(&service, url, &previewed, "cancel").await.status, 410);
    assert_eq!(preview.open(&service, url).await.status, 410);
    assert_eq!(attempt.stands(&service, &home).await, "authorizing");

    let renewed = Attempt::of(&service, connection.clone(), person).await;
    assert_ne!(renewed.sent.query["state"], attempt.sent.query["state"]);
    assert_ne!(renewed.sent.query["code_challenge"], attempt.sent.query["code_challenge"]);
    assert_eq!(attempt.back(&service, &[("code", "c")]).await.status, 400, "the old state is void");
    assert_eq!(attempt.stands(&service, &home).await, "authorizing");
    attempt.sent = renewed.sent;
    assert_eq!(attempt.back(&service, &[("code", "c")]).await.status, 303);
    assert_eq!(attempt.stands(&service, &home).await, "linked");
    let late = attempt.browser.decide(&service, url, &previewed, "continue").await;
    assert_eq!(late.status, 403, "another browser's csrf");
    assert_eq!(Browser::default().open(&service, url).await.status, 410, "c04: one use");
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_a_link_cant_be_guessed() {
    let (service, _provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let url = connection["connect_url"].as_str().unwrap();
    let handle = url.rsplit('/').next().unwrap();
    assert!(handle.len() >= 22, "128 bits: {handle}");
    let flow = connection["flow"].as_str().unwrap();
    assert!(!url.contains(flow) && !url.contains(&home.device));
    let mut browser = Browser::default();
    for at in [0, handle.len() / 2, handle.len() - 2] {
        let mut near: Vec<u8> = handle.bytes().collect();
        near[at] = if near[at] == b'A' { b'B' } else { b'A' };
        let near = String::from_utf8(near).unwrap();
        assert_eq!(browser.open(&service, &format!("/connect/{near}")).await.status, 404);
    }
    for wrong in [flow, "x", "%00", &handle[1..]] {
        assert_eq!(browser.open(&service, &format!("/connect/{wrong}")).await.status, 404, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_the_flow_before_and_after_continue() {
    let (service, provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let url = connection["connect_url"].as_str().unwrap();
    let mut browser = Browser::default();
    let page = browser.open(&service, url).await;
    let answer = browser.decide(&service, url, &page, "cancel").await;
    assert_eq!(answer.status, 303);
    assert!(url.ends_with(answer.location()));
    let page = browser.open(&service, answer.location()).await;
    assert!(page.html.contains("You pressed Cancel"), "{}", page.html);
    assert_eq!(home.flow(&service, &connection).await, json!({"status": "denied", "error": "cancelled"}));

    let mut attempt = Attempt::start(&service, &home).await;
    let url = attempt.url().to_owned();
    let page = attempt.browser.open(&service, &url).await;
    assert_eq!(attempt.browser.decide(&service, &url, &page, "cancel").await.status, 303);
    assert_eq!(attempt.stands(&service, &home).await, "denied/cancelled");
    assert_eq!(attempt.back(&service, &[("code", "the-code")]).await.status, 303, "to the result");
    assert_eq!(attempt.stands(&service, &home).await, "denied/cancelled");
    assert_eq!(provider.requests().len(), 0);
    assert_eq!(home.show(&service).await["status"], "unlinked");
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_an_attackers_code_and_state_do_nothing_in_a_victims_browser() {
    let (service, provider, attacker) = stage().await;
    let victim = Home::bare(&service).await;
    victim.install(&service, "acme", json!({})).await.expect(201);
    let mut victims = Attempt::start(&service, &victim).await;
    let mut attempt = Attempt::start(&service, &attacker).await;
    let page = victims.browser.callback(&service, &attempt.sent, &[("code", "attackers-code")]).await;
    assert_eq!(page.status, 400);
    assert_eq!(provider.requests().len(), 0);
    assert_eq!(victim.show(&service).await["status"], "unlinked");
    assert_eq!(victims.stands(&service, &victim).await, "authorizing");
    assert_eq!(attempt.stands(&service, &attacker).await, "authorizing", "and nothing is burnt");
    assert_eq!(attempt.back(&service, &[("code", "attackers-code")]).await.status, 303);
    assert_eq!(victims.back(&service, &[("code", "victims-code")]).await.status, 303);
    assert_eq!(victims.stands(&service, &victim).await, "linked");
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_one_a_browser_and_locked_to_the_host_under_tls() {
    let https = Service::with(&[("SERVER__PUBLIC_URL", "https://cloudlink.test")]).await;
    let provider = Provider::start().await;
    let home = Home::enrol(&https, &provider).await;
    let connection = home.connect(&https).await;
    let url = connection["connect_url"].as_str().unwrap();
    assert!(url.starts_with("https://cloudlink.test/connect/"), "{url}");
    let mut browser = Browser::default();
    let page = browser.open(&https, url).await;
    let set = page.headers["set-cookie"].to_str().unwrap();
    let attributes: Vec<_> = set.split("; ").collect();
    assert!(attributes[0].starts_with("__Host-") && attributes[0].len() >= 22, "{set}");
    for wanted in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(attributes.contains(&wanted), "{wanted}: {set}");
    }
    assert!(!set.contains("Domain"), "{set}");
    let cookie = browser.cookie.clone();
    let mut first = Attempt::of(&https, connection, browser).await;
    assert_eq!(first.back(&https, &[("code", "c")]).await.status, 303);
    let mut second = Attempt::of(&https, home.connect(&https).await, first.browser.clone()).await;
    assert_eq!(second.browser.cookie, cookie, "reused by later flows");
    assert_eq!(second.back(&https, &[("code", "c")]).await.status, 303);
    assert_eq!(second.stands(&https, &home).await, "linked");

    let (plain, provider, home) = stage().await;
    let attempt = Attempt::start(&plain, &home).await;
    let mut browser = Browser::default();
    let connection = home.connect(&plain).await;
    let page = browser.open(&plain, connection["connect_url"].as_str().unwrap()).await;
    let set = page.headers["set-cookie"].to_str().unwrap();
    assert!(!set.contains("__Host-") && !set.contains("Secure") && set.contains("HttpOnly"), "{set}");
    drop((attempt, provider));
}
