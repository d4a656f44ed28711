//! `cloudlink login`: a browser on the same machine brings the answer (RFC 8252), proven by PKCE (RFC 7636).

use reqwest::Method;
use serde_json::json;
use time::Duration;
use url::Url;

use crate::harness::{Browser, OWNER, Page, Service, Started, Terminal, call_with, token};

/// The members of the query that the browser brings to the terminal.
#[track_caller]
fn brought(page: &Page) -> std::collections::BTreeMap<String, String> {
    assert_eq!(page.status, 303, "{}", page.html);
    let (listener, _) = page.location().split_once('?').unwrap();
    assert_eq!(listener, Terminal::LISTENER);
    Url::parse(page.location()).unwrap().query_pairs().into_owned().collect()
}

async fn signed_in(terminal: &Terminal<'_>, browser: &mut Browser) -> (Started, String) {
    let started = terminal.open(browser, &[]).await;
    let brought = brought(&browser.sign_in_as_owner(terminal.service, &started.page).await);
    (started, brought["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_signs_in_for_a_terminal_in_a_browser_of_the_same_machine() {
    let service = Service::start().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.open(&mut browser, &[("scope", "owner")]).await;
    let shown = browser.open(&service, &started.page).await;
    assert!(!shown.html.contains("name=\"device\""), "only the owner was asked for");
    let brought = brought(&browser.sign_in_as_owner(&service, &started.page).await);
    assert_eq!((brought["state"].as_str(), brought["iss"].as_str()), ("the state", service.public_url()));
    assert!(brought["code"].len() >= 43);
    let granted = terminal.trade(&started, &brought["code"]).await;
    assert_eq!(granted.headers["cache-control"], "no-store");
    let granted = granted.expect(200);
    assert_eq!((&granted["scope"], &granted["expires_in"]), (&json!("owner"), &json!(3600)));
    let devices = call_with(&service, &token(&granted), Method::GET, "/api/devices", None).await;
    assert_eq!(devices.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_is_brought_back_as_access_denied() {
    let service = Service::start().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.open(&mut browser, &[]).await;
    let brought = brought(&browser.sign_in(&service, &started.page, &[("decision", "cancel")]).await);
    assert_eq!((brought["error"].as_str(), brought["state"].as_str()), ("access_denied", "the state"));
    assert_eq!((brought["iss"].as_str(), brought.get("code")), (service.public_url(), None));
    assert!(browser.open(&service, &started.page).await.html.contains("Nobody was signed in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_in_time_and_with_all_that_it_was_asked_with() {
    let service = Service::start().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let (started, code) = signed_in(&terminal, &mut browser).await;
    let other_verifier = "w".repeat(43);
    for changes in [
        [("code_verifier", other_verifier.as_str())],
        [("redirect_uri", "http://127.0.0.1:49153/callback")],
        [("redirect_uri", "https://evil.example/")],
        [("client_id", "another")],
        [("code", "AAAA")],
    ] {
        let reply = terminal.trade_with(&started, &code, &changes).await;
        assert_eq!((reply.status, &reply.json["error"]), (400, &json!("invalid_grant")), "{changes:?}");
    }
    let short = terminal.trade_with(&started, &code, &[("code_verifier", "short")]).await;
    assert_eq!(short.json["error"], "invalid_request");
    terminal.trade(&started, &code).await.expect(200);

    let (started, code) = signed_in(&terminal, &mut browser).await;
    service.clock.advance(Duration::seconds(121));
    let late = terminal.trade(&started, &code).await;
    assert_eq!((late.status, &late.json["error"]), (400, &json!("invalid_grant")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_comes_again_ends_the_token_that_it_earned() {
    let service = Service::start().await;
    let replica = service.replica().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let (started, code) = signed_in(&terminal, &mut browser).await;
    let token = token(&terminal.trade(&started, &code).await.expect(200));
    let status = async || call_with(&service, &token, Method::GET, "/api/devices", None).await.status;
    assert_eq!(status().await, 200);
    service.clock.advance(Duration::minutes(30));
    let again =
        Terminal::of(&replica).trade_with(&started, &code, &[("code_verifier", &"w".repeat(43))]).await;
    assert_eq!((again.status, &again.json["error"]), (400, &json!("invalid_grant")));
    service.broker().refresh_access().await.unwrap();
    assert_eq!(status().await, 401);
    let audit = service.owner(Method::GET, "/api/audit", None).await.expect(200);
    assert_eq!((&audit[0]["action"], &audit[0]["actor"]), (&json!("token.revoked"), &json!("broker")));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_equal_requests_with_one_code_one_earns_a_token_and_that_is_void() {
    let service = Service::start().await;
    let replica = service.replica().await;
    let (one, two) = (Terminal::of(&service), Terminal::of(&replica));
    let (started, code) = signed_in(&one, &mut Browser::default()).await;
    let trades =
        (0..10).map(|n| if n % 2 == 0 { one.trade(&started, &code) } else { two.trade(&started, &code) });
    let replies = futures_util::future::join_all(trades).await;
    let earned: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(earned.len(), 1);
    service.broker().refresh_access().await.unwrap();
    let devices = call_with(&service, &token(&earned[0].json), Method::GET, "/api/devices", None).await;
    assert_eq!(devices.status, 401, "who else had the code is not known");
}

#[tokio::test(flavor = "multi_thread")]
async fn d03_a_redirect_uri_that_is_not_this_machines_gets_a_page_and_no_redirect() {
    let service = Service::start().await;
    let mut browser = Browser::default();
    let good = "response_type=code&code_challenge_method=S256\
        &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    for uri in [
        "",
        "&redirect_uri=",
        "&redirect_uri=https://127.0.0.1/",
        "&redirect_uri=http://evil.example/",
        "&redirect_uri=http://127.0.0.1@evil.example/",
        "&redirect_uri=http://localhost/%23x",
        "&redirect_uri=//localhost/",
        "&redirect_uri=http://localhost/&redirect_uri=http://localhost/",
        "&redirect_uri=http://localhost/&state=a&state=b",
        "&redirect_uri=http://localhost/&x=1&x=2",
    ] {
        let answer = browser.open(&service, &format!("/api/authorize?{good}{uri}")).await;
        assert_eq!(answer.status, 400, "{uri}");
        assert!(!answer.headers.contains_key("location"), "{uri}");
    }
    assert_eq!(service.database.count("select count(*) from sign_ins").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_errors_are_brought_to_the_terminal() {
    let service = Service::start().await;
    let mut browser = Browser::default();
    let challenge = "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let long = format!("response_type=code&code_challenge_method=S256&{challenge}&state={}", "x".repeat(513));
    for (query, error) in [
        ("", "invalid_request"),
        ("response_type=token", "unsupported_response_type"),
        ("response_type=code", "invalid_request"),
        (&format!("response_type=code&{challenge}"), "invalid_request"),
        (&format!("response_type=code&code_challenge_method=plain&{challenge}"), "invalid_request"),
        ("response_type=code&code_challenge_method=S256&code_challenge=short", "invalid_request"),
        (&format!("response_type=code&code_challenge_method=S256&{challenge}&scope=admin"), "invalid_scope"),
        (
            &format!("response_type=code&code_challenge_method=S256&{challenge}&client_id=a%20b"),
            "invalid_request",
        ),
        (&long, "invalid_request"),
    ] {
        let state = if query.contains("state=") { "" } else { "&state=s%26t" };
        let path = format!("/api/authorize?redirect_uri={}&{query}{state}", Terminal::LISTENER);
        let brought = brought(&browser.open(&service, &path).await);
        assert_eq!(
            (brought["error"].as_str(), brought["iss"].as_str()),
            (error, service.public_url()),
            "{query}"
        );
        assert_eq!(brought.get("state").map(String::as_str), (!state.is_empty()).then_some("s&t"), "{query}");
    }
    assert_eq!(service.database.count("select count(*) from sign_ins").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_looks_ahead_starts_nothing_and_starts_have_a_bound() {
    let service = Service::start().await;
    let terminal = Terminal::of(&service);
    let mut ahead = Browser { headers: vec![("sec-purpose", "prefetch".to_owned())], ..Browser::default() };
    let path = format!("/api/authorize?redirect_uri={}", Terminal::LISTENER);
    assert_eq!(ahead.open(&service, &path).await.status, 503);
    let mut browser = Browser::default();
    for _ in 0..30 {
        terminal.open(&mut browser, &[]).await;
    }
    let query = "response_type=code&code_challenge_method=S256\
        &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let refused = browser.open(&service, &format!("{path}&{query}")).await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn g07_j01_nothing_of_a_sign_in_is_readable_in_the_database() {
    let service = Service::start().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let headless = terminal.start(None).await.expect(200);
    let (started, code) = signed_in(&terminal, &mut browser).await;
    let rows = service.database.everything().await;
    let token = token(&terminal.trade(&started, &code).await.expect(200));
    let rows = rows + &service.database.everything().await;
    let letters = headless["user_code"].as_str().unwrap().replace('-', "");
    let cookie = browser.cookie.as_deref().unwrap().split('=').nth(1).unwrap();
    let verifier = "v".repeat(43);
    for secret in [
        headless["device_code"].as_str().unwrap(),
        &letters,
        &code,
        &token,
        cookie,
        "the state",
        &verifier,
        OWNER.1,
    ] {
        assert!(!rows.contains(secret), "{secret}");
        let hex = secret.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert!(!rows.contains(&hex), "{secret} in hexadecimal");
    }
}
