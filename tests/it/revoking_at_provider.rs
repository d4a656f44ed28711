//! What is erased here is revoked at its provider too, as well as that can be done (RFC 7009).

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::time::Duration as Period;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;
use time::Duration;

use crate::harness::{Answer, Hold, Home, Process, Provider, Service, TokenRequest, until};

const JOBS: &str = "select count(*) from revocation_jobs";

/// A linked slot whose provider revokes at `/revoke`.
async fn stage(changes: Value) -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let mut configuration = json!({"revocation_endpoint": format!("{}/revoke?k=v", provider.url)});
    configuration.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let home = Home::enrol_with(&service, &provider, configuration).await;
    home.link(&service).await;
    (service, provider, home)
}

async fn unlink(service: &Service, home: &Home) {
    home.call(service, Method::DELETE, &home.at("/tokens"), None).await.expect(204);
}

/// The revocations that came, once there are so many.
async fn revoked(provider: &Provider, times: usize) -> Vec<TokenRequest> {
    until("the revocation", async || {
        let asked: Vec<_> =
            provider.requests().into_iter().filter(|asked| asked.target.starts_with("/revoke")).collect();
        (asked.len() >= times).then_some(asked)
    })
    .await
}

async fn no_job(service: &Service) {
    until("the job's end", async || (service.database.count(JOBS).await == 0).then_some(())).await;
}

/// Waits until the try of this number has ended without an answer.
async fn put_off(service: &Service, tries: i32) {
    // Longer than a lease.
    let over = service.now() + Duration::seconds(70);
    until("the next wait", async || {
        let waits = "select count(*) from revocation_jobs where tries = $1 and next_try_at > $2";
        let waits: i64 =
            sqlx::query_scalar(waits).bind(tries).bind(over).fetch_one(&service.database.pool).await.unwrap();
        (waits == 1).then_some(())
    })
    .await;
}

async fn recorded(service: &Service) -> Vec<String> {
    let all = service.owner(Method::GET, "/api/audit?limit=200", None).await.expect(200);
    let actions = all.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap().to_owned());
    actions.filter(|action| action.starts_with("grant.revo")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_the_refresh_token_is_revoked_after_an_unlink() {
    let (service, provider, home) = stage(json!({"token_auth": "basic"})).await;
    unlink(&service, &home).await;
    let asked = &revoked(&provider, 1).await[0];
    assert_eq!(asked.target, "/revoke?k=v");
    assert_eq!(
        (asked.form["token"].as_str(), asked.form["token_type_hint"].as_str()),
        ("rt-1", "refresh_token")
    );
    assert!(
        asked.headers["authorization"].starts_with("Basic ") && !asked.form.contains_key("client_secret")
    );
    no_job(&service).await;
    assert_eq!(recorded(&service).await, ["grant.revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_refresh_token_the_access_token_is_revoked_and_without_an_endpoint_nothing() {
    let (service, provider, home) = stage(json!({})).await;
    provider.next(Answer::Json(200, json!({"access_token": "at-2"})));
    home.link(&service).await;
    unlink(&service, &home).await;
    let asked = &revoked(&provider, 1).await[0].form;
    assert_eq!((asked["token"].as_str(), asked["token_type_hint"].as_str()), ("at-2", "access_token"));

    let (service, provider, home) = stage(json!({"revocation_endpoint": null})).await;
    unlink(&service, &home).await;
    assert_eq!(service.database.count(JOBS).await, 0);
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_or_a_device_that_is_deleted_leaves_its_tokens_to_be_revoked() {
    let (service, provider, home) = stage(json!({})).await;
    home.call(&service, Method::DELETE, &home.at(""), None).await.expect(204);
    revoked(&provider, 1).await;
    home.install(&service, "acme", json!({})).await.expect(201);
    home.link(&service).await;
    let home = home.with_slot("cooling");
    home.install(&service, "acme", json!({})).await.expect(201);
    provider.next(Answer::Json(200, json!({"access_token": "at-cooling", "refresh_token": "rt-cooling"})));
    home.link(&service).await;
    let device = format!("/api/devices/{}", home.device);
    service.owner(Method::DELETE, &device, None).await.expect(204);
    let mut tokens: Vec<_> =
        revoked(&provider, 3).await.into_iter().map(|asked| asked.form["token"].clone()).collect();
    tokens.sort();
    assert_eq!(tokens, ["rt-1", "rt-1", "rt-cooling"]);
    no_job(&service).await;
    assert_eq!(recorded(&service).await.len(), 3, "the record outlives them");
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_the_link_is_over_at_once_whatever_the_provider_does() {
    let (service, provider, home) = stage(json!({})).await;
    provider.next(Answer::Silence);
    unlink(&service, &home).await;
    revoked(&provider, 1).await;
    assert_eq!(home.show(&service).await["status"], "unlinked");
    assert_eq!(service.database.count("select count(*) from grants").await, 0);
    assert_eq!(service.database.count(JOBS).await, 1, "it hangs, and nobody waits for it");
    assert_eq!(home.told_at_first(&service).await[1], "heating 3 unlinked");
    provider.next(Answer::Json(200, json!({"access_token": "at-2", "refresh_token": "rt-2"})));
    home.link(&service).await;
    assert_eq!(home.access_token(&service).await.as_deref(), Some("at-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_asked_again_for_a_day_and_no_longer() {
    let (service, provider, home) = stage(json!({})).await;
    provider.always(Answer::Json(503, json!({})));
    unlink(&service, &home).await;
    revoked(&provider, 1).await;
    put_off(&service, 1).await;
    for tries in [2, 3] {
        // Twice as long as before.
        let wait = Duration::minutes(2) * (tries - 1);
        service.clock.advance(wait - Duration::seconds(30));
        service.broker().sweep_flows().await.unwrap();
        service.clock.advance(Duration::seconds(40));
        service.broker().sweep_flows().await.unwrap();
        assert_eq!(
            revoked(&provider, usize::try_from(tries).unwrap()).await.len(),
            usize::try_from(tries).unwrap()
        );
        put_off(&service, tries).await;
    }
    service.clock.advance(Duration::hours(25));
    service.broker().sweep_flows().await.unwrap();
    no_job(&service).await;
    assert_eq!(provider.requests().len(), 1 + 3);
    assert_eq!(recorded(&service).await, ["grant.revocation_failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_argued_with() {
    for (status, answer) in
        [(400, json!({"error": "unsupported_token_type"})), (404, json!({})), (302, json!({}))]
    {
        let (service, provider, home) = stage(json!({})).await;
        provider.next(Answer::Json(status, answer));
        unlink(&service, &home).await;
        no_job(&service).await;
        assert_eq!(revoked(&provider, 1).await.len(), 1);
        assert_eq!(recorded(&service).await, ["grant.revocation_failed"], "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_tokens_that_a_change_of_hosts_erases_are_revoked_at_their_old_host_with_their_old_client() {
    let (service, provider, home) = stage(json!({})).await;
    let elsewhere = Provider::start().await;
    let moved = json!({
        "client_id": "mine", "client_secret": "my-own", "token_endpoint": format!("{}/token", elsewhere.url),
        "revocation_endpoint": format!("{}/revoke", elsewhere.url),
    });
    home.patch(&service, moved).await.expect(200);
    let asked = &revoked(&provider, 1).await[0].form;
    let sent = ["token", "client_id", "client_secret"].map(|name| asked[name].as_str());
    assert_eq!(sent, ["rt-1", "the-client", "the-secret"]);
    no_job(&service).await;
    assert_eq!(elsewhere.requests().len(), 0);

    home.link(&service).await;
    service.owner(Method::DELETE, "/api/plugins/acme", None).await.expect(204);
    service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configuration())).await.expect(201);
    let patch = json!({"client_id": null, "client_secret": null, "token_endpoint": null, "revocation_endpoint": null});
    home.patch(&service, patch).await.expect(200);
    assert_eq!(revoked(&elsewhere, 1).await[0].form["client_id"], "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_consent_or_an_import_revokes_nothing() {
    let (service, provider, home) = stage(json!({})).await;
    provider.next(Answer::Json(200, json!({"access_token": "at-2", "refresh_token": "rt-2"})));
    home.link(&service).await;
    let tokens = json!({"access_token": "at-home"});
    home.call(&service, Method::PUT, &home.at("/tokens"), Some(tokens)).await.expect(204);
    assert_eq!(service.database.count(JOBS).await, 0, "many providers would end the new grant with the old");
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_keeps_itself_cannot_be_revoked_from_here() {
    let (service, provider, home) = stage(json!({"custody": "device"})).await;
    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    unlink(&service, &home).await;
    assert_eq!(service.database.count(JOBS).await, 0);
    home.link(&service).await;
    unlink(&service, &home).await;
    assert_eq!(revoked(&provider, 1).await[0].form["token"], "rt-1", "what it has not acknowledged can");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_revokes() {
    let (service, provider, home) = stage(json!({})).await;
    let other = service.replica().await;
    // Whoever leases first waits in the middle of it.
    let hold = Hold::on(&service, "update", "revocation_jobs").await;
    unlink(&service, &home).await;
    hold.caught("lease_due_revocations").await;
    other.broker().sweep_flows().await.unwrap();
    hold.release().await;
    revoked(&provider, 1).await;
    no_job(&service).await;
    assert_eq!(revoked(&provider, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_unlink_and_the_revocation_loses_neither() {
    let (service, provider, home) = stage(json!({})).await;
    let process = Process::start(&service, &[]).await;
    // The unlink is committed; the process dies before the job is leased, or while it is.
    let hold = Hold::on(&service, "update", "revocation_jobs").await;
    unlink(&process.service, &home).await;
    process.kill().await;
    hold.discard().await;
    assert_eq!(home.show(&service).await["status"], "unlinked");
    service.clock.advance(Duration::minutes(2));
    service.broker().sweep_flows().await.unwrap();
    assert_eq!(revoked(&provider, 1).await[0].form["token"], "rt-1");
    no_job(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_cannot_be_read_are_erased_all_the_same() {
    let (service, provider, home) = stage(json!({})).await;
    service.database.pool.execute("update grants set tokens = set_byte(tokens, 40, 7)").await.unwrap();
    unlink(&service, &home).await;
    assert_eq!(home.show(&service).await["status"], "unlinked");
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_a_job_that_cannot_be_read_ends() {
    let (service, provider, home) = stage(json!({})).await;
    provider.next(Answer::After(Period::from_millis(1), 503, json!({})));
    unlink(&service, &home).await;
    revoked(&provider, 1).await;
    put_off(&service, 1).await;
    service
        .database
        .pool
        .execute("update revocation_jobs set tokens = set_byte(tokens, 40, 7)")
        .await
        .unwrap();
    service.clock.advance(Duration::minutes(3));
    service.broker().sweep_flows().await.unwrap();
    no_job(&service).await;
    assert_eq!(revoked(&provider, 1).await.len(), 1);
}
