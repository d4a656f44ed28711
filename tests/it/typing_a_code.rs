//! `/link`: who has no link types the code that the device shows, and nobody finds one by guessing (C05).

use futures_util::future::join_all;
use time::Duration;

use crate::harness::{Attempt, Browser, Home, Page, Provider, Service};

async fn stage() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, provider, home)
}

/// Opens `/link` anew and types a code there.
async fn type_code(service: &Service, browser: &mut Browser, code: &str) -> Page {
    let csrf = browser.open(service, "/link").await.csrf();
    browser.post(service, "/link", &[("csrf", &csrf), ("user_code", code)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_code_leads_to_its_flows_page_whatever_its_case_and_dashes() {
    let (service, _provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let code = connection["user_code"].as_str().unwrap();
    let letters = code.replace('-', "");
    assert!(letters.len() >= 8 && letters.bytes().all(|b| b"BCDFGHJKLMNPQRSTVWXZ".contains(&b)), "{code}");
    assert_eq!(connection["verification_uri"], format!("{}/link", service.public_url()));
    let mut browser = Browser::default();
    for typed in [
        code.to_owned(),
        code.to_lowercase(),
        letters.clone(),
        format!(" {} {} ", &letters[..4], &letters[4..]),
    ] {
        let answer = type_code(&service, &mut browser, &typed).await;
        assert_eq!(answer.status, 303, "{typed}: {}", answer.html);
        assert!(connection["connect_url"].as_str().unwrap().ends_with(answer.location()));
    }
    let complete = connection["verification_uri_complete"].as_str().unwrap();
    let page = browser.open(&service, complete).await;
    assert_eq!(page.status, 200, "a GET goes nowhere by itself");
    assert!(page.html.contains(code), "{}", page.html);

    let mut attempt = Attempt::of(&service, connection.clone(), browser).await;
    assert_eq!(attempt.back(&service, &[("code", "c")]).await.status, 303);
    let spent = type_code(&service, &mut attempt.browser, code).await;
    assert_eq!(spent.status, 404, "a code is good until its flow has an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_without_a_genuine_form_is_not_even_looked_at() {
    let (service, _provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let code = connection["user_code"].as_str().unwrap();
    let mut browser = Browser::default();
    let csrf = browser.open(&service, "/link").await.csrf();
    let foreign = Browser::default().open(&service, "/link").await.csrf();
    for form in [vec![("user_code", code)], vec![("user_code", code), ("csrf", &foreign)]] {
        assert_eq!(browser.post(&service, "/link", &form).await.status, 403, "{form:?}");
    }
    let form = [("user_code", code), ("csrf", csrf.as_str())];
    assert_eq!(Browser::default().post(&service, "/link", &form).await.status, 403);
    let mut elsewhere = browser.clone();
    elsewhere.headers.push(("origin", "https://evil.example".to_owned()));
    assert_eq!(elsewhere.post(&service, "/link", &form).await.status, 403);
    assert_eq!(browser.post(&service, "/link", &form).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_a_wrong_and_an_expired_code_get_the_same_answer() {
    let (service, _provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let code = connection["user_code"].as_str().unwrap();
    service.clock.advance(Duration::seconds(601));
    let mut browser = Browser::default();
    let expired = type_code(&service, &mut browser, code).await;
    let wrong = type_code(&service, &mut browser, "BCDF-GHJK").await;
    assert_eq!((expired.status, wrong.status), (404, 404));
    assert_eq!(expired.html.replace(code, "BCDF-GHJK"), wrong.html);
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_ten_wrong_codes_are_all_and_a_right_one_in_between_frees_nothing() {
    let (service, _provider, home) = stage().await;
    let connection = home.connect(&service).await;
    let right = connection["user_code"].as_str().unwrap();
    for wrong in 0..10 {
        // Neither a new browser nor a forged address is somebody else.
        let headers = vec![("x-forwarded-for", format!("203.0.113.{wrong}"))];
        let mut browser = Browser { headers, ..Browser::default() };
        assert_eq!(type_code(&service, &mut browser, "BCDF-GHJK").await.status, 404);
        if wrong == 5 {
            assert_eq!(type_code(&service, &mut browser, right).await.status, 303);
        }
    }
    let headers = vec![("x-forwarded-for", "198.51.100.9".to_owned())];
    let mut browser = Browser { headers, ..Browser::default() };
    for code in ["BCDF-GHJK", right] {
        let answer = type_code(&service, &mut browser, code).await;
        assert_eq!(answer.status, 429, "{code}: {}", answer.html);
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    }
    service.clock.advance(Duration::minutes(10));
    let connection = home.connect(&service).await;
    let right = connection["user_code"].as_str().unwrap();
    assert_eq!(type_code(&service, &mut browser, right).await.status, 303, "after ten minutes");
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_parallel_guesses_are_ten_and_no_more() {
    let service = Service::with(&[("DATABASE__MAX_CONNECTIONS", "80")]).await;
    let mut browser = Browser::default();
    let csrf = browser.open(&service, "/link").await.csrf();
    let guesses =
        (0..60).map(|_| {
            let (service, csrf, mut browser) = (&service, csrf.as_str(), browser.clone());
            async move {
                browser.post(service, "/link", &[("csrf", csrf), ("user_code", "BCDF-GHJK")]).await.status
            }
        });
    // Nobody is told anything before ten at least are looked up at once.
    let held = service.database.hold_flows("access exclusive").await;
    let release = service.database.release(held, "find_pending_by_user_code", 10);
    let (statuses, ()) = tokio::join!(join_all(guesses), release);
    assert_eq!(statuses.iter().filter(|status| **status == 404).count(), 10, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 50, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d08_behind_a_trusted_proxy_each_network_has_its_own_guesses() {
    let service = Service::with(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let from = |address: &str| Browser {
        headers: vec![("x-forwarded-for", address.to_owned())],
        ..Browser::default()
    };
    let mut attacker = from("203.0.113.9");
    for _ in 0..10 {
        assert_eq!(type_code(&service, &mut attacker, "BCDF-GHJK").await.status, 404);
    }
    for forged in ["203.0.113.9", "198.51.100.1, 203.0.113.9", "127.0.0.1, 203.0.113.9"] {
        assert_eq!(type_code(&service, &mut from(forged), "BCDF-GHJK").await.status, 429, "{forged}");
    }
    assert_eq!(type_code(&service, &mut from("203.0.113.10"), "BCDF-GHJK").await.status, 404);
}
