//! Who consented must be who asked (C02): when a code is asked for, and what it keeps back until it is typed.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use crate::harness::{Answer, Attempt, Browser, Home, Page, Provider, Service, until};

const PROXY: (&str, &str) = ("SERVER__TRUSTED_PROXIES", "127.0.0.1");

async fn stage(settings: &[(&str, &str)]) -> (Service, Provider, Home) {
    let (service, provider) = (Service::with(settings).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, provider, home)
}

/// The device connects from one address, a browser continues from another and comes back. How the flow stands.
async fn linked_between(
    service: &Service,
    home: &Home,
    device: Option<&str>,
    browser: Option<&str>,
) -> String {
    let mut request =
        service.request(Method::POST, &home.at("/connect")).bearer_auth(home.token(service).await);
    if let Some(address) = device {
        request = request.header("x-forwarded-for", address);
    }
    let connection: Value =
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    let headers = browser.map(|address| ("x-forwarded-for", address.to_owned())).into_iter().collect();
    let mut attempt = Attempt::of(service, connection, Browser { headers, ..Browser::default() }).await;
    assert_eq!(attempt.back(service, &[("code", "c")]).await.status, 303);
    attempt.stands(service, home).await
}

/// A flow whose consent waits for its code, and that code.
async fn waiting(service: &Service, home: &Home) -> (Attempt, String) {
    let mut attempt = Attempt::start(service, home).await;
    let answer = attempt.back(service, &[("code", "c")]).await;
    let page = attempt.browser.open(service, answer.location()).await;
    assert_eq!(attempt.stands(service, home).await, "confirm", "{}", page.html);
    let code = digits(&page);
    (attempt, code)
}

pub(crate) fn digits(page: &Page) -> String {
    let at = page.html.find("class=\"digits\"").unwrap_or_else(|| panic!("no digits: {}", page.html));
    page.html[at..].split("<code>").nth(1).unwrap()[..6].to_owned()
}

fn wrong(code: &str, by: u32) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + by) % 1_000_000)
}

async fn confirm(service: &Service, home: &Home, attempt: &Attempt, code: &str) -> (u16, Value) {
    let path = home.at(&format!("/flows/{}/confirm", attempt.connection["flow"].as_str().unwrap()));
    let reply = home.call(service, Method::POST, &path, Some(json!({"code": code}))).await;
    (reply.status, reply.json["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_adaptive_asks_for_a_code_between_two_networks_and_nowhere_else() {
    let (service, _provider, home) = stage(&[PROXY]).await;
    for (device, browser, ends) in [
        (None, None, "linked"),
        (Some("203.0.113.7"), Some("203.0.113.7"), "linked"),
        (Some("203.0.113.7"), Some("::ffff:203.0.113.7"), "linked"),
        (Some("2001:db8:1:2::3"), Some("2001:db8:1:2:ffff::9"), "linked"),
        (Some("203.0.113.7"), Some("198.51.100.1, 203.0.113.7"), "linked"),
        (Some("203.0.113.7"), Some("203.0.113.8"), "confirm"),
        (Some("203.0.113.7"), Some("203.0.113.7, 203.0.113.8"), "confirm"),
        (Some("203.0.113.7"), None, "confirm"),
        (Some("2001:db8:1:2::3"), Some("2001:db8:1:3::3"), "confirm"),
        (Some("203.0.113.7"), Some("2001:db8:1:3::3"), "confirm"),
        (Some("unknown"), Some("unknown"), "confirm"),
    ] {
        assert_eq!(linked_between(&service, &home, device, browser).await, ends, "{device:?} {browser:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_d08_a_private_peer_that_forwards_without_being_trusted_counts_as_another_network() {
    let (service, _provider, home) = stage(&[]).await;
    for (device, browser, ends) in [
        (None, None, "linked"),
        (Some("203.0.113.7"), Some("203.0.113.7"), "confirm"),
        (None, Some("127.0.0.1"), "confirm"),
        (Some("127.0.0.1"), None, "confirm"),
    ] {
        assert_eq!(linked_between(&service, &home, device, browser).await, ends, "{device:?} {browser:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_page_never_asks_and_code_always_does() {
    let (page, _provider, home) = stage(&[PROXY, ("CONSENT__BINDING", "page")]).await;
    assert_eq!(linked_between(&page, &home, Some("203.0.113.7"), Some("203.0.113.8")).await, "linked");
    let (code, _provider, home) = stage(&[PROXY, ("CONSENT__BINDING", "code")]).await;
    assert_eq!(linked_between(&code, &home, Some("203.0.113.7"), Some("203.0.113.7")).await, "confirm");
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_until_the_code_is_typed_nothing_new_is_shown_and_old_tokens_stay_in_use() {
    let (service, provider, home) = stage(&[("CONSENT__BINDING", "code")]).await;
    let (first, code) = waiting(&service, &home).await;
    assert_eq!(home.show(&service).await["status"], "unlinked");
    assert_eq!(home.access_token(&service).await, None);
    assert_eq!(confirm(&service, &home, &first, &code).await.0, 204);
    assert_eq!(first.stands(&service, &home).await, "linked");
    assert_eq!(home.access_token(&service).await.as_deref(), Some("at-1"));
    assert_eq!(confirm(&service, &home, &first, &code).await, (409, json!("not_waiting")));

    let before = home.show(&service).await;
    let new = json!({"access_token": "at-2", "refresh_token": "rt-2", "expires_in": 3600, "scope": "wider"});
    provider.always(Answer::Json(200, new));
    let (second, code) = waiting(&service, &home).await;
    assert_eq!(home.show(&service).await, before, "not even the version or the scope");
    assert_eq!(home.access_token(&service).await.as_deref(), Some("at-1"));
    for by in 1..=4 {
        let answer = confirm(&service, &home, &second, &wrong(&code, by)).await;
        assert_eq!(answer, (422, json!("wrong_code")));
        assert_eq!(second.stands(&service, &home).await, "confirm");
    }
    let typed = format!("{} {}", &code[..3], &code[3..]);
    assert_eq!(confirm(&service, &home, &second, &typed).await.0, 204, "the fifth try is right");
    assert_eq!(home.access_token(&service).await.as_deref(), Some("at-2"));
    assert_eq!(home.show(&service).await["scope"], "wider");
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_the_fifth_wrong_code_ends_the_flow_and_erases_what_was_staged() {
    let (service, _provider, home) = stage(&[("CONSENT__BINDING", "code")]).await;
    let (mut attempt, code) = waiting(&service, &home).await;
    for by in 1..=5 {
        assert_eq!(confirm(&service, &home, &attempt, &wrong(&code, by)).await.0, 422);
    }
    assert_eq!(attempt.stands(&service, &home).await, "failed/wrong_code");
    assert_eq!(confirm(&service, &home, &attempt, &code).await, (409, json!("not_waiting")));
    assert_eq!(staged(&service).await, 0);
    assert_eq!(home.access_token(&service).await, None);
    let url = attempt.url().to_owned();
    let page = attempt.browser.open(&service, &url).await;
    assert!(!page.html.contains(&code), "{}", page.html);
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_parallel_guesses_are_five_and_no_more() {
    let (service, _provider, home) = stage(&[("CONSENT__BINDING", "code")]).await;
    let replica = service.replica().await;
    let (attempt, code) = waiting(&service, &home).await;
    let (attempt, home) = (&attempt, &home);
    let guesses = (1..=30).map(|by| {
        let service = if by % 2 == 0 { &service } else { &replica };
        let guess = wrong(&code, by);
        async move { confirm(service, home, attempt, &guess).await.0 }
    });
    let statuses = join_all(guesses).await;
    assert_eq!(statuses.iter().filter(|status| **status == 422).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 25, "{statuses:?}");
    assert_eq!(attempt.stands(&service, home).await, "failed/wrong_code");
    assert_eq!(confirm(&service, home, attempt, &code).await.0, 409);

    let (attempt, code) = waiting(&service, home).await;
    let (attempt, code) = (&attempt, code.as_str());
    let right = join_all((0..10).map(|_| async { confirm(&service, home, attempt, code).await.0 })).await;
    assert_eq!(right.iter().filter(|status| **status == 204).count(), 1, "{right:?}");
    assert_eq!(attempt.stands(&service, home).await, "linked");
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_a_code_that_nobody_types_expires_and_erases() {
    let (service, _provider, home) = stage(&[("CONSENT__BINDING", "code")]).await;
    let (mut attempt, code) = waiting(&service, &home).await;
    assert_eq!(staged(&service).await, 1);
    service.clock.advance(Duration::seconds(601));
    assert_eq!(attempt.stands(&service, &home).await, "expired");
    assert_eq!(confirm(&service, &home, &attempt, &code).await.0, 409);
    let url = attempt.url().to_owned();
    let page = attempt.browser.open(&service, &url).await;
    assert_eq!(page.status, 410);
    assert!(!page.html.contains(&code));
    until("the sweep", async || (staged(&service).await == 0).then_some(())).await;
    assert_eq!(home.access_token(&service).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_page_comes_before_the_return_url() {
    let (service, _provider, home) = stage(&[("CONSENT__BINDING", "code")]).await;
    let body = json!({"return_url": "http://192.168.1.20/done"});
    let mut attempt = Attempt::asking(&service, &home, body).await;
    let url = attempt.url().to_owned();
    let answer = attempt.back(&service, &[("code", "c")]).await;
    assert!(url.ends_with(answer.location()), "{}", answer.location());
    let code = digits(&attempt.browser.open(&service, &url).await);
    assert_eq!(Browser::default().open(&service, &url).await.status, 410, "nobody else sees the code");
    assert_eq!(confirm(&service, &home, &attempt, &code).await.0, 204);
    let end = attempt.browser.open(&service, &url).await;
    assert_eq!((end.status, end.location()), (303, "http://192.168.1.20/done?cloudlink=linked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_only_the_slot_that_asked_may_confirm() {
    let (service, _provider, home) = stage(&[("CONSENT__BINDING", "code")]).await;
    let (attempt, code) = waiting(&service, &home).await;
    let attacker = Home::bare(&service).await;
    attacker.install(&service, "acme", json!({})).await.expect(201);
    assert_eq!(confirm(&service, &attacker, &attempt, &code).await.0, 404);
    let path = home.at(&format!("/flows/{}/confirm", attempt.connection["flow"].as_str().unwrap()));
    let foreign = attacker.call(&service, Method::POST, &path, Some(json!({"code": code}))).await;
    assert_eq!(foreign.status, 404);
    let other = home.at("").replace("heating", "cooling");
    home.call(&service, Method::PUT, &other, Some(json!({"plugin": "acme"}))).await.expect(201);
    let path = path.replace("heating", "cooling");
    assert_eq!(home.call(&service, Method::POST, &path, Some(json!({"code": code}))).await.status, 404);
    assert_eq!(confirm(&service, &home, &attempt, &code).await.0, 204);
}

async fn staged(service: &Service) -> i64 {
    service
        .database
        .count("select count(*) from flows where staged is not null or confirm_code is not null")
        .await
}
