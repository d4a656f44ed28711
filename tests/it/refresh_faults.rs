//! Refreshes that fail: what may pass is tried again, a dead grant asks for its user, a wrong configuration for the
//! owner; and no provider holds up the others.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Executor as _, Row as _};
use time::Duration;

use crate::harness::{Answer, Home, Provider, Service, until};

/// Nothing is refreshed but on demand.
const ON_DEMAND: &[(&str, &str)] = &[("REFRESH__CONCURRENCY", "0")];
/// In every hostile answer, and nowhere else.
const CANARY: &str = "canary-of-the-provider";
const AFTER_THE_END: Duration = Duration::seconds(3601);

async fn linked(settings: &[(&str, &str)]) -> (Service, Provider, Home) {
    let (service, provider) = (Service::with(settings).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    (service, provider, home)
}

fn raw(status: u16, headers: &str, body: &str) -> Answer {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    Answer::Raw(head.into_bytes())
}

fn fresh(number: usize) -> Answer {
    Answer::Json(
        200,
        json!({"access_token": format!("at-{number}"), "refresh_token": format!("rt-{number}"), "expires_in": 3600}),
    )
}

/// What the database says of the one grant: attempts in a row that failed, and of which kind the last was.
async fn trouble(service: &Service) -> (i32, Option<String>) {
    let row = service.database.pool.fetch_one("select refresh_failures, refresh_trouble from grants").await;
    let row = row.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_f05_what_may_pass_leaves_the_old_tokens_and_is_tried_again() {
    let (service, provider, home) = linked(ON_DEMAND).await;
    let large = json!({"access_token": CANARY, "note": CANARY.repeat(49 * 1024 / CANARY.len())});
    let answers = [
        raw(500, "", CANARY),
        raw(503, "", ""),
        raw(408, "", ""),
        raw(429, "", CANARY),
        raw(302, "location: https://evil.example/\r\n", ""),
        raw(200, "", &format!("<html>{CANARY}")),
        raw(200, "", &json!({"access_token": null, "note": CANARY}).to_string()),
        raw(200, "", &json!({"access_token": ""}).to_string()),
        raw(200, "", &json!({"access_token": {"value": CANARY}}).to_string()),
        Answer::Raw(Vec::new()),
        Answer::Raw(b"SSH-2.0\r\n\r\n".to_vec()),
        Answer::Json(200, large),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let (asked, before) = (provider.requests().len(), home.show(&service).await);
        let old = home.get_token(&service).await.expect(200);
        provider.next(answer);
        assert_eq!(home.refresh(&service).await.expect(200), old, "{number}: the old one while it lasts");
        assert_eq!(home.show(&service).await, before, "{number}: the slot is as it was");
        assert_eq!(provider.requests().len(), asked + 1, "{number}: one request");
        assert_eq!(trouble(&service).await, (1, Some("provider".to_owned())), "{number}");
        provider.next(fresh(100 + number));
        let token = home.refresh(&service).await.expect(200);
        assert_eq!(token["access_token"], format!("at-{}", 100 + number));
        assert_eq!(trouble(&service).await, (0, None), "{number}");
    }
    assert!(!service.database.everything().await.contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_of_a_provider_that_is_away_is_a_503_and_comes_once_it_is_back() {
    let (service, provider, home) = linked(&[]).await;
    service.grants_are_scheduled().await;
    provider.always(raw(503, "", ""));
    service.clock.advance(AFTER_THE_END);
    let refused = home.get_token(&service).await;
    assert_eq!((refused.status, &refused.json["code"]), (503, &json!("provider_unavailable")));
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(home.show(&service).await["status"], "linked", "nobody is asked to link again");
    let asked = provider.requests().len();
    provider.always(fresh(2));
    service.clock.advance(Duration::minutes(16));
    // The host may have been left alone for a few seconds, by the machine's own clock.
    until("the refresh", async || {
        let reply = home.get_token(&service).await;
        (reply.status == 200).then(|| assert_eq!(reply.json["access_token"], "at-2"))
    })
    .await;
    assert!(asked >= 2, "the engine tried, or who asked did");
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_retry_after_is_honoured_whoever_wants_a_token() {
    let (service, provider, home) = linked(ON_DEMAND).await;
    provider.next(raw(429, "retry-after: 600\r\n", ""));
    provider.always(fresh(2));
    assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-1");
    assert_eq!(provider.requests().len(), 2);
    for _ in 0..3 {
        assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-1");
    }
    service.clock.advance(Duration::seconds(590));
    assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-1");
    assert_eq!(provider.requests().len(), 2, "it asked for a rest");
    service.clock.advance(Duration::seconds(11));
    assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-2");

    provider.next(raw(503, "retry-after: 7200\r\n", ""));
    home.refresh(&service).await.expect(200);
    service.clock.advance(Duration::seconds(3601));
    let refused = home.get_token(&service).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() / 10, 359);
    assert_eq!(provider.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_invalid_grant_stops_refreshing_and_asks_for_the_user() {
    let (service, provider, home) = linked(&[]).await;
    let mut relay = home.relay(&service).await;
    let consent = relay.event("oauth", None).await;
    relay.ack(&consent).await;
    provider.next(Answer::Json(400, json!({"error": "invalid_grant", "error_description": CANARY})));
    let refused = home.refresh(&service).await;
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("authorization_required")));
    let told = relay.event("reauthorize", None).await;
    assert_eq!(told["data"], json!({"reason": "invalid_grant"}));
    let slot = home.show(&service).await;
    assert_eq!((&slot["status"], &slot["version"]), (&json!("reauthorize"), &told["version"]));
    assert_eq!(slot["version"].as_i64(), consent["version"].as_i64().map(|version| version + 1));

    service.clock.advance(Duration::days(1));
    assert_eq!(home.get_token(&service).await.status, 409);
    assert_eq!(provider.requests().len(), 2, "a dead grant is not asked for again");
    assert_eq!(service.database.count("select count(*) from grants").await, 0, "a spent token is not kept");
    assert_eq!(service.audited("grant.ended").await, [json!("invalid_grant")]);
    let events = home.poll(&service, "wait=0").await.expect(200);
    let last = events["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["event"], "reauthorize", "until it is acknowledged: {events}");
    home.link(&service).await;
    assert_eq!(home.get_token(&service).await.expect(200)["access_token"], "at-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_a_refusal_that_is_the_owners_to_mend_is_told_once_and_tried_once_an_hour() {
    let (service, provider, home) = linked(&[]).await;
    service.grants_are_scheduled().await;
    let before = home.show(&service).await;
    for (status, answer) in [
        (401, json!({"error": "invalid_client", "error_description": CANARY})),
        (404, json!({})),
        (400, json!({"error": "unauthorized_client"})),
        (400, json!({"error": "invalid_scope"})),
        (200, json!({"ok": false, "error": "invalid_grant"})),
    ] {
        let asked = provider.requests().len();
        provider.always(Answer::Json(status, answer));
        // A host that has just been linked anew has no rest to keep.
        home.link_with(&service, &provider, 1).await;
        for _ in 0..3 {
            assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-1");
        }
        assert_eq!(provider.requests().len(), asked + 2, "the consent, and one refresh: {status}");
        assert_eq!(trouble(&service).await, (1, Some("configuration".to_owned())));
        assert_eq!(home.show(&service).await["status"], before["status"]);
    }
    let asked = provider.requests().len();
    assert_eq!(
        service.audited("refresh.refused").await.len(),
        5,
        "once for each grant that began to be refused"
    );
    service.clock.advance(Duration::minutes(59));
    assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-1");
    assert_eq!(provider.requests().len(), asked, "an hour has not passed");
    provider.always(Answer::Json(401, json!({"error": "invalid_client"})));
    service.clock.advance(Duration::minutes(9));
    provider.asked(asked + 1).await;
    until("the end of the attempt", async || (trouble(&service).await.0 == 2).then_some(())).await;
    assert_eq!(service.audited("refresh.refused").await.len(), 5, "it is refused still");
    let refused = home.get_token(&service).await;
    assert_eq!(
        (refused.status, &refused.json["code"]),
        (503, &json!("provider_unavailable")),
        "it is over by now"
    );
    assert_eq!(provider.requests().len(), asked + 1);

    // A change of the configuration is worth an attempt.
    provider.always(fresh(2));
    let patch = json!({"token_parameters": {"audience": "home"}});
    home.call(&service, Method::PATCH, &home.at("/oauth"), Some(patch)).await.expect(200);
    assert_eq!(provider.asked(asked + 2).await[asked + 1].form["audience"], "home");
    until("the new token", async || (home.get_token(&service).await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_200_that_says_invalid_grant_is_believed_once_the_token_is_over() {
    let (service, provider, home) = linked(ON_DEMAND).await;
    provider.always(Answer::Json(200, json!({"error": "invalid_grant"})));
    service.clock.advance(AFTER_THE_END);
    assert_eq!(home.get_token(&service).await.status, 409);
    assert_eq!(home.show(&service).await["status"], "reauthorize");
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_the_tokens_of_another_user_are_kept_out() {
    let (service, provider) = (Service::with(ON_DEMAND).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let tokens = |access: &str, user: &str| {
        let claims = URL_SAFE_NO_PAD.encode(json!({ "sub": user }).to_string());
        let id_token = format!("e30.{claims}.c2ln");
        Answer::Json(
            200,
            json!({"access_token": access, "refresh_token": "rt-1", "expires_in": 3600, "id_token": id_token}),
        )
    };
    provider.next(tokens("at-1", "alice"));
    home.link(&service).await;
    provider.next(tokens("at-2", "alice"));
    assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-2");
    provider.next(tokens("at-mallory", "mallory"));
    assert_eq!(home.refresh(&service).await.status, 409);
    let slot = home.show(&service).await;
    assert_eq!(slot["status"], "reauthorize");
    assert_eq!(service.audited("grant.ended").await, [json!("another_user")]);
    let events = home.poll(&service, "state=all").await.expect(200);
    assert!(!events.to_string().contains("at-mallory"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn e11_a_dead_provider_does_not_delay_the_refreshes_of_others() {
    let settings = [("REFRESH__CONCURRENCY", "8"), ("RELAY__POLL_SECONDS", "1")];
    let (service, dead, live) =
        (Service::with(&settings).await, Provider::start().await, Provider::start().await);
    let home = Home::bare(&service).await;
    let other = json!({"client_id": "another"});
    service.owner(Method::PUT, "/api/plugins/dead", Some(dead.configuration())).await.expect(201);
    service.owner(Method::PUT, "/api/plugins/live", Some(live.configured(other))).await.expect(201);
    let mut slots = Vec::new();
    for number in 0..24 {
        let slot = home.beside(&format!("dead-{number}"));
        slot.install(&service, "dead", json!({})).await.expect(201);
        slot.link(&service).await;
    }
    for number in 0..6 {
        let slot = home.beside(&format!("live-{number}"));
        slot.install(&service, "live", json!({})).await.expect(201);
        slot.link(&service).await;
        slots.push(slot);
    }
    service.grants_are_scheduled().await;
    dead.always(Answer::Silence);
    // Those at the dead one come first.
    let first = "update grants set refresh_at = refresh_at - interval '10 minutes' where slot like 'dead%'";
    service.database.pool.execute(first).await.unwrap();
    live.always(fresh(2));
    service.clock.advance(Duration::seconds(3500));
    live.asked(12).await;
    assert!(dead.requests().len() < 24 + 12, "it is not given all places: {}", dead.requests().len());
    for slot in slots {
        until("the live token", async || {
            let token = slot.get_token(&service).await.expect(200);
            (token["access_token"] == "at-2").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e11_a_provider_that_fails_five_times_in_a_row_is_left_alone() {
    let (service, provider, home) = linked(ON_DEMAND).await;
    provider.always(raw(503, "", ""));
    service.clock.advance(AFTER_THE_END);
    for _ in 0..12 {
        let refused = home.get_token(&service).await;
        assert_eq!(refused.status, 503);
        assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    }
    // One more where these calls took so long that it was worth a try.
    let attempts = provider.requests().len() - 1;
    assert!((5..=6).contains(&attempts), "{attempts}");
    assert_eq!(
        trouble(&service).await.0,
        i32::try_from(attempts).unwrap(),
        "a refusal of ours is no attempt"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn j09_a_clock_that_jumps_a_day_makes_no_storm_and_loses_nothing() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    provider.always(Answer::Judged(Arc::new(move |_| {
        let number = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        (200, json!({"access_token": format!("at-{number}"), "refresh_token": format!("rt-{number}"), "expires_in": 3600}))
    })));
    home.link(&service).await;
    service.grants_are_scheduled().await;
    service.clock.advance(Duration::days(1));
    provider.asked(2).await;
    service.grants_are_scheduled().await;
    assert_eq!(provider.requests().len(), 2, "it seemed to be over: one refresh");

    service.clock.advance(Duration::days(-1));
    assert_eq!(
        home.get_token(&service).await.expect(200)["access_token"],
        "at-3",
        "its end was not to be believed"
    );
    service.grants_are_scheduled().await;
    assert_eq!(provider.requests().len(), 3);
    let slot: Value = home.show(&service).await;
    assert_eq!(slot["status"], "linked");
    let scheduled = "select count(*) from grants where refresh_at - refresh_set_at < interval '1 hour'";
    assert_eq!(service.database.count(scheduled).await, 1, "it is refreshed an hour from now, not a day");
}

#[tokio::test(flavor = "multi_thread")]
async fn j09_what_a_clock_that_was_ahead_decided_is_put_right_by_the_engine() {
    let (service, provider, home) = linked(ON_DEMAND).await;
    service.clock.advance(Duration::days(1));
    provider.next(fresh(2));
    home.refresh(&service).await.expect(200);
    service.clock.advance(Duration::days(-1));
    let store = &service.broker().store;
    assert_eq!(store.correct_refreshes_from_the_future(service.now()).await.unwrap(), 1);
    assert_eq!(store.correct_refreshes_from_the_future(service.now()).await.unwrap(), 0);
    provider.always(fresh(3));
    let _engine = service.replica_with(&[("REFRESH__CONCURRENCY", "4")]).await;
    provider.asked(3).await;
    until("the refresh", async || {
        (home.get_token(&service).await.expect(200)["access_token"] == "at-3").then_some(())
    })
    .await;
    assert_eq!(provider.requests().len(), 3);
}

impl Home {
    /// Links anew: the consent brings tokens, whatever the provider answers otherwise.
    async fn link_with(&self, service: &Service, provider: &Provider, number: usize) {
        provider.next(fresh(number));
        self.link(service).await;
    }
}
