//! Tokens are refreshed in time, once, and the plugin is told; who asks for one gets a fresh one.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Executor as _, Row as _};
use time::Duration;

use crate::harness::{Answer, Home, Provider, Rotation, Service, call_with, until};

/// Nothing is refreshed but on demand.
const ON_DEMAND: &[(&str, &str)] = &[("REFRESH__CONCURRENCY", "0")];
/// Within the margin of a token that lives an hour, and before its end.
const NEAR_THE_END: Duration = Duration::seconds(3500);
/// After its end.
const AFTER_THE_END: Duration = Duration::seconds(3601);

async fn linked(settings: &[(&str, &str)]) -> (Service, Provider, Rotation, Home) {
    let (service, (provider, rotation)) = (Service::with(settings).await, Rotation::provider().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    (service, provider, rotation, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_before_it_ends_and_the_plugin_is_told() {
    let (service, provider, _, home) = linked(&[]).await;
    service.grants_are_scheduled().await;
    let mut relay = home.relay(&service).await;
    let consent = relay.event("oauth", None).await;
    relay.ack(&consent).await;
    until("the ack", async || {
        (home.show(&service).await["acked_version"] == consent["version"]).then_some(())
    })
    .await;
    assert_eq!(provider.requests().len(), 1, "nothing is due");

    service.clock.advance(NEAR_THE_END);
    let refreshed = relay.event("customns", Some("oauthTokens")).await;
    assert_eq!(refreshed["data"]["access_token"], "at-2");
    assert_eq!(refreshed["data"]["refresh_token"], consent["data"]["refresh_token"], "the handle stays");
    assert!(refreshed["version"].as_i64() > consent["version"].as_i64());
    assert!((3590..=3600).contains(&refreshed["data"]["expires_in"].as_i64().unwrap()), "{refreshed}");
    let asked = provider.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].form["grant_type"], "refresh_token");
    assert_eq!(asked[1].form["refresh_token"], "rt-1");

    service.grants_are_scheduled().await;
    service.clock.advance(NEAR_THE_END);
    let asked = provider.asked(3).await;
    assert_eq!(asked[2].form["refresh_token"], "rt-2", "the rotated one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_nobody_acknowledged_is_one_after_a_refresh_too() {
    let (service, _, _, home) = linked(ON_DEMAND).await;
    let mut relay = home.relay(&service).await;
    let consent = relay.event("oauth", None).await;
    assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-2");
    let again = relay.event("oauth", None).await;
    assert_eq!(again["data"]["access_token"], "at-2");
    assert!(again["version"].as_i64() > consent["version"].as_i64());
    let events = home.poll(&service, "wait=0").await.expect(200);
    assert_eq!(events["events"][1]["event"], "oauth", "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_now_for_who_says_so_each_time() {
    let (service, provider, rotation, home) = linked(ON_DEMAND).await;
    for number in 2..5 {
        let token = home.refresh(&service).await.expect(200);
        assert_eq!(token["access_token"], format!("at-{number}"));
        assert!(token["expiry"].as_str().unwrap().ends_with('Z') && token["token_type"] == "Bearer");
    }
    assert_eq!(home.get_token(&service).await.expect(200)["access_token"], "at-4");
    assert_eq!((provider.requests().len(), rotation.reused()), (4, false));
    let elsewhere = format!("/api/devices/{}/slots/garden/refresh", home.device);
    assert_eq!(home.call(&service, Method::POST, &elsewhere, None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_less_than_a_minute_left_is_refreshed_for_who_wants_to_use_it() {
    let (service, provider, _, home) = linked(ON_DEMAND).await;
    service.clock.advance(NEAR_THE_END);
    assert_eq!(home.get_token(&service).await.expect(200)["access_token"], "at-1");
    assert_eq!(provider.requests().len(), 1);
    service.clock.advance(Duration::seconds(50));
    assert_eq!(home.get_token(&service).await.expect(200)["access_token"], "at-2");
    let mut relay = home.relay(&service).await;
    relay.send(&json!({"type": "token", "slot": home.slot, "id": 1})).await;
    let reply = loop {
        let frame = relay.next().await;
        if frame["type"] == "reply" {
            break frame;
        }
    };
    assert_eq!(reply["data"]["access_token"], "at-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_fifty_wants_of_an_expired_token_on_two_replicas_cost_one_request() {
    let (one, provider, rotation, home) = linked(ON_DEMAND).await;
    let other = one.replica().await;
    one.clock.advance(AFTER_THE_END);
    let token = home.token(&one).await;
    let wants = (0..50).map(|number| {
        let (service, token, path) = (if number % 2 == 0 { &one } else { &other }, &token, home.at("/token"));
        async move { call_with(service, token, Method::GET, &path, None).await }
    });
    for reply in join_all(wants).await {
        assert_eq!(reply.expect(200)["access_token"], "at-2");
    }
    assert_eq!(provider.requests().len(), 2);
    assert!(!rotation.reused());
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_what_an_answer_leaves_out_stays_and_no_more_scope_is_asked_for_than_was_granted() {
    let (service, provider) = (Service::with(ON_DEMAND).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let granted = json!({"access_token": "at-1", "refresh_token": "rt-1", "expires_in": 3600, "scope": "read",
                         "token_type": "Bearer", "athlete": {"id": 7}});
    provider.next(Answer::Json(200, granted));
    home.link(&service).await;
    provider.next(Answer::Json(200, json!({"access_token": "at-2", "expires_in": "1800"})));
    let token = home.refresh(&service).await.expect(200);
    assert_eq!((&token["access_token"], &token["scope"]), (&json!("at-2"), &json!("read")));
    let told = &home.poll(&service, "state=all").await.expect(200)["events"][1]["data"];
    assert_eq!((&told["athlete"]["id"], &told["token_type"]), (&json!(7), &json!("Bearer")));
    assert!((1790..=1800).contains(&told["expires_in"].as_i64().unwrap()), "{told}");
    home.refresh(&service).await.expect(200);
    let asked = provider.requests();
    assert_eq!(
        (&asked[1].form["refresh_token"], &asked[2].form["refresh_token"]),
        (&"rt-1".into(), &"rt-1".into())
    );
    assert_eq!(asked[1].form["scope"], "read", "of `read write`");
    assert_eq!(
        (&asked[1].form["client_id"], &asked[1].form["client_secret"]),
        (&"the-client".into(), &"the-secret".into())
    );
    assert!(asked[1].form["redirect_uri"].ends_with("/api/cloudlink/redirect"), "{:?}", asked[1].form);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_without_a_refresh_token_asks_for_its_user_when_it_ends() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    provider.next(Answer::Json(200, json!({"access_token": "at-1", "expires_in": 3600})));
    home.link(&service).await;
    let mut relay = home.relay(&service).await;
    let consent = relay.event("oauth", None).await;
    relay.ack(&consent).await;
    service.clock.advance(NEAR_THE_END);
    service.grants_are_scheduled().await;
    assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-1", "there is no other");
    assert_eq!(home.show(&service).await["status"], "linked");
    service.clock.advance(Duration::seconds(90));
    service.grants_are_scheduled().await;
    assert_eq!(home.show(&service).await["status"], "linked");
    let mut relay = home.relay(&service).await;
    relay.event("customns", Some("oauthTokens")).await;

    service.clock.advance(Duration::seconds(11));
    let ended = relay.event("reauthorize", None).await;
    assert_eq!(ended["data"], json!({"reason": "expired"}));
    assert_eq!(home.show(&service).await["status"], "reauthorize");
    let refused = home.get_token(&service).await;
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("authorization_required")));
    assert_eq!(service.database.count("select count(*) from grants").await, 0);
    assert_eq!(service.audited("grant.ended").await, [json!("expired")]);
    assert_eq!(provider.requests().len(), 1);
    home.link(&service).await;
    assert_eq!(home.get_token(&service).await.expect(200)["access_token"], "at-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_no_lifetime_makes_a_storm() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let next_look = "select extract(epoch from refresh_at - refresh_set_at)::float8 from grants";
    for (said, least, most) in [
        (json!(0), None, None),
        (json!(-1), None, None),
        (json!("abc"), None, None),
        (json!(1), Some(2.9), Some(3.1)),
        (json!(5), Some(2.9), Some(3.1)),
        (json!("3600"), Some(3350.0), Some(3481.0)),
        (json!(1e12), Some(3.1e8), Some(3.2e8)),
    ] {
        provider.next(Answer::Json(
            200,
            json!({"access_token": "at-1", "refresh_token": "rt-1", "expires_in": said}),
        ));
        home.link(&service).await;
        service.grants_are_scheduled().await;
        let scheduled: Option<f64> = service.database.pool.fetch_one(next_look).await.unwrap().get(0);
        let within = match (scheduled, least, most) {
            (Some(seconds), Some(least), Some(most)) => {
                // Or it was refreshed meanwhile, with an hour to live from now on.
                (least..=most).contains(&seconds) || (most < 4.0 && seconds > 3000.0)
            }
            (None, None, None) => true,
            _ => false,
        };
        assert!(within, "{said} is looked at in {scheduled:?}");
    }
    let asked = provider.requests();
    let refreshes = asked.iter().filter(|request| request.form["grant_type"] == "refresh_token").count();
    assert!(refreshes <= 2, "{refreshes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_device_custody_the_broker_refreshes_nothing() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol_with(&service, &provider, json!({"custody": "device"})).await;
    home.link(&service).await;
    service.grants_are_scheduled().await;
    service.clock.advance(AFTER_THE_END);
    let refused = home.get_token(&service).await;
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("tokens_with_device")));
    assert_eq!(home.show(&service).await["status"], "linked");
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_margin_and_endpoint_take_effect_at_once() {
    let (service, provider, _, home) = linked(&[]).await;
    service.grants_are_scheduled().await;
    service.clock.advance(Duration::seconds(1900));
    let patch = json!({"refresh_margin": 2000});
    home.call(&service, Method::PATCH, &home.at("/oauth"), Some(patch)).await.expect(200);
    assert_eq!(provider.asked(2).await[1].target, "/token", "half of its life is over");
    service.grants_are_scheduled().await;
    let configuration = provider.configured(json!({"refresh_endpoint": format!("{}/renew", provider.url)}));
    home.install_store(&service, "acme", configuration).await;
    assert_eq!(home.show(&service).await["status"], "unlinked", "another place for the refresh token");
    home.link(&service).await;
    home.refresh(&service).await.expect(200);
    assert_eq!(provider.requests().last().unwrap().target, "/renew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_writes_twice_to_its_grant_and_an_idle_grant_costs_nothing() {
    let (service, _, _, home) = linked(&[]).await;
    service.grants_are_scheduled().await;
    let counting = "create table writes (name text);
        create function count_write() returns trigger language plpgsql as
            $$ begin insert into writes values (split_part(current_query(), E'\\n', 1)); return null; end $$;
        create trigger count_write after update on grants for each statement execute function count_write();
        create trigger count_write after update on slots for each statement execute function count_write()";
    service.database.pool.execute(counting).await.unwrap();
    service.clock.advance(NEAR_THE_END);
    until("the refresh", async || {
        (service.database.count("select count(*) from writes where name = '-- store_refresh'").await > 0)
            .then_some(())
    })
    .await;
    service.grants_are_scheduled().await;
    let written: Vec<String> = sqlx::query_scalar(
        "select name || ' ' || count(*) from writes where name <> '-- lease_due_refreshes' group by name",
    )
    .fetch_all(&service.database.pool)
    .await
    .unwrap();
    assert_eq!(written, ["-- store_refresh 2"], "one statement, which writes to both tables");
    assert_eq!(home.get_token(&service).await.expect(200)["access_token"], "at-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_a_slot_is_refreshed_with_its_own_tokens_and_by_its_own_plugin_alone() {
    let (service, provider, _, home) = linked(ON_DEMAND).await;
    let garden = format!("/api/devices/{}/slots/garden", home.device);
    home.call(&service, Method::PUT, &garden, Some(json!({"plugin": "acme"}))).await.expect(201);
    let assertion = home.assertion(&service, &json!({}));
    let granted = home.grant(&service, &assertion, Some("garden")).await.expect(200);
    let token = granted["access_token"].as_str().unwrap();
    for (method, rest) in [(Method::GET, "/token"), (Method::POST, "/refresh")] {
        let foreign = call_with(&service, token, method.clone(), &home.at(rest), None).await;
        assert_eq!(foreign.status, 404, "{}", foreign.text);
        let own = call_with(&service, token, method.clone(), &format!("{garden}{rest}"), None).await;
        assert_eq!((own.status, &own.json["code"]), (409, &json!("authorization_required")));
        let owner = service.owner(method, &home.at(rest), None).await;
        assert_eq!(owner.status, 403, "{}", owner.text);
    }
    assert_eq!(provider.requests().len(), 1);
    let asked: Vec<Value> = service.audited("grant.ended").await;
    assert!(asked.is_empty(), "{asked:?}");
}
