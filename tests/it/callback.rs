//! The callback: what counts as one, who may bring it, how often it counts, and what the provider's refusals
//! become.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::Notify};

use crate::harness::{Answer, Attempt, Browser, Home, Provider, Service, until};

async fn stage() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, provider, home)
}

fn tokens() -> Value {
    json!({"access_token": "at-1", "refresh_token": "rt-1", "token_type": "Bearer", "expires_in": 3600})
}

#[tokio::test(flavor = "multi_thread")]
async fn a02_of_fifty_parallel_equal_callbacks_one_makes_the_only_token_request() {
    let service = Service::with(&[("DATABASE__MAX_CONNECTIONS", "60")]).await;
    let (replica, provider) = (service.replica().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut attempt = Attempt::start(&service, &home).await;
    let answered = Arc::new(Notify::new());
    provider.next(Answer::Held(Arc::clone(&answered), 200, tokens()));
    let (service, sent) = (&service, &attempt.sent.clone());
    let mut callbacks: FuturesUnordered<_> = (0..50)
        .map(|n| {
            let (service, mut browser) =
                (if n % 2 == 0 { service } else { &replica }, attempt.browser.clone());
            async move { browser.callback(service, sent, &[("code", "the-code")]).await }
        })
        .collect();
    // All read the flow before any may take it.
    let held = service.database.hold_flows("exclusive").await;
    let others = async {
        for _ in 0..49 {
            let page = callbacks.next().await.unwrap();
            assert_eq!(page.status, 303, "{}", page.html);
            assert!(attempt.url().ends_with(page.location()), "the result page: {}", page.location());
        }
    };
    tokio::join!(others, service.database.release(held, "redeem_flow", 50));
    let mut stranger = Browser::default();
    assert_eq!(stranger.callback(service, sent, &[("code", "the-code")]).await.status, 400);
    answered.notify_one();
    assert_eq!(callbacks.next().await.unwrap().status, 303);

    assert_eq!(attempt.stands(service, &home).await, "linked");
    assert_eq!(provider.requests().len(), 1);
    let again = attempt.back(service, &[("code", "the-code")]).await;
    assert_eq!(again.status, 303);
    assert!(attempt.url().ends_with(again.location()));
    let stranger = stranger.callback(service, sent, &[("code", "the-code")]).await;
    assert_eq!(stranger.status, 400);
    assert!(stranger.html.contains("Start over on your device"), "{}", stranger.html);
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a03_ten_minutes_and_a_second_after_connect_a_callback_is_too_late() {
    let (service, provider, home) = stage().await;
    let mut attempt = Attempt::start(&service, &home).await;
    assert_eq!(attempt.connection["expires_in"], 600);
    service.clock.advance(Duration::seconds(601));
    assert_eq!(attempt.back(&service, &[("code", "the-code")]).await.status, 410);
    assert_eq!(attempt.stands(&service, &home).await, "expired");
    assert_eq!(provider.requests().len(), 0);
    let mut browser = Browser::default();
    let connection = home.connect(&service).await;
    let url = connection["connect_url"].as_str().unwrap();
    let page = browser.open(&service, url).await;
    service.clock.advance(Duration::seconds(601));
    assert_eq!(browser.decide(&service, url, &page, "continue").await.status, 410);
    assert_eq!(browser.open(&service, url).await.status, 410, "c04: a link lives as long as its flow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a04_what_is_no_callback_burns_nothing() {
    let (service, provider, home) = stage().await;
    let mut attempt = Attempt::start(&service, &home).await;
    let state = attempt.sent.query["state"].clone();
    for query in [
        String::new(),
        "code=x".to_owned(),
        "code=x&state=".to_owned(),
        "code=x&state=unknown".to_owned(),
        "error=access_denied&state=unknown".to_owned(),
        format!("code=x&state={state}&state={state}"),
        format!("code=x&state={state}&state=other"),
        format!("code=x&code=y&state={state}"),
        format!("code=x&code=x&state={state}"),
        format!("code=x&error=access_denied&state={state}"),
        format!("error=access_denied&error=access_denied&state={state}"),
        format!("code=x&iss=a&iss=b&state={state}"),
        format!("code=&state={state}"),
        format!("error=&state={state}"),
        format!("state={state}"),
        format!("error_description=access_denied&state={state}"),
        format!("code=x&state={}", state.to_ascii_uppercase()),
        format!("code={}&state={state}", "x".repeat(9000)),
    ] {
        let page = attempt.back_raw(&service, &query).await;
        assert_eq!(page.status, 400, "{query}");
        assert!(page.html.contains("Start over on your device"), "{query}: {}", page.html);
    }
    assert_eq!(attempt.stands(&service, &home).await, "authorizing");
    assert_eq!(provider.requests().len(), 0);
    assert_eq!(attempt.back(&service, &[("code", "the-code")]).await.status, 303);
    assert_eq!(attempt.stands(&service, &home).await, "linked");
}

#[tokio::test(flavor = "multi_thread")]
async fn d01_only_a_persons_get_takes_the_flow() {
    let (service, provider, home) = stage().await;
    let mut attempt = Attempt::start(&service, &home).await;
    let callback = attempt.sent.callback(&[("code", "the-code")]);
    for method in [Method::HEAD, Method::OPTIONS, Method::POST, Method::PUT, Method::DELETE] {
        let page = attempt.browser.send(&service, method.clone(), &callback, None).await;
        assert_eq!(page.status, 405, "{method}");
    }
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
    ] {
        let mut early = attempt.browser.clone();
        early.headers.push((name, value.to_owned()));
        let page = early.open(&service, &callback).await;
        assert_eq!(page.status, 503, "{name}: {value}");
    }
    assert_eq!(attempt.stands(&service, &home).await, "authorizing");
    assert_eq!(provider.requests().len(), 0);
    assert_eq!(attempt.back(&service, &[("code", "the-code")]).await.status, 303);
    assert_eq!(attempt.stands(&service, &home).await, "linked");
}

#[tokio::test(flavor = "multi_thread")]
async fn d02_a_hostile_refusal_ends_the_flow_and_writes_nothing_on_the_page() {
    let (service, provider, home) = stage().await;
    let long = "A".repeat(10_000);
    for (error, ends) in [
        ("access_denied", "denied/access_denied"),
        ("server_error", "failed/provider_unavailable"),
        ("temporarily_unavailable", "failed/provider_unavailable"),
        ("invalid_scope", "failed/exchange_failed"),
        ("unauthorized_client", "failed/exchange_failed"),
        ("<script>alert(1)</script>", "failed/exchange_failed"),
        ("x\r\nSet-Cookie: a=b", "failed/exchange_failed"),
        ("\u{202e}\u{0}", "failed/exchange_failed"),
    ] {
        for description in [
            "<script>alert(1)</script><img src=//evil.example>",
            "\r\nLocation: //evil",
            "\u{202e}\u{0}",
            &long,
        ] {
            let mut attempt = Attempt::start(&service, &home).await;
            let members = [
                ("error", error),
                ("error_description", description),
                ("error_uri", "javascript:alert(1)//evil.example"),
            ];
            let answer = attempt.back(&service, &members).await;
            assert_eq!(answer.status, 303, "{error}");
            assert!(attempt.url().ends_with(answer.location()), "{}", answer.location());
            assert_eq!(attempt.stands(&service, &home).await, ends);
            let page = attempt.browser.open(&service, answer.location()).await;
            assert_eq!(page.status, 200);
            for hostile in ["<script", "evil", "alert", "\u{202e}", "\u{0}", "AAAAAA", "set-cookie: a"] {
                assert!(!page.html.to_ascii_lowercase().contains(hostile), "{hostile} in {}", page.html);
            }
            let late = attempt.back(&service, &[("code", "the-code")]).await;
            assert_eq!(late.status, 303, "the flow is over");
            assert_eq!(attempt.stands(&service, &home).await, ends);
        }
    }
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn c09_a_failed_or_refused_relink_leaves_the_old_tokens_in_use() {
    let (service, provider, home) = stage().await;
    home.link(&service).await;
    let before = home.show(&service).await;
    for (member, answer, ends) in [
        (("error", "access_denied"), None, "denied/access_denied"),
        (("code", "c"), Some(Answer::Json(400, json!({"error": "invalid_grant"}))), "failed/exchange_failed"),
        (("code", "c"), Some(Answer::Json(503, json!({}))), "failed/provider_unavailable"),
        (("code", "c"), Some(Answer::Json(200, json!({"ok": true}))), "failed/invalid_answer"),
    ] {
        let mut attempt = Attempt::start(&service, &home).await;
        if let Some(answer) = answer {
            provider.next(answer);
        }
        let page = attempt.back(&service, &[member]).await;
        let page = attempt.browser.open(&service, page.location()).await;
        assert!(page.html.contains("earlier link, if there was one, still works"), "{}", page.html);
        assert_eq!(attempt.stands(&service, &home).await, ends);
        assert_eq!(home.access_token(&service).await.as_deref(), Some("at-1"), "{ends}");
        assert_eq!(home.show(&service).await, before, "{ends}: nobody is disturbed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_run_in_order_so_that_nothing_burns_before_its_own_browser_was_seen() {
    let (service, provider, home) = stage().await;
    let attempt = Attempt::start(&service, &home).await;
    let state = attempt.sent.query["state"].clone();
    let shared = attempt.sent.query["redirect_uri"].clone();
    let other_path = |query: &str| format!("{shared}/other?{query}");
    // A foreign browser with every fault at once: told no more than that this is not its flow.
    let worst = other_path(&format!("error=access_denied&iss=https://evil.example&state={state}"));
    let mut stranger =
        Browser { cookie: Some(format!("cloudlink={}", "A".repeat(43))), ..Browser::default() };
    for browser in [&mut stranger, &mut Browser::default()] {
        let refused = browser.open(&service, &worst).await;
        let unknown = browser.open(&service, &other_path("code=x&state=unknown")).await;
        assert_eq!(
            (refused.status, &refused.html),
            (400, &unknown.html),
            "state before browser, browser next"
        );
        assert_eq!(attempt.stands(&service, &home).await, "authorizing");
    }
    // Its own browser, too late and on the wrong path: too late comes first, and burns nothing.
    let mut late = Attempt::start(&service, &home).await;
    service.clock.advance(Duration::seconds(601));
    let state = late.sent.query["state"].clone();
    let page = late.browser.open(&service, &other_path(&format!("code=x&state={state}"))).await;
    assert_eq!(page.status, 410);
    assert_eq!(late.stands(&service, &home).await, "expired");
    // Its own browser, in time, on the wrong path: burnt.
    let mut mixed = Attempt::start(&service, &home).await;
    let state = mixed.sent.query["state"].clone();
    let page = mixed.browser.open(&service, &other_path(&format!("code=x&code=y&state={state}"))).await;
    assert_eq!(page.status, 400);
    assert_eq!(mixed.stands(&service, &home).await, "failed/issuer_mismatch");
    assert_eq!(mixed.back(&service, &[("code", "x")]).await.status, 303, "to its end");
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_goes_away_during_the_exchange_loses_nothing() {
    let (service, provider, home) = stage().await;
    let attempt = Attempt::start(&service, &home).await;
    let answered = Arc::new(Notify::new());
    provider.next(Answer::Held(Arc::clone(&answered), 200, tokens()));
    let callback = attempt.sent.callback(&[("code", "the-code")]);
    let mut socket = TcpStream::connect(service.url.trim_start_matches("http://")).await.unwrap();
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: x\r\ncookie: {}\r\n\r\n",
        callback.trim_start_matches(service.public_url()),
        attempt.browser.cookie.as_ref().unwrap(),
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    provider.asked(1).await;
    assert_eq!(attempt.stands(&service, &home).await, "exchanging");
    // A reset, which the service learns of while it waits for the provider.
    socket.set_zero_linger().unwrap();
    drop(socket);
    // Calls on other connections give the service time to see that the browser is gone.
    for _ in 0..5 {
        home.show(&service).await;
    }
    answered.notify_one();
    until("the link", async || (attempt.stands(&service, &home).await == "linked").then_some(())).await;
    assert_eq!(provider.requests().len(), 1);
    assert_eq!(home.access_token(&service).await.as_deref(), Some("at-1"));
}
