//! Providers that fail, lie or attack: the flow says so, the page says what to do, and nothing else changes.

use std::io::Write as _;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Browser, Home, Page, Provider, Service, call_with};

/// In every hostile answer, and nowhere else.
const CANARY: &str = "canary-of-the-provider";
const REFUSED: &str = "The provider said no";
const DOWN: &str = "The provider does not answer";
const SENSELESS: &str = "The provider’s answer made no sense";
const TOO_LARGE: &str = "The provider’s answer was too large";

/// Takes a slot through consent; what the flow says and the page shows in the end.
async fn attempt(service: &Service, home: &Home) -> (Value, Page) {
    let connection = home.connect(service).await;
    let mut browser = Browser::default();
    let sent = browser.consent(service, connection["connect_url"].as_str().unwrap()).await;
    let after = browser.callback(service, &sent, &[("code", "a-code")]).await;
    assert_eq!(after.status, 303, "{}", after.html);
    let page = browser.open(service, after.location()).await;
    (home.flow(service, &connection).await, page)
}

/// Asserts that a slot with tokens keeps them through an exchange that gets this answer.
async fn fails(
    service: &Service,
    home: &Home,
    provider: &Provider,
    answer: Answer,
    word: &str,
    heading: &str,
) {
    let (asked, before) = (provider.requests().len(), home.show(service).await);
    provider.next(answer);
    let (flow, page) = attempt(service, home).await;
    assert_eq!((&flow["status"], &flow["error"]), (&json!("failed"), &json!(word)));
    assert_eq!(page.status, 200);
    assert!(page.html.contains(heading), "{heading} in {}", page.html);
    assert!(page.html.contains("once more"), "it says what to do: {}", page.html);
    assert_eq!(provider.requests().len(), asked + 1, "one request, whatever the answer was");
    assert_eq!(home.show(service).await, before, "the slot is as it was");
    let events = home.poll(service, "state=all").await.expect(200);
    assert_eq!(events["events"][1]["data"]["access_token"], "at-1", "the old tokens are in use");
    for told in [page.html, flow.to_string(), events.to_string()] {
        assert!(!told.contains(CANARY), "{told}");
    }
}

async fn linked_home() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    (service, provider, home)
}

fn raw(status: u16, headers: &str, body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Answer::Raw([head.as_bytes(), body].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn c09_e08_an_answer_that_is_no_token_response_fails_the_flow_and_leaves_the_old_tokens() {
    let (service, provider, home) = linked_home().await;
    let html = format!("<html><script>{CANARY}</script>");
    for (status, word, heading) in [
        (200, "invalid_answer", SENSELESS),
        (400, "exchange_failed", REFUSED),
        (404, "exchange_failed", REFUSED),
        (429, "provider_unavailable", DOWN),
        (500, "provider_unavailable", DOWN),
        (503, "provider_unavailable", DOWN),
    ] {
        let answer = raw(status, "content-type: text/html\r\n", html.as_bytes());
        fails(&service, &home, &provider, answer, word, heading).await;
    }
    for bytes in [b"".to_vec(), b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_vec()] {
        fails(&service, &home, &provider, Answer::Raw(bytes), "provider_unavailable", DOWN).await;
    }
    let no_http = Answer::Raw(format!("SSH-2.0-{CANARY}\r\n\r\n").into_bytes());
    fails(&service, &home, &provider, no_http, "invalid_answer", SENSELESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_200_that_says_no_or_has_no_token_is_a_failure() {
    let (service, provider, home) = linked_home().await;
    for (body, word, heading) in [
        (json!({"ok": false, "access_token": CANARY}), "exchange_failed", REFUSED),
        (json!({"error": "invalid_grant", "error_description": CANARY}), "exchange_failed", REFUSED),
        (json!({"error": CANARY, "access_token": CANARY}), "exchange_failed", REFUSED),
        (json!({"access_token": null, "note": CANARY}), "invalid_answer", SENSELESS),
        (json!({"access_token": {"value": CANARY}}), "invalid_answer", SENSELESS),
        (json!({"access_token": "", "note": CANARY}), "invalid_answer", SENSELESS),
        (json!([CANARY]), "invalid_answer", SENSELESS),
    ] {
        fails(&service, &home, &provider, Answer::Json(200, body), word, heading).await;
    }
    let twice = format!("{{\"access_token\":\"{CANARY}\",\"access_token\":\"x\"}}");
    fails(&service, &home, &provider, raw(200, "", twice.as_bytes()), "invalid_answer", SENSELESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e04_a_redirect_from_the_token_endpoint_is_a_failure_and_is_not_followed() {
    let (service, provider, home) = linked_home().await;
    let elsewhere = Provider::start().await;
    for status in [302, 307] {
        let location = format!("location: {}/token\r\n", elsewhere.url);
        fails(&service, &home, &provider, raw(status, &location, b""), "invalid_answer", SENSELESS).await;
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn e06_an_answer_that_is_too_large_ends_the_flow_and_not_the_service() {
    let (service, provider, home) = linked_home().await;
    let long = CANARY.repeat(10 * 1024 * 1024 / CANARY.len());
    let spaces = vec![b' '; 1 << 20];
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..64).for_each(|_| bomb.write_all(&spaces).unwrap());
    let bomb = bomb.finish().unwrap();
    let tokens = json!({"access_token": "at-2", "note": CANARY.repeat(49 * 1024 / CANARY.len())});
    for answer in [
        raw(200, "", long.as_bytes()),
        raw(200, "content-encoding: gzip\r\n", &bomb),
        Answer::Json(200, tokens),
    ] {
        fails(&service, &home, &provider, answer, "answer_too_large", TOO_LARGE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_connections_is_away() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut configuration = provider.configuration();
    configuration["token_endpoint"] = json!(format!("http://{closed}/token"));
    service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await.expect(201);
    let home = Home::bare(&service).await;
    home.install(&service, "acme", json!({})).await.expect(201);
    let (flow, page) = attempt(&service, &home).await;
    assert_eq!(flow["error"], "provider_unavailable");
    assert!(page.html.contains(DOWN), "{}", page.html);
    assert_eq!(home.show(&service).await["status"], "unlinked");
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_whatever_a_provider_says_of_their_life_a_plugin_gets_a_whole_number_of_seconds() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let long = 10 * 365 * 24 * 3600_i64;
    for (said, least, most) in [
        (json!({"expires_in": 3600}), 3500, 3600),
        (json!({"expires_in": "3600"}), 3500, 3600),
        (json!({"expires_in": 3600.7}), 3500, 3601),
        (json!({"expires_in": -5}), 1, long),
        (json!({"expires_in": 0}), 1, long),
        (json!({"expires_in": 1e300}), 1, long),
        (json!({"expires_in": "soon"}), 1, long),
        (json!({"expires_in": null}), 1, long),
        (json!({"expires_in": {"seconds": 1}}), 1, long),
        (json!({"expires_at": "2199-01-01T00:00:00Z"}), long - 60, long),
        (json!({}), long - 60, long),
    ] {
        let mut answer = said.clone();
        answer["access_token"] = json!("at-1");
        provider.next(Answer::Json(200, answer));
        home.link(&service).await;
        let told = &home.poll(&service, "state=all").await.expect(200)["events"][1]["data"];
        let seconds = told["expires_in"].as_i64().unwrap_or_else(|| panic!("{said} became {told}"));
        assert!((least..=most).contains(&seconds), "{said} became {seconds}");
        let expiry = told["expiry"].as_str().unwrap();
        let rfc3339 = &time::format_description::well_known::Rfc3339;
        let at = time::OffsetDateTime::parse(expiry, rfc3339).unwrap();
        assert!(expiry.ends_with('Z') && (at - service.now()).whole_seconds() <= long, "{expiry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_a_form_is_as_good_as_json() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let body = b"access_token=at%2Bform&expires_in=60&scope=a+b";
    provider.next(raw(200, "content-type: application/x-www-form-urlencoded\r\n", body));
    home.link(&service).await;
    let told = &home.poll(&service, "state=all").await.expect(200)["events"][1]["data"];
    assert_eq!((&told["access_token"], &told["scope"]), (&json!("at+form"), &json!("a b")));
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_tokens_go_to_the_slot_of_their_flow_and_to_no_other_of_the_device() {
    let (service, provider, home) = linked_home().await;
    let path = format!("/api/devices/{}/slots/garden", home.device);
    home.call(&service, Method::PUT, &path, Some(json!({"plugin": "acme"}))).await.expect(201);
    let assertion = home.assertion(&service, &json!({}));
    let granted = home.grant(&service, &assertion, Some("garden")).await.expect(200);
    let token = granted["access_token"].as_str().unwrap();
    let events = "/api/cloudlink/events?state=all";
    let events = call_with(&service, token, Method::GET, events, None).await.expect(200);
    assert!(!events.to_string().contains("at-1"), "{events}");
    assert!(events["events"].as_array().unwrap().iter().all(|event| event["slot"] == "garden"), "{events}");
    for rest in ["", "/token", "/oauth"] {
        let reply = call_with(&service, token, Method::GET, &home.at(rest), None).await;
        assert_eq!(reply.status, 404, "{rest} {}", reply.text);
    }
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn e02_an_endpoint_on_a_private_address_is_refused_when_it_is_stored() {
    let service = Service::with(&[("EGRESS__ALLOW_PRIVATE", "false")]).await;
    for host in ["127.0.0.1", "0x7f.1", "2130706433", "[::ffff:7f00:1]", "169.254.169.254", "10.0.0.1"] {
        for member in ["auth_endpoint", "token_endpoint", "refresh_endpoint", "revocation_endpoint"] {
            let mut configuration = json!({
                "name": "Acme", "client_id": "c", "client_secret": "s",
                "auth_endpoint": "https://acme.example/a", "token_endpoint": "https://acme.example/t",
            });
            configuration[member] = json!(format!("https://{host}/"));
            let refused =
                service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await.expect(422);
            assert_eq!(refused["errors"][0]["field"], format!("/{member}"), "{host}: {refused}");
        }
    }
}
