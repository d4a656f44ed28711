//! Home Assistant refreshes through here: passed on with the plugin's secret, once however often it is asked.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use time::Duration;
use tokio::sync::Notify;

use crate::harness::{
    Answer, DatabaseLink, LinkSocket, Process, Reply, account_link, browser_at_home, consents, dump, refresh,
    until, with_json,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_passed_on_with_the_plugins_secret() {
    let (service, provider) = account_link(&[], json!({})).await;
    let fresh = json!({"access_token": "at-2", "refresh_token": "rt-2", "expires_in": 1800, "house": 7});
    provider.next(Answer::Json(200, fresh));
    let reply = refresh(&service, "ecobee", "rt-1").await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let tokens = reply.expect(200);
    assert_eq!(
        (&tokens["access_token"], &tokens["refresh_token"], &tokens["token_type"], &tokens["house"]),
        (&json!("at-2"), &json!("rt-2"), &json!("Bearer"), &json!(7))
    );
    assert!(tokens["expires_in"].is_i64());
    let form = &provider.requests()[0].form;
    for (name, value) in [
        ("grant_type", "refresh_token"),
        ("refresh_token", "rt-1"),
        ("client_id", "the-client"),
        ("client_secret", "the-secret"),
    ] {
        assert_eq!(form[name], value);
    }
    provider.next(Answer::Json(200, json!({"access_token": "at-3"})));
    let tokens = refresh(&service, "ecobee", "rt-2").await.expect(200);
    assert_eq!(tokens["refresh_token"], "rt-2", "what the provider leaves out stays as it was");
    assert!(tokens["expires_in"].as_i64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_dead_grant_is_a_400_and_what_may_pass_says_when_to_come_back() {
    let (service, provider) = account_link(&[], json!({})).await;
    let raw = |head: &str| Answer::Raw(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").into_bytes());
    for (number, (answer, status, code)) in [
        (Answer::Json(400, json!({"error": "invalid_grant"})), 400, "invalid_grant"),
        (Answer::Json(401, json!({"error": "invalid_grant"})), 400, "invalid_grant"),
        (raw("429 Too Many Requests\r\nretry-after: 17"), 429, "too_many_requests"),
        (raw("503 Service Unavailable\r\nretry-after: 17"), 503, "provider_unavailable"),
        (raw("500 Oops"), 503, "provider_unavailable"),
        (Answer::Raw(b"nonsense".to_vec()), 503, "provider_unavailable"),
        (Answer::Json(401, json!({"error": "invalid_client"})), 503, "service_misconfigured"),
    ]
    .into_iter()
    .enumerate()
    {
        provider.next(answer);
        let reply = refresh(&service, "ecobee", &format!("rt-{number}")).await;
        assert_eq!((reply.status, &reply.json["code"]), (status, &json!(code)), "{}", reply.text);
        if status != 400 {
            let wait = reply.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
            assert!(wait > 0 && (status != 429 || wait == 17), "{wait}");
        }
    }
    assert_eq!(refresh(&service, "lost", "rt").await.status, 503, "the operator forgot the plugin");
    assert_eq!(refresh(&service, "sonos", "rt").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_never_a_500() {
    let (service, provider) = account_link(&[], json!({})).await;
    for (path, body, status) in [
        ("/refresh_token/ecobee", "{}".to_owned(), 422),
        ("/refresh_token/ecobee", "no json".to_owned(), 400),
        ("/refresh_token/ecobee", r#"{"refresh_token": 7}"#.to_owned(), 422),
        ("/refresh_token/ecobee", r#"{"refresh_token": ""}"#.to_owned(), 400),
        ("/refresh_token/ecobee", format!(r#"{{"refresh_token": "{}"}}"#, "x".repeat(20_000)), 400),
        ("/refresh_token/ecobee", format!(r#"{{"refresh_token": "{}"}}"#, "x".repeat(100_000)), 413),
        ("/refresh_token/..%2f", "{}".to_owned(), 404),
    ] {
        let request =
            service.request(Method::POST, path).header("content-type", "application/json").body(body);
        assert_eq!(Reply::of(request).await.status, status, "{path}");
    }
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_refresh_token_within_a_minute_gets_the_same_answer_on_whichever_replica() {
    let (service, provider) = account_link(&[], json!({})).await;
    let other = service.replica().await;
    provider.next(Answer::Json(
        200,
        json!({"access_token": "canary-at-2", "refresh_token": "canary-rt-2", "expires_in": 1800}),
    ));
    let first = refresh(&service, "ecobee", "canary-rt-1").await.expect(200);
    service.clock.advance(Duration::seconds(50));
    assert_eq!(refresh(&other, "ecobee", "canary-rt-1").await.expect(200), first);
    assert_eq!(provider.requests().len(), 1);
    let kept = dump::rows(&service.database.pool).await.join("\n");
    for secret in ["canary-at-2", "canary-rt-2", "canary-rt-1"] {
        assert!(!dump::disguises(secret).iter().any(|form| kept.contains(form)), "{secret}");
    }

    provider.next(Answer::Json(200, json!({"access_token": "nest", "expires_in": 1800})));
    let nest = refresh(&service, "nest", "canary-rt-1").await.expect(200);
    assert_eq!(nest["access_token"], "nest", "another service's answer is another");

    service.clock.advance(Duration::seconds(15));
    provider.next(Answer::Json(400, json!({"error": "invalid_grant"})));
    assert_eq!(
        refresh(&service, "ecobee", "canary-rt-1").await.status,
        400,
        "a minute later it is asked again"
    );
    assert_eq!(provider.requests().len(), 3);
    service.clock.advance(Duration::seconds(70));
    service.broker().sweep_flows().await.unwrap();
    assert_eq!(service.database.count("select count(*) from account_refreshes").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_refresh_at_once_over_two_replicas_cost_the_provider_one_request() {
    let (service, provider) = account_link(&[], json!({})).await;
    let other = service.replica().await;
    let gate = Arc::new(Notify::new());
    let fresh = json!({"access_token": "at-2", "refresh_token": "rt-2", "expires_in": 1800});
    provider.next(Answer::Held(gate.clone(), 200, fresh));
    let asking = async {
        tokio::join!(
            refresh(&service, "ecobee", "rt-1"),
            refresh(&other, "ecobee", "rt-1"),
            refresh(&service, "ecobee", "rt-1"),
            refresh(&other, "ecobee", "rt-1"),
        )
    };
    let opening = async {
        provider.asked(1).await;
        gate.notify_one();
    };
    let ((one, two, three, four), ()) = tokio::join!(asking, opening);
    let first = one.expect(200);
    assert_eq!(first["access_token"], "at-2");
    for reply in [two, three, four] {
        assert_eq!(reply.expect(200), first);
    }
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_in_the_middle_finds_the_answer_when_asking_again() {
    let (service, provider) = account_link(&[], json!({})).await;
    let gate = Arc::new(Notify::new());
    let fresh = json!({"access_token": "at-2", "refresh_token": "rt-2", "expires_in": 1800});
    provider.next(Answer::Held(gate.clone(), 200, fresh));
    let request = service.request(Method::POST, "/refresh_token/ecobee");
    let impatient = tokio::spawn(with_json(request, Some(json!({"refresh_token": "rt-1"}))).send());
    provider.asked(1).await;
    impatient.abort();
    gate.notify_one();
    let reply = refresh(&service, "ecobee", "rt-1").await.expect(200);
    assert_eq!(reply["refresh_token"], "rt-2", "the provider has replaced the other one by now");
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_not_repeated_for_longer_than_the_provider_said() {
    let (service, provider) = account_link(&[], json!({})).await;
    provider.next(Answer::Raw(b"HTTP/1.1 503 Away\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n".to_vec()));
    assert_eq!(refresh(&service, "ecobee", "rt-1").await.status, 503);
    assert_eq!(refresh(&service, "ecobee", "rt-1").await.status, 503);
    assert_eq!(provider.requests().len(), 1, "it asked to be left alone");
    service.clock.advance(Duration::seconds(3));
    assert_eq!(refresh(&service, "ecobee", "rt-1").await.expect(200)["access_token"], "at-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_while_the_database_is_away_is_given_and_kept_when_it_is_back_and_nothing_is_spent_twice()
 {
    let (direct, provider) = account_link(&[], json!({})).await;
    let link = DatabaseLink::to(&direct).await;
    let service = direct.replica_with(&[("DATABASE__URL", &link.url)]).await;
    let gate = Arc::new(Notify::new());
    provider.next(Answer::Held(gate.clone(), 200, json!({"access_token": "at-2", "refresh_token": "rt-2"})));
    let cutting = async {
        provider.asked(1).await;
        link.cut();
        gate.notify_one();
    };
    let (reply, ()) = tokio::join!(refresh(&service, "ecobee", "rt-1"), cutting);
    assert_eq!(reply.expect(200)["refresh_token"], "rt-2");
    // Whoever asked the database before, as the first to keep the answer did, has heard by now that it is away.
    let again = refresh(&service, "ecobee", "rt-1").await;
    assert_eq!((again.status, &again.json["code"]), (503, &json!("database_unavailable")), "{}", again.text);

    // By now whoever asked looks dead, to the sweep of the other replica, too.
    direct.clock.advance(Duration::seconds(41));
    direct.broker().sweep_flows().await.unwrap();
    link.mend();
    let kept = "select count(*) from account_refreshes where answer is not null";
    until("the answer to be kept", async || (direct.database.count(kept).await == 1).then_some(())).await;
    for replica in [&direct, &service] {
        assert_eq!(refresh(replica, "ecobee", "rt-1").await.expect(200)["refresh_token"], "rt-2");
    }
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_whose_process_is_killed_can_be_asked_for_again() {
    let (service, provider) = account_link(&[], json!({})).await;
    let process = Process::start(&service, &[]).await;
    provider.next(Answer::Silence);
    let request = process.service.request(Method::POST, "/refresh_token/ecobee");
    tokio::spawn(with_json(request, Some(json!({"refresh_token": "rt-1"}))).send());
    provider.asked(1).await;
    process.kill().await;
    service.clock.advance(Duration::seconds(41));
    assert_eq!(refresh(&service, "ecobee", "rt-1").await.expect(200)["access_token"], "at-1");
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_process_is_killed_in_the_exchange_ends_and_says_to_start_again() {
    let (service, provider) = account_link(&[], json!({})).await;
    let process = Process::start(&service, &[]).await;
    provider.next(Answer::Silence);
    let (mut socket, url) = LinkSocket::start(&service).await;
    let (mut browser, sent) = consents(&service, &url).await;
    let callback = sent.callback(&[("code", "a-code")]);
    let path = callback.strip_prefix(service.public_url()).unwrap();
    let request =
        process.service.request(Method::GET, path).header("cookie", browser.cookie.clone().unwrap());
    tokio::spawn(request.send());
    provider.asked(1).await;
    process.kill().await;
    service.clock.advance(Duration::seconds(41));
    service.broker().sweep_flows().await.unwrap();
    assert_eq!(socket.last_words().await, json!({"tokens": {"error": "exchange_failed"}}));
    let page = browser.open(&service, &url).await;
    assert!(page.html.contains("in Home Assistant once more"), "{}", page.html);
    assert_eq!(provider.requests().len(), 1, "nobody takes it over");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_whose_socket_died_with_its_process_are_erased_after_a_minute() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let process = Process::start(&service, &[]).await;
    let (_socket, url) = LinkSocket::start(&process.service).await;
    let mut browser = browser_at_home();
    let sent = browser.consent(&service, &url).await;
    process.kill().await;
    browser.callback(&service, &sent, &[("code", "a-code")]).await;
    let page = browser.open(&service, &url).await;
    assert!(page.html.contains("Home Assistant is being told"), "{}", page.html);
    service.clock.advance(Duration::seconds(61));
    let waiting = "select count(*) from account_links where tokens is not null";
    until("the sweep", async || {
        service.broker().sweep_flows().await.unwrap();
        (service.database.count(waiting).await == 0).then_some(())
    })
    .await;
    let page = browser.open(&service, &url).await;
    assert!(page.html.contains("start in Home Assistant once more"), "{}", page.html);
}
