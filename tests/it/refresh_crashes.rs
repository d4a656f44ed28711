//! `kill -9` around a refresh, at a provider whose refresh tokens are good once and that ends the grant when one is
//! used twice. Whatever the moment: afterwards the slot works, or it asks for its user; nothing spent looks alive.
//!
//! The process that dies is the real binary. Time passes for the replica that survives, whose clock the test moves.
//! `CLOUDLINK_CRASH_ROUNDS` says how often each is done, once if it is not set.

use std::sync::Arc;

use cloudlink::domain::ids::SlotAddress;
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;
use tokio::sync::Notify;

use crate::harness::{Answer, Hold, Home, Process, Provider, Rotation, Service, until};

/// Nothing is refreshed but on demand.
const ON_DEMAND: (&str, &str) = ("REFRESH__CONCURRENCY", "0");
/// More than a lease lasts.
const LONG_ENOUGH: Duration = Duration::seconds(61);

fn rounds() -> u32 {
    std::env::var("CLOUDLINK_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// A linked slot, two replicas that survive, and a process beside them.
struct Scene {
    service: Service,
    other: Service,
    provider: Provider,
    rotation: Rotation,
    home: Home,
    process: Process,
}

impl Scene {
    async fn set() -> Self {
        let (service, (provider, rotation)) = (Service::with(&[ON_DEMAND]).await, Rotation::provider().await);
        let other = service.replica().await;
        let home = Home::enrol(&service, &provider).await;
        home.link(&service).await;
        let process = Process::start(&service, &[]).await;
        Self { service, other, provider, rotation, home, process }
    }

    /// The process is asked to refresh, and will not live to tell.
    async fn refresh_there(&self) {
        let token = self.home.token(&self.process.service).await;
        let path = self.home.at("/refresh");
        tokio::spawn(self.process.service.request(Method::POST, &path).bearer_auth(token).send());
    }

    /// The process dies; those who survive look when its lease is over.
    async fn survive(self) -> Survived {
        self.survive_with(None).await
    }

    /// The same, while a statement of the process is held.
    async fn survive_with(self, hold: Option<Hold>) -> Survived {
        self.process.kill().await;
        if let Some(hold) = hold {
            hold.discard().await;
        }
        let before = self.provider.requests().len();
        let early = self.home.get_token(&self.service).await.expect(200);
        assert_eq!(self.provider.requests().len(), before, "it may still be alive");
        self.service.clock.advance(LONG_ENOUGH);
        let engines = [("REFRESH__CONCURRENCY", "4")];
        let (one, two) = (self.service.replica_with(&engines).await, self.other.replica_with(&engines).await);
        Survived {
            early,
            before,
            provider: self.provider,
            rotation: self.rotation,
            home: self.home,
            service: self.service,
            _engines: [one, two],
        }
    }
}

struct Survived {
    /// The token while the lease of the dead process lasted.
    early: Value,
    /// Requests to the provider by then.
    before: usize,
    service: Service,
    provider: Provider,
    rotation: Rotation,
    home: Home,
    _engines: [Service; 2],
}

impl Survived {
    /// The slot works with newer tokens, which are good at the provider.
    async fn works(&self) {
        let newest = format!("at-{}", self.rotation.issued());
        until("the newest token", async || {
            (self.home.get_token(&self.service).await.expect(200)["access_token"] == newest).then_some(())
        })
        .await;
        let next = self.home.refresh(&self.service).await.expect(200);
        assert_eq!(next["access_token"], format!("at-{}", self.rotation.issued()));
        assert!(!self.rotation.reused(), "no spent token was sent");
    }

    /// The slot asks for its user, after one further attempt with the token that turned out to be spent.
    async fn asks_for_its_user(&self) {
        until("reauthorize", async || {
            (self.home.show(&self.service).await["status"] == "reauthorize").then_some(())
        })
        .await;
        assert_eq!(self.provider.requests().len(), self.before + 1);
        assert_eq!(self.home.get_token(&self.service).await.status, 409);
        assert_eq!(self.service.audited("grant.ended").await, [json!("invalid_grant")]);
        assert_eq!(self.service.database.count("select count(*) from grants").await, 0);
        self.home.link(&self.service).await;
        self.works().await;
    }

    /// Nothing was refreshed since the consent.
    fn still_has_the_first(&self) {
        assert_eq!(self.early["access_token"], "at-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_killed_before_its_lease_is_committed_a_refresh_has_never_been() {
    for _ in 0..rounds() {
        let scene = Scene::set().await;
        let hold = Hold::on(&scene.service, "update", "grants").await;
        scene.refresh_there().await;
        hold.caught("lease_refresh").await;
        let survived = scene.survive_with(Some(hold)).await;
        survived.still_has_the_first();
        assert_eq!(survived.before, 1);
        survived.works().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_killed_between_its_lease_and_its_request_a_refresh_is_made_by_another() {
    for _ in 0..rounds() {
        let scene = Scene::set().await;
        // What a process leaves behind that dies there.
        let (device, slot) = (scene.home.device.parse().unwrap(), scene.home.slot.parse().unwrap());
        let address = SlotAddress { device, slot };
        let store = &scene.service.broker().store;
        let now = scene.service.now();
        let grant = store.find_grant(&address, now).await.unwrap().unwrap().grant;
        let seen = grant.unwrap().fence;
        assert!(store.lease_refresh(&address, seen, now).await.unwrap().is_some());
        let survived = scene.survive().await;
        survived.still_has_the_first();
        survived.provider.asked(2).await;
        survived.works().await;
        assert_eq!(survived.provider.requests()[1].form["refresh_token"], "rt-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_killed_before_the_provider_has_decided_a_refresh_is_made_by_another_with_the_same_token() {
    for _ in 0..rounds() {
        let scene = Scene::set().await;
        scene.provider.next(Answer::Silence);
        scene.refresh_there().await;
        scene.provider.asked(2).await;
        let survived = scene.survive().await;
        survived.still_has_the_first();
        survived.provider.asked(3).await;
        survived.works().await;
        let asked = survived.provider.requests();
        assert_eq!((&asked[1].form, asked.len()), (&asked[2].form, 4), "once more, and once by works()");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_killed_while_the_answer_is_on_its_way_a_refresh_is_tried_once_more_and_then_asks_for_its_user() {
    for _ in 0..rounds() {
        let scene = Scene::set().await;
        scene.provider.next(Answer::Lost(scene.rotation.judge()));
        scene.refresh_there().await;
        scene.provider.asked(2).await;
        let survived = scene.survive().await;
        survived.still_has_the_first();
        survived.asks_for_its_user().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_killed_between_the_answer_and_its_commit_a_refresh_is_tried_once_more_and_then_asks_for_its_user()
 {
    for _ in 0..rounds() {
        let scene = Scene::set().await;
        let hold = Hold::on(&scene.service, "update", "slots").await;
        scene.refresh_there().await;
        hold.caught("store_refresh").await;
        let survived = scene.survive_with(Some(hold)).await;
        survived.still_has_the_first();
        survived.asks_for_its_user().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_killed_between_the_commit_and_the_knock_a_refresh_is_whole() {
    for _ in 0..rounds() {
        let settings = [ON_DEMAND, ("RELAY__POLL_SECONDS", "1")];
        let (service, (provider, rotation)) = (Service::with(&settings).await, Rotation::provider().await);
        let home = Home::enrol(&service, &provider).await;
        home.link(&service).await;
        let hold = Hold::on_knocks(&service).await;
        let process = Process::start(&service, &[]).await;
        let mut relay = home.relay(&service).await;
        relay.event("oauth", None).await;
        let token = home.token(&process.service).await;
        let request = process.service.request(Method::POST, &home.at("/refresh")).bearer_auth(token);
        tokio::spawn(request.send());
        hold.caught("notify").await;
        process.kill().await;
        hold.discard().await;
        let told = relay.event("oauth", None).await;
        assert_eq!(told["data"]["access_token"], "at-2", "the slow poll finds it");
        assert_eq!(home.refresh(&service).await.expect(200)["access_token"], "at-3");
        assert!(!rotation.reused());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_stop_finishes_the_refresh_that_it_began() {
    let scene = Scene::set().await;
    let told = Arc::new(Notify::new());
    scene.provider.next(Answer::JudgedLater(Arc::clone(&told), scene.rotation.judge()));
    scene.refresh_there().await;
    scene.provider.asked(2).await;
    scene.process.terminate();
    scene.process.logs("draining").await;
    told.notify_one();
    let (status, log) = scene.process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(scene.home.get_token(&scene.service).await.expect(200)["access_token"], "at-2");
    assert!(!scene.rotation.reused());
}
