//! A refresh is under way while something else happens to its slot: what is newer wins, and nobody refreshes twice.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::{collections::BTreeSet, sync::Arc};

use cloudlink::{
    domain::ids::{DeviceId, SlotAddress},
    store::Leased,
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;
use time::{Duration, OffsetDateTime};
use tokio::{sync::Notify, task::JoinHandle};

use crate::harness::{Answer, DatabaseLink, Hold, Home, Provider, Reply, Rotation, Service, until};

/// Nothing is refreshed but on demand.
const ON_DEMAND: &[(&str, &str)] = &[("REFRESH__CONCURRENCY", "0")];

/// A linked slot, and a refresh whose answer the provider holds back.
struct Scene {
    one: Service,
    other: Service,
    provider: Provider,
    rotation: Rotation,
    home: Home,
    told: Arc<Notify>,
    waiting: JoinHandle<Reply>,
}

impl Scene {
    async fn set() -> Self {
        let late = json!({"access_token": "at-late", "refresh_token": "rt-late", "expires_in": 3600});
        Self::answering(200, late).await
    }

    async fn failing() -> Self {
        Self::answering(500, json!({})).await
    }

    async fn answering(status: u16, late: Value) -> Self {
        let (one, (provider, rotation)) = (Service::with(ON_DEMAND).await, Rotation::provider().await);
        let other = one.replica().await;
        let home = Home::enrol(&one, &provider).await;
        home.link(&one).await;
        let told = Arc::new(Notify::new());
        provider.next(Answer::Held(Arc::clone(&told), status, late));
        let token = home.token(&one).await;
        let request = one.request(Method::POST, &home.at("/refresh")).bearer_auth(token);
        let waiting = tokio::spawn(Reply::of(request));
        provider.asked(2).await;
        Self { one, other, provider, rotation, home, told, waiting }
    }

    /// Somebody wants a new token on the other replica too: found waiting.
    async fn join(&self) -> JoinHandle<Reply> {
        let token = self.home.token(&self.other).await;
        let before: OffsetDateTime = self.clock().await;
        let request = self.other.request(Method::POST, &self.home.at("/refresh")).bearer_auth(token);
        let joined = tokio::spawn(Reply::of(request));
        let looks = "select exists (select 1 from pg_stat_activity where datname = current_database()
            and query like '-- find_grant%' and query_start > $1 and state = 'idle')";
        until("the look at the grant", async || {
            let looked: bool =
                sqlx::query_scalar(looks).bind(before).fetch_one(&self.one.database.pool).await.unwrap();
            looked.then_some(())
        })
        .await;
        joined
    }

    async fn clock(&self) -> OffsetDateTime {
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.one.database.pool).await.unwrap()
    }

    /// Lets the provider answer, and waits for what the caller is told.
    async fn answered(&mut self) -> u16 {
        self.told.notify_one();
        (&mut self.waiting).await.unwrap().status
    }

    /// Nothing of the late answer is anywhere.
    async fn is_without_the_late_tokens(&self) {
        let open = "select count(*) from grants where refresh_lease_until is not null";
        until("the end of the lease", async || (self.one.database.count(open).await == 0).then_some(()))
            .await;
        let all = self.home.poll(&self.one, "state=all").await;
        assert!(!all.text.contains("at-late"), "{}", all.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_new_consent_during_a_refresh_wins() {
    let mut scene = Scene::set().await;
    scene.home.link(&scene.other).await;
    let version = scene.home.show(&scene.one).await["version"].clone();
    assert_eq!(scene.answered().await, 200);
    scene.is_without_the_late_tokens().await;
    assert_eq!(scene.home.get_token(&scene.one).await.expect(200)["access_token"], "at-2");
    assert_eq!(scene.home.show(&scene.one).await["version"], version);
    assert_eq!(scene.home.refresh(&scene.other).await.expect(200)["access_token"], "at-3");
    assert_eq!(scene.provider.requests().last().unwrap().form["refresh_token"], "rt-2");
    assert!(!scene.rotation.reused());
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_a_slot_pointed_elsewhere_during_a_refresh_keeps_nothing_and_the_new_host_gets_nothing() {
    let mut scene = Scene::set().await;
    let elsewhere = Provider::start().await;
    scene.home.install_store(&scene.other, "acme", elsewhere.configuration()).await;
    assert_eq!(scene.answered().await, 409);
    scene.is_without_the_late_tokens().await;
    assert_eq!(scene.home.show(&scene.one).await["status"], "unlinked");
    assert_eq!(scene.home.refresh(&scene.one).await.status, 409);
    assert!(elsewhere.requests().is_empty());
    assert_eq!(scene.one.database.count("select count(*) from grants").await, 0);
    // A grant of the same address that is given meanwhile is another one.
    scene.home.link(&scene.one).await;
    assert_eq!(elsewhere.requests()[0].form["grant_type"], "authorization_code");
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_slot_pointed_elsewhere_and_linked_there_during_a_refresh_keeps_its_new_tokens() {
    let mut scene = Scene::set().await;
    let elsewhere = Provider::start().await;
    scene.home.install_store(&scene.other, "acme", elsewhere.configuration()).await;
    let new = json!({"access_token": "at-new", "refresh_token": "rt-new", "expires_in": 3600});
    elsewhere.always(Answer::Json(200, new));
    scene.home.link(&scene.other).await;
    // Whoever refreshes the new grant has a number that the late one never had.
    assert_eq!(scene.home.refresh(&scene.other).await.expect(200)["access_token"], "at-new");
    assert_eq!(scene.answered().await, 200);
    scene.is_without_the_late_tokens().await;
    assert_eq!(scene.home.get_token(&scene.one).await.expect(200)["access_token"], "at-new");
    assert_eq!(elsewhere.requests().last().unwrap().form["refresh_token"], "rt-new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_or_its_device_deleted_during_a_refresh_stays_deleted() {
    for device in [false, true] {
        let mut scene = Scene::set().await;
        let path = if device { format!("/api/devices/{}", scene.home.device) } else { scene.home.at("") };
        scene.other.owner(Method::DELETE, &path, None).await.expect(204);
        assert_eq!(scene.answered().await, 404);
        assert_eq!(scene.one.database.count("select count(*) from grants").await, 0);
        assert_eq!(scene.one.database.count("select count(*) from slots").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_a_commit_at_once_do_not_wait_for_each_other_in_a_ring() {
    let mut scene = Scene::set().await;
    let hold = Hold::on(&scene.one, "update", "slots").await;
    scene.told.notify_one();
    hold.caught("store_refresh").await;
    let path = scene.home.at("");
    let deleting = scene.other.owner(Method::DELETE, &path, None);
    let release = async {
        hold.blocked("hold_slot").await;
        hold.release().await;
    };
    let (deleted, ()) = tokio::join!(deleting, release);
    assert_eq!(deleted.status, 204);
    assert!(matches!((&mut scene.waiting).await.unwrap().status, 200 | 404));
    assert_eq!(scene.one.database.count("select count(*) from grants").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_changes_during_a_refresh_is_looked_at_after_it() {
    let mut scene = Scene::set().await;
    let margin = Some(json!({"refresh_margin": 1000}));
    scene.home.call(&scene.other, Method::PATCH, &scene.home.at("/oauth"), margin).await.expect(200);
    assert_eq!(scene.answered().await, 200, "the same client at the same host");
    assert_eq!(scene.home.get_token(&scene.one).await.expect(200)["access_token"], "at-late");
    let now = "select count(*) from grants where refresh_at = refresh_set_at";
    assert_eq!(scene.one.database.count(now).await, 1, "somebody looks again at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_what_is_due_is_leased_by_one_replica_alone() {
    let (one, provider) = (Service::with(ON_DEMAND).await, Provider::start().await);
    let other = one.replica().await;
    let home = Home::enrol(&one, &provider).await;
    for number in 0..12 {
        let slot = home.beside(&format!("slot-{number}"));
        slot.install(&one, "acme", json!({})).await.expect(201);
        slot.link(&one).await;
    }
    one.clock.advance(Duration::seconds(3500));
    let now = one.now();
    let (a, b) = (&one.broker().store, &other.broker().store);
    let (mut leases, mut rounds) = (Vec::new(), 0);
    while leases.len() < 12 && rounds < 20 {
        let (first, second, third, fourth) = tokio::join!(
            a.lease_due_refreshes(&[], 3, now),
            b.lease_due_refreshes(&[], 3, now),
            a.lease_due_refreshes(&[], 3, now),
            b.lease_due_refreshes(&[], 3, now)
        );
        for batch in [first, second, third, fourth] {
            leases.extend(batch.unwrap().into_iter().map(|leased: Leased| leased.unwrap().lease));
        }
        rounds += 1;
    }
    let slots: BTreeSet<SlotAddress> = leases.iter().map(|lease| lease.address.clone()).collect();
    let fences: BTreeSet<i64> = leases.iter().map(|lease| lease.fence).collect();
    assert_eq!((leases.len(), slots.len(), fences.len()), (12, 12, 12));
    assert!(a.lease_due_refreshes(&[], 3, now).await.unwrap().is_empty());

    let device: DeviceId = home.device.parse().unwrap();
    let address = SlotAddress { device, slot: "slot-0".parse().unwrap() };
    let seen = leases.iter().find(|lease| lease.address == address).unwrap().fence;
    assert!(b.lease_refresh(&address, seen, now).await.unwrap().is_none(), "whoever wants it waits");
    let later = now + Duration::seconds(61);
    let (first, second) =
        tokio::join!(a.lease_refresh(&address, seen, later), b.lease_refresh(&address, seen, later));
    assert_eq!([first, second].into_iter().filter(|leased| leased.as_ref().unwrap().is_some()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_who_looked_before_a_refresh_and_asks_after_it_makes_no_other() {
    let mut scene = Scene::set().await;
    let (device, slot) = (scene.home.device.parse().unwrap(), scene.home.slot.parse().unwrap());
    let (address, store) = (SlotAddress { device, slot }, scene.other.broker().store.clone());
    let grant = store.find_grant(&address, scene.other.now()).await.unwrap().unwrap().grant;
    let grant = grant.unwrap();
    assert!(grant.leased);
    let before_it = grant.fence - 1;
    assert_eq!(scene.answered().await, 200);
    assert!(store.lease_refresh(&address, before_it, scene.other.now()).await.unwrap().is_none());
    assert!(store.lease_refresh(&address, grant.fence, scene.other.now()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_who_wants_a_token_on_another_replica_waits_for_the_refresh_there() {
    let mut scene = Scene::set().await;
    let joined = scene.join().await;
    assert_eq!(scene.answered().await, 200);
    assert_eq!(joined.await.unwrap().expect(200)["access_token"], "at-late");
    assert_eq!(scene.provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_who_waits_for_a_refresh_that_fails_does_not_make_another() {
    let mut scene = Scene::failing().await;
    let joined = scene.join().await;
    assert_eq!(scene.answered().await, 200, "the old one lasts");
    assert_eq!(joined.await.unwrap().expect(200)["access_token"], "at-1");
    assert_eq!(scene.provider.requests().len(), 2);
    assert_eq!(
        scene.home.refresh(&scene.other).await.expect(200)["access_token"],
        "at-2",
        "later it is tried again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_does_not_stop_the_refresh() {
    let scene = Scene::set().await;
    scene.waiting.abort();
    scene.told.notify_one();
    until("the new tokens", async || {
        (scene.home.get_token(&scene.other).await.expect(200)["access_token"] == "at-late").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_an_answer_that_comes_while_the_database_is_away_is_stored_when_it_is_back() {
    let (direct, (provider, rotation)) = (Service::with(ON_DEMAND).await, Rotation::provider().await);
    let home = Home::enrol(&direct, &provider).await;
    home.link(&direct).await;
    let link = DatabaseLink::to(&direct).await;
    let service = direct.replica_with(&[("DATABASE__URL", &link.url)]).await;
    let token = home.token(&service).await;
    let told = Arc::new(Notify::new());
    provider.next(Answer::JudgedLater(Arc::clone(&told), rotation.judge()));
    let request = service.request(Method::POST, &home.at("/refresh")).bearer_auth(token);
    tokio::spawn(request.send());
    provider.asked(2).await;
    link.cut();
    told.notify_one();
    until("the database to be missed", async || {
        let reply = Reply::of(service.request(Method::GET, "/readyz")).await;
        (reply.status == 503).then_some(())
    })
    .await;
    link.mend();
    until("the new tokens", async || {
        (home.get_token(&direct).await.expect(200)["access_token"] == "at-2").then_some(())
    })
    .await;
    assert_eq!(home.refresh(&direct).await.expect(200)["access_token"], "at-3");
    assert!(!rotation.reused());
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_a_grant_that_can_not_be_opened_is_put_off_and_delays_no_other() {
    let (service, (provider, _)) = (Service::start().await, Rotation::provider().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let garden = home.beside("garden");
    garden.install(&service, "acme", json!({})).await.expect(201);
    garden.link(&service).await;
    service.grants_are_scheduled().await;
    let swapped =
        "update grants set tokens = (select tokens from grants where slot = 'garden') where slot = 'heating'";
    service.database.pool.execute(swapped).await.unwrap();
    service.clock.advance(Duration::seconds(3500));
    provider.asked(3).await;
    let troubled = "select count(*) from grants where slot = 'heating' and refresh_trouble = 'configuration'";
    until("the owner to be told", async || (service.database.count(troubled).await == 1).then_some(())).await;
    // Asked is not yet stored; until then the old token is good.
    let refreshed = async || garden.get_token(&service).await.expect(200)["access_token"] == "at-3";
    until("the other grant's refresh", async || refreshed().await.then_some(())).await;
    assert_eq!(home.get_token(&service).await.status, 500);
}
