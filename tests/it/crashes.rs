//! `kill -9` in the middle of the main job: what a dead process leaves behind is taken up, once, by another.
//!
//! The process that dies is the real binary. Time passes for the replica that survives, whose clock the test moves.

use serde_json::{Value, json};
use time::Duration;

use crate::harness::{Answer, Browser, Hold, Home, Process, Provider, Service, until};

/// More than an exchange may take, so that who has not ended by then is dead.
const LONG_ENOUGH: Duration = Duration::seconds(41);

/// A service, a process beside it, and a consent whose callback has not been made.
struct Scene {
    service: Service,
    provider: Provider,
    home: Home,
    connection: Value,
    browser: Browser,
    callback: String,
}

impl Scene {
    async fn set(settings: &[(&str, &str)]) -> Self {
        let (service, provider) = (Service::with(settings).await, Provider::start().await);
        let home = Home::enrol(&service, &provider).await;
        let connection = home.connect(&service).await;
        let mut browser = Browser::default();
        let sent = browser.consent(&service, connection["connect_url"].as_str().unwrap()).await;
        Self { callback: sent.callback(&[("code", "a-code")]), service, provider, home, connection, browser }
    }

    /// The callback comes to `process`, which will not live to answer it.
    fn call_back(&self, process: &Process) {
        let request = process.service.request(reqwest::Method::GET, &self.callback_path());
        let request = request.header("cookie", self.browser.cookie.clone().unwrap());
        tokio::spawn(request.send());
    }

    fn callback_path(&self) -> String {
        self.callback.strip_prefix(crate::harness::PUBLIC).unwrap().to_owned()
    }

    async fn status(&self) -> Value {
        self.home.flow(&self.service, &self.connection).await
    }

    async fn sweep(&self) {
        self.service.broker().sweep_flows().await.unwrap();
    }

    async fn ended(&self, status: &str) {
        until(status, async || (self.status().await["status"] == status).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_whose_process_is_killed_is_taken_over_once_and_links() {
    let scene = Scene::set(&[]).await;
    let process = Process::start(&scene.service, &[]).await;
    scene.provider.next(Answer::Silence);
    scene.call_back(&process);
    scene.provider.asked(1).await;
    process.kill().await;

    scene.sweep().await;
    assert_eq!(scene.status().await["status"], "exchanging", "it may still be alive");
    scene.service.clock.advance(LONG_ENOUGH);
    let other = scene.service.replica().await;
    let (one, two) = (scene.service.broker(), other.broker());
    let rounds = tokio::join!(one.sweep_flows(), two.sweep_flows(), one.sweep_flows(), two.sweep_flows());
    assert!(matches!(rounds, (Ok(()), Ok(()), Ok(()), Ok(()))), "{rounds:?}");
    scene.ended("linked").await;

    let asked = scene.provider.requests();
    assert_eq!(asked.len(), 2, "the one that died, and one further attempt");
    assert_eq!(asked[0].form, asked[1].form, "the second is the first again, verifier and all");
    let mut relay = scene.home.relay(&other).await;
    assert_eq!(relay.event("oauth", None).await["data"]["access_token"], "at-1");
    let page = scene.browser.clone().open(&scene.service, &scene.callback).await;
    assert_eq!(page.status, 303, "the same callback leads to the result");
    assert_eq!(scene.provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_comes_back_takes_its_own_exchange_over() {
    let scene = Scene::set(&[]).await;
    let process = Process::start(&scene.service, &[]).await;
    scene.provider.next(Answer::Silence);
    scene.call_back(&process);
    scene.provider.asked(1).await;
    process.kill().await;
    let long_ago = "update flows set exchange_started_at = exchange_started_at - interval '41 seconds'";
    sqlx::Executor::execute(&scene.service.database.pool, long_ago).await.unwrap();

    let again = Process::start(&scene.service, &[]).await;
    scene.ended("linked").await;
    assert_eq!(scene.provider.requests().len(), 2);
    assert_eq!(scene.home.poll(&again.service, "wait=0").await.expect(200)["events"][1]["event"], "oauth");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_killed_between_the_answer_and_the_store_is_made_again_and_no_third_time() {
    let scene = Scene::set(&[]).await;
    let process = Process::start(&scene.service, &[]).await;
    let hold = Hold::on(&scene.service, "insert", "grants").await;
    scene.call_back(&process);
    hold.caught("store_consent").await;
    process.kill().await;
    hold.discard().await;
    assert_eq!(scene.home.show(&scene.service).await["version"], 1, "nothing is half stored");

    // A provider that takes a code once.
    scene.provider.always(Answer::Json(400, json!({"error": "invalid_grant"})));
    scene.service.clock.advance(LONG_ENOUGH);
    scene.sweep().await;
    scene.ended("failed").await;
    assert_eq!(scene.status().await["error"], "exchange_failed");
    scene.service.clock.advance(LONG_ENOUGH);
    scene.sweep().await;
    assert_eq!(scene.provider.requests().len(), 2);
    assert_eq!(scene.home.show(&scene.service).await["status"], "unlinked");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_left_behind_twice_is_given_up() {
    let scene = Scene::set(&[]).await;
    for attempt in 1..=2 {
        let process = Process::start(&scene.service, &[]).await;
        scene.provider.next(Answer::Silence);
        if attempt == 1 {
            scene.call_back(&process);
        }
        scene.provider.asked(attempt).await;
        process.kill().await;
        let long_ago = "update flows set exchange_started_at = exchange_started_at - interval '41 seconds'";
        sqlx::Executor::execute(&scene.service.database.pool, long_ago).await.unwrap();
        if attempt == 2 {
            scene.sweep().await;
        }
    }
    assert_eq!(scene.status().await, json!({"status": "failed", "error": "exchange_failed"}));
    assert_eq!(scene.provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_too_old_to_be_good_is_not_sent_again() {
    let scene = Scene::set(&[]).await;
    let process = Process::start(&scene.service, &[]).await;
    scene.provider.next(Answer::Silence);
    scene.call_back(&process);
    scene.provider.asked(1).await;
    process.kill().await;
    scene.service.clock.advance(Duration::minutes(11));
    scene.sweep().await;
    assert_eq!(scene.status().await, json!({"status": "failed", "error": "exchange_failed"}));
    assert_eq!(scene.provider.requests().len(), 1);
    let page =
        scene.browser.clone().open(&scene.service, scene.connection["connect_url"].as_str().unwrap()).await;
    assert!(page.html.contains("once more"), "{}", page.html);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_before_the_knock_still_reaches_the_plugin() {
    let scene = Scene::set(&[("RELAY__POLL_SECONDS", "1")]).await;
    let hold = Hold::on_knocks(&scene.service).await;
    let process = Process::start(&scene.service, &[]).await;
    let mut relay = scene.home.relay(&scene.service).await;
    relay.event("customns", Some("oauth")).await;
    scene.call_back(&process);
    hold.caught("notify").await;
    process.kill().await;
    hold.discard().await;
    assert_eq!(relay.event("oauth", None).await["data"]["access_token"], "at-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_relay_died_before_the_ack_comes_again_as_a_consent() {
    let scene = Scene::set(&[]).await;
    let process = Process::start(&scene.service, &[]).await;
    let mut relay = scene.home.relay(&process.service).await;
    relay.event("customns", Some("oauth")).await;
    let after = scene.browser.clone().open(&scene.service, &scene.callback).await;
    assert_eq!(after.status, 303);
    let first = relay.event("oauth", None).await;
    process.kill().await;
    assert_eq!(relay.next().await["close"], Value::Null, "the process is gone");

    let mut relay = scene.home.relay(&scene.service).await;
    let again = relay.event("oauth", None).await;
    assert_eq!((&again["version"], &again["data"]["access_token"]), (&first["version"], &json!("at-1")));
}
