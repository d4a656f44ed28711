//! `cloudlink login --headless`: a terminal shows a code, somebody types it elsewhere and signs in (RFC 8628).

use reqwest::Method;
use serde_json::json;
use time::Duration;

use crate::harness::{Browser, Home, OWNER, PASSWORD, Reply, Service, Terminal, call_with, token, until};

const ANOTHER: &str = "another phrase, long enough";

#[track_caller]
fn refused(reply: &Reply, error: &str) {
    assert_eq!((reply.status, &reply.json["error"]), (400, &json!(error)), "{}", reply.text);
    assert_eq!(reply.headers["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_signs_in_for_a_terminal_by_typing_its_code() {
    let service = Service::start().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let answer = terminal.start(None).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let started = answer.expect(200);
    let code = started["user_code"].as_str().unwrap();
    assert!(started["device_code"].as_str().unwrap().len() >= 43);
    assert_eq!((&started["expires_in"], &started["interval"]), (&json!(600), &json!(5)));
    assert_eq!(started["verification_uri"], format!("{}/link", service.public_url()));
    let complete = format!("{}/link?user_code={code}", service.public_url());
    assert_eq!(started["verification_uri_complete"], complete);
    refused(&terminal.poll(&started).await, "authorization_pending");

    let page = terminal.page(&mut browser, &started).await;
    assert!(page.starts_with("/login/"), "{page}");
    let shown = browser.open(&service, &page).await;
    for wanted in [code, "cloudlink", "127.0.0.1", "The network you are on", "Only go on if you started this"]
    {
        assert!(shown.html.contains(wanted), "{wanted}: {}", shown.html);
    }
    assert!(!shown.headers["content-security-policy"].to_str().unwrap().contains("form-action"));
    let done = browser.sign_in_as_owner(&service, &page).await;
    assert_eq!(done.status, 200, "{}", done.html);
    assert!(done.html.contains("go back to the terminal"), "{}", done.html);

    service.clock.advance(Duration::seconds(5));
    let granted = terminal.poll(&started).await;
    assert_eq!(granted.headers["cache-control"], "no-store");
    let granted = granted.expect(200);
    assert_eq!((&granted["token_type"], &granted["scope"]), (&json!("Bearer"), &json!("owner")));
    assert_eq!((&granted["expires_in"], granted.get("refresh_token")), (&json!(3600), None));
    let devices = call_with(&service, &token(&granted), Method::GET, "/api/devices", None).await;
    assert_eq!(devices.status, 200);
    let audit = service.owner(Method::GET, "/api/audit", None).await.expect(200);
    assert_eq!(audit[0]["action"], "owner.login");
    service.clock.advance(Duration::seconds(5));
    refused(&terminal.poll(&started).await, "invalid_grant");
    assert!(browser.open(&service, &page).await.html.contains("You are signed in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn c06_polling_too_fast_is_told_to_slow_down_and_the_interval_grows() {
    let service = Service::start().await;
    let terminal = Terminal::of(&service);
    let started = terminal.start(None).await.expect(200);
    refused(&terminal.poll(&started).await, "authorization_pending");
    refused(&terminal.poll(&started).await, "slow_down");
    service.clock.advance(Duration::seconds(6));
    refused(&terminal.poll(&started).await, "slow_down");
    service.clock.advance(Duration::seconds(11));
    refused(&terminal.poll(&started).await, "slow_down");
    service.clock.advance(Duration::seconds(20));
    refused(&terminal.poll(&started).await, "authorization_pending");

    let mut browser = Browser::default();
    let page = terminal.page(&mut browser, &started).await;
    assert_eq!(browser.sign_in_as_owner(&service, &page).await.status, 200);
    refused(&terminal.poll(&started).await, "slow_down");
    service.clock.advance(Duration::seconds(25));
    terminal.poll(&started).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn c06_nobody_in_time_nobody_at_all_and_another_clients_code_each_have_their_word() {
    let service = Service::start().await;
    let terminal = Terminal::of(&service);
    let started = terminal.start(None).await.expect(200);
    for client in [Some("another"), None] {
        refused(&Terminal { service: &service, client }.poll(&started).await, "invalid_grant");
    }
    refused(&terminal.poll(&json!({"device_code": "x".repeat(43)})).await, "invalid_grant");

    let denied = terminal.start(None).await.expect(200);
    let mut browser = Browser::default();
    let page = terminal.page(&mut browser, &denied).await;
    let cancelled = browser.sign_in(&service, &page, &[("decision", "cancel")]).await;
    assert_eq!(cancelled.status, 200);
    assert!(cancelled.html.contains("Nobody was signed in"), "{}", cancelled.html);
    refused(&terminal.poll(&denied).await, "access_denied");
    let audit = service.owner(Method::GET, "/api/audit", None).await.expect(200);
    assert_eq!((&audit[0]["action"], &audit[0]["actor"]), (&json!("login.denied"), &json!("browser")));

    service.clock.advance(Duration::seconds(601));
    refused(&terminal.poll(&started).await, "expired_token");
    let anonymous = Terminal { service: &service, client: None };
    let started = anonymous.start(None).await.expect(200);
    refused(&terminal.poll(&started).await, "authorization_pending");
    service.clock.advance(Duration::hours(2));
    service.broker().forget_what_is_over().await.unwrap();
    assert_eq!(service.database.count("select count(*) from sign_ins").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_does_not_fit_is_refused_as_the_rfc_says() {
    let service = Service::start().await;
    let terminal = Terminal::of(&service);
    for scope in ["admin", "device:", "device:x", "owner device", "slot:a"] {
        refused(&terminal.start(Some(scope)).await, "invalid_scope");
    }
    for client in ["a b", "ä", &"x".repeat(65)] {
        let reply = Terminal { service: &service, client: Some(client) }.start(None).await;
        refused(&reply, "invalid_request");
    }
    let twice = [("client_id", "a"), ("client_id", "b")];
    refused(&terminal.post("/api/device_authorization", &twice).await, "invalid_request");
    refused(&terminal.post("/api/token", &[("grant_type", "password")]).await, "unsupported_grant_type");
    for grant in ["urn:ietf:params:oauth:grant-type:device_code", "authorization_code"] {
        refused(&terminal.post("/api/token", &[("grant_type", grant)]).await, "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_signs_in_for_what_its_password_reaches_and_no_more() {
    let service = Service::start().await;
    let (home, stranger) = (Home::bare(&service).await, Home::bare(&service).await);
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(Some(&format!("device:{}", home.device))).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    let other = [("device", stranger.device.as_str()), ("password", PASSWORD)];
    assert_eq!(browser.sign_in(&service, &page, &other).await.status, 403, "the terminal asked for another");
    let own = [("device", home.device.as_str()), ("password", PASSWORD)];
    assert_eq!(browser.sign_in(&service, &page, &own).await.status, 200);
    let granted = terminal.poll(&started).await.expect(200);
    assert_eq!(granted["scope"], "device");
    let token = token(&granted);

    let device = format!("/api/devices/{}", home.device);
    for (path, status) in [
        (device.as_str(), 200),
        (&format!("{device}/keys"), 200),
        (&format!("{device}/slots"), 403),
        ("/api/cloudlink/events", 403),
        ("/api/devices", 403),
        (&format!("/api/devices/{}", stranger.device), 404),
    ] {
        assert_eq!(call_with(&service, &token, Method::GET, path, None).await.status, status, "{path}");
    }
    let audit = service.owner(Method::GET, "/api/audit", None).await.expect(200);
    assert_eq!(audit[0]["action"], "device.login");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_may_sign_in_for_one_device_and_only_for_one_that_exists() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let nobodys = "device:6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10";
    let started = terminal.start(Some(nobodys)).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    assert_eq!(browser.sign_in_as_owner(&service, &page).await.status, 403);

    let started = terminal.start(Some(&format!("device:{}", home.device))).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    assert_eq!(browser.sign_in_as_owner(&service, &page).await.status, 200);
    let token = token(&terminal.poll(&started).await.expect(200));
    assert_eq!(call_with(&service, &token, Method::GET, "/api/devices", None).await.status, 403);
    let device = format!("/api/devices/{}", home.device);
    assert_eq!(call_with(&service, &token, Method::GET, &device, None).await.status, 200);
    let audit = service.owner(Method::GET, "/api/audit", None).await.expect(200);
    assert_eq!((&audit[0]["action"], &audit[0]["actor"]), (&json!("owner.login"), &json!("owner")));
    assert_eq!(audit[0]["subject"], format!("device:{}", home.device));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_or_a_removed_device_ends_what_a_terminal_was_given() {
    let service = Service::start().await;
    let terminal = Terminal::of(&service);
    for how in ["password", "reset", "removal", "before the token was fetched"] {
        let (home, mut browser) = (Home::bare(&service).await, Browser::default());
        let device = format!("/api/devices/{}", home.device);
        let started = terminal.start(None).await.expect(200);
        let page = terminal.page(&mut browser, &started).await;
        let own = [("device", home.device.as_str()), ("password", PASSWORD)];
        assert_eq!(browser.sign_in(&service, &page, &own).await.status, 200);
        let change = async |reset: bool| {
            let body = json!({"new_password": ANOTHER, "reset_acl": reset});
            let path = format!("{device}/password");
            assert_eq!(service.owner(Method::PUT, &path, Some(body)).await.status, 204);
        };
        if how == "before the token was fetched" {
            change(false).await;
            refused(&terminal.poll(&started).await, "invalid_grant");
            continue;
        }
        let token = token(&terminal.poll(&started).await.expect(200));
        let by_key = home.token(&service).await;
        let status = async |token: &str| call_with(&service, token, Method::GET, &device, None).await.status;
        assert_eq!(status(&token).await, 200);
        match how {
            "removal" => assert_eq!(service.owner(Method::DELETE, &device, None).await.status, 204),
            how => change(how == "reset").await,
        }
        assert_eq!(status(&token).await, 401, "{how}");
        assert_eq!(status(&by_key).await, if how == "password" { 200 } else { 401 }, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i04_a_wrong_password_shows_the_form_again_and_is_counted_and_recorded() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    let mut answers = Vec::new();
    for wrong in [
        [("user", OWNER.0), ("password", "wrong")],
        [("user", "nobody"), ("password", OWNER.1)],
        [("device", home.device.as_str()), ("password", "wrong")],
        [("device", "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10"), ("password", PASSWORD)],
        [("device", "no id at all"), ("password", PASSWORD)],
    ] {
        let answer = browser.sign_in(&service, &page, &wrong).await;
        assert_eq!(answer.status, 403, "{wrong:?}");
        answers.push(answer.html);
    }
    assert!(answers.iter().all(|html| *html == answers[0]), "nothing tells which was wrong");
    let audit = service.owner(Method::GET, "/api/audit?limit=10", None).await.expect(200);
    let count =
        |action: &str| audit.as_array().unwrap().iter().filter(|entry| entry["action"] == action).count();
    assert_eq!((count("owner.login_failed"), count("device.login_failed")), (2, 2));
    service.clock.advance(Duration::seconds(5));
    refused(&terminal.poll(&started).await, "authorization_pending");

    for _ in 0..18 {
        let wrong = [("user", OWNER.0), ("password", "wrong")];
        assert_eq!(browser.sign_in(&service, &page, &wrong).await.status, 403);
    }
    let closed = browser.sign_in_as_owner(&service, &page).await;
    assert_eq!(closed.status, 429, "{}", closed.html);
    assert!(closed.headers.contains_key("retry-after"));
    service.clock.advance(Duration::minutes(1));
    assert_eq!(browser.sign_in_as_owner(&service, &page).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn i05_i06_the_cookie_authenticates_nobody_and_a_post_counts_only_from_the_page() {
    let service = Service::start().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let first = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &first).await;
    assert_eq!(browser.sign_in_as_owner(&service, &page).await.status, 200);
    // The browser of somebody who has just signed in is asked again, and its cookie opens nothing.
    let second = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &second).await;
    let shown = browser.open(&service, &page).await;
    assert!(shown.html.contains("name=\"password\""), "{}", shown.html);
    for path in ["/api/devices", "/api/audit", "/api/plugins"] {
        assert_eq!(browser.open(&service, path).await.status, 401, "{path}");
    }
    let csrf = shown.csrf();
    let login = [("user", OWNER.0), ("password", OWNER.1)];
    let with = |csrf| [vec![("csrf", csrf)], login.to_vec()].concat();
    assert_eq!(browser.post(&service, &page, &login).await.status, 403, "without csrf");
    assert_eq!(browser.post(&service, &page, &with("AAAA")).await.status, 403);
    assert_eq!(Browser::default().post(&service, &page, &with(&csrf)).await.status, 403, "another browser");
    let mut elsewhere = browser.clone();
    elsewhere.headers.push(("origin", "https://evil.example".to_owned()));
    assert_eq!(elsewhere.post(&service, &page, &with(&csrf)).await.status, 403);
    for answer in [browser.open(&service, &page).await, browser.open(&service, &page).await] {
        assert_eq!(answer.status, 200, "looking changes nothing");
    }
    refused(&terminal.poll(&second).await, "authorization_pending");
    assert_eq!(browser.post(&service, &page, &with(&csrf)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_a_sign_in_belongs_to_the_browser_that_posted_first_and_ends_once_and_in_time() {
    let service = Service::start().await;
    let terminal = Terminal::of(&service);
    let (mut own, mut other) = (Browser::default(), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut own, &started).await;
    assert!(page.rsplit('/').next().unwrap().len() >= 43, "{page}");
    let csrf = other.open(&service, &page).await.csrf();
    assert_eq!(own.sign_in(&service, &page, &[("user", "x"), ("password", "y")]).await.status, 403);
    assert_eq!(other.open(&service, &page).await.status, 410);
    let form = [("csrf", csrf.as_str()), ("user", OWNER.0), ("password", OWNER.1)];
    assert_eq!(other.post(&service, &page, &form).await.status, 410);
    refused(&terminal.poll(&started).await, "authorization_pending");
    assert_eq!(own.sign_in_as_owner(&service, &page).await.status, 200);
    assert_eq!(other.open(&service, &page).await.status, 410, "it was used");

    let late = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut own, &late).await;
    let csrf = own.open(&service, &page).await.csrf();
    service.clock.advance(Duration::seconds(601));
    assert_eq!(own.open(&service, &page).await.status, 410);
    let form = [("csrf", csrf.as_str()), ("user", OWNER.0), ("password", OWNER.1)];
    assert_eq!(own.post(&service, &page, &form).await.status, 410);
    refused(&terminal.poll(&late).await, "expired_token");
    assert_eq!(own.open(&service, "/login/AAAA").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_codes_of_terminals_count_as_guesses_too_and_starts_have_a_bound() {
    let service = Service::start().await;
    let terminal = Terminal::of(&service);
    let started = terminal.start(None).await.expect(200);
    let mut browser = Browser::default();
    let csrf = browser.open(&service, "/link").await.csrf();
    for _ in 0..10 {
        let form = [("csrf", csrf.as_str()), ("user_code", "BCDF-GHJK")];
        assert_eq!(browser.post(&service, "/link", &form).await.status, 404);
    }
    let right = [("csrf", csrf.as_str()), ("user_code", started["user_code"].as_str().unwrap())];
    assert_eq!(browser.post(&service, "/link", &right).await.status, 429);
    for _ in 1..30 {
        terminal.start(None).await.expect(200);
    }
    let refused = terminal.start(None).await;
    assert_eq!((refused.status, &refused.json["error"]), (429, &json!("slow_down")));
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    service.clock.advance(Duration::minutes(10));
    terminal.start(None).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn c06_of_many_polls_at_once_on_two_replicas_one_earns_the_token() {
    let service = Service::start().await;
    let replica = service.replica().await;
    let (one, two) = (Terminal::of(&service), Terminal::of(&replica));
    let (mut browser, started) = (Browser::default(), one.start(None).await.expect(200));
    let page = one.page(&mut browser, &started).await;
    assert_eq!(browser.sign_in_as_owner(&replica, &page).await.status, 200);
    let polls = (0..12).map(|n| if n % 2 == 0 { one.poll(&started) } else { two.poll(&started) });
    let replies = futures_util::future::join_all(polls).await;
    let earned: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(earned.len(), 1);
    let token = token(&earned[0].json);
    until("the other replica to believe it", async || {
        let devices = call_with(&replica, &token, Method::GET, "/api/devices", None).await;
        (devices.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_decisions_at_once_one_is_taken() {
    let service = Service::start().await;
    let replica = service.replica().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    for _ in 0..4 {
        let started = terminal.start(None).await.expect(200);
        let page = terminal.page(&mut browser, &started).await;
        let csrf = browser.open(&service, &page).await.csrf();
        let yes = [("csrf", csrf.as_str()), ("user", OWNER.0), ("password", OWNER.1)];
        let no = [("csrf", csrf.as_str()), ("decision", "cancel")];
        let (mut one, mut two) = (browser.clone(), browser.clone());
        let (one, two) = tokio::join!(one.post(&service, &page, &yes), two.post(&replica, &page, &no));
        let polled = terminal.poll(&started).await;
        let told = |html: &str| html.contains("You are signed in");
        assert_eq!(told(&one.html), polled.status == 200, "{}", polled.text);
        assert_eq!(told(&two.html), polled.status == 200, "both browsers are told the same");
    }
}
