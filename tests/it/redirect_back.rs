//! Where the browser ends: at the plugin's return URL or on a page of ours, never anywhere else, and never with
//! the code in its address bar.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Attempt, Browser, Home, Provider, Service};

const RETURN_URL: &str = "http://192.168.1.20:3000/plugins?slot=a%20b&x=1#top";

async fn stage() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, provider, home)
}

fn returned(end: &str) -> String {
    RETURN_URL.replace('#', &format!("&cloudlink={end}#"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_return_url_learns_how_it_ended_and_keeps_its_query_and_fragment() {
    let (service, provider, home) = stage().await;
    let body = || json!({"return_url": RETURN_URL});
    for (members, end) in [
        (vec![("code", "c")], "linked"),
        (vec![("error", "access_denied"), ("cloudlink", "linked")], "denied"),
        (vec![("error", "server_error")], "failed"),
        (vec![("code", "c"), ("iss", "https://evil.example")], ""),
    ] {
        let mut attempt = Attempt::asking(&service, &home, body()).await;
        let page = attempt.back(&service, &members).await;
        if end.is_empty() {
            assert_eq!(page.status, 400, "a mix-up is told here");
        } else {
            assert_eq!((page.status, page.location()), (303, returned(end).as_str()));
        }
        let again = attempt.back(&service, &members).await;
        let end = if end.is_empty() { "failed" } else { end };
        assert_eq!((again.status, again.location()), (303, returned(end).as_str()));
    }
    provider.next(Answer::Json(400, json!({"error": "invalid_grant"})));
    let mut attempt = Attempt::asking(&service, &home, body()).await;
    assert_eq!(attempt.back(&service, &[("code", "c")]).await.location(), returned("failed"));

    let connect = home.call(&service, Method::POST, &home.at("/connect"), Some(body())).await.expect(201);
    let url = connect["connect_url"].as_str().unwrap();
    let mut browser = Browser::default();
    let page = browser.open(&service, url).await;
    let answer = browser.decide(&service, url, &page, "cancel").await;
    assert_eq!(browser.open(&service, answer.location()).await.location(), returned("cancelled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn d03_no_query_chooses_where_the_browser_goes() {
    let (service, provider, home) = stage().await;
    let lures = [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "%2f%2fevil.example",
        "javascript:alert(1)",
    ];
    for lure in lures {
        let body = Some(json!({"return_url": lure}));
        let refused = home.call(&service, Method::POST, &home.at("/connect"), body).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], "/return_url", "{lure}");
        let names = ["next", "return_url", "return_to", "redirect", "redirect_uri", "url", "continue"];
        let query: Vec<_> = names.iter().map(|name| format!("{name}={lure}")).collect();
        let query = query.join("&");
        let connection = home.connect(&service).await;
        let url = format!("{}?{query}", connection["connect_url"].as_str().unwrap());
        let mut browser = Browser::default();
        let page = browser.open(&service, &url).await;
        assert!(!page.html.contains("evil"), "{}", page.html);
        let csrf = page.csrf();
        let form = [("csrf", csrf.as_str()), ("decision", "continue"), ("return_url", lure), ("next", lure)];
        let answer = browser.post(&service, connection["connect_url"].as_str().unwrap(), &form).await;
        assert!(answer.location().starts_with(&provider.url), "{}", answer.location());
        assert!(!answer.location().contains("evil"), "{}", answer.location());
        let sent = crate::harness::Sent::to(answer.location());
        let members: Vec<_> = names.iter().map(|name| (*name, lure)).chain([("code", "c")]).collect();
        let end = browser.callback(&service, &sent, &members).await;
        assert!(connection["connect_url"].as_str().unwrap().ends_with(end.location()), "{}", end.location());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d04_d05_after_the_exchange_a_303_takes_code_and_state_out_of_the_address() {
    let (service, _provider, home) = stage().await;
    for code in ["canary-code", "a?b#c/../d"] {
        let mut attempt = Attempt::start(&service, &home).await;
        let state = attempt.sent.query["state"].clone();
        let callback = attempt.back(&service, &[("code", code)]).await;
        assert_eq!(callback.status, 303);
        assert!(!callback.location().contains(&state) && !callback.location().contains("code"));
        let result = attempt.browser.open(&service, callback.location()).await;
        assert_eq!(result.status, 200);
        for page in [&callback, &result] {
            assert_eq!(page.headers["referrer-policy"], "no-referrer");
            assert_eq!(page.headers["cache-control"], "no-store");
        }
        assert!(!result.html.contains(&state) && !result.html.contains(code), "{}", result.html);
        for place in ["src=\"", "href=\""] {
            for (at, _) in result.html.match_indices(place) {
                let target = &result.html[at + place.len()..];
                assert!(!target.starts_with("http") && !target.starts_with("//"), "{}", &target[..40]);
            }
        }
    }
}
