//! Custody `device`: the plugin keeps its tokens, and the broker forgets them once it has said that it has them.

use cloudlink::domain::{
    ids::{DeviceId, SlotAddress, Version},
    slot::Ack,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, DatabaseLink, Hold, Home, Provider, Service, until},
    races::{consent, two_replicas},
};

const HELD: &str = "select count(*) from grants";

async fn own_keeper() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol_with(&service, &provider, json!({"custody": "device"})).await;
    (service, provider, home)
}

async fn token(service: &Service, home: &Home) -> (u16, Value) {
    let reply = home.call(service, Method::GET, &home.at("/token"), None).await;
    (reply.status, reply.json["code"].clone())
}

fn address(home: &Home) -> SlotAddress {
    SlotAddress { device: DeviceId(home.device.parse().unwrap()), slot: home.slot.parse().unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_the_plugins_once_it_has_acknowledged_them() {
    let (service, _provider, home) = own_keeper().await;
    home.link(&service).await;
    let mut relay = home.relay(&service).await;
    let event = relay.event("oauth", None).await;
    assert_eq!(event["data"]["refresh_token"], "rt-1", "the real set");
    assert_eq!(service.database.count(HELD).await, 1, "kept until it has arrived");
    assert_eq!(token(&service, &home).await.0, 200);

    relay.ack(&event).await;
    assert!(relay.told_so_far().await.is_empty(), "an ack is no news");
    assert_eq!(service.database.count(HELD).await, 0);
    assert_eq!(token(&service, &home).await, (409, json!("tokens_with_device")));
    let slot = home.show(&service).await;
    assert_eq!(
        (&slot["status"], &slot["expiry"], &slot["version"]),
        (&json!("linked"), &json!(null), &json!(2))
    );

    assert_eq!(home.told_at_first(&service).await, ["heating 2 customns/oauth"], "a new connection");
    assert_eq!(home.poll(&service, "wait=0").await.status, 204);
    let all = home.poll(&service, "state=all").await.expect(200);
    assert_eq!(crate::harness::frames::events_in_words(&all), ["heating 2 customns/oauth"]);
    let configuration = &all["events"][0]["data"];
    assert!(configuration["token_endpoint"].as_str().unwrap().ends_with("/api/cloudlink/token"));
    assert!(configuration["client_secret"].is_string(), "the slot's credentials, as under broker custody");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_comes_while_the_database_is_away_hands_the_tokens_over_when_it_is_back() {
    let (direct, _provider, home) = own_keeper().await;
    home.link(&direct).await;
    let link = DatabaseLink::to(&direct).await;
    let behind = [("DATABASE__URL", link.url.as_str()), ("RELAY__HEARTBEAT_SECONDS", "5")];
    let service = direct.replica_with(&behind).await;
    let mut relay = home.relay(&service).await;
    let event = relay.event("oauth", None).await;
    link.cut();
    relay.ack(&event).await;
    assert!(relay.told_so_far().await.is_empty(), "it was tried, and the connection stands");
    assert_eq!(direct.database.count(HELD).await, 1);
    link.mend();
    until("the ack", async || (direct.database.count(HELD).await == 0).then_some(())).await;
    assert!(relay.told_so_far().await.is_empty(), "over the same connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_covers_no_tokens_hands_none_over() {
    let (service, _provider, home) = own_keeper().await;
    home.link(&service).await;
    for version in [0, 1, 3, 99] {
        assert_eq!(home.ack(&service, "heating", version).await, 204);
        assert_eq!(service.database.count(HELD).await, 1, "{version}");
    }
    assert_eq!(home.told_at_first(&service).await, ["heating 1 customns/oauth", "heating 2 oauth"]);
    home.patch(&service, json!({"scope": "a"})).await.expect(200);
    assert_eq!(home.ack(&service, "heating", 3).await, 204, "a later version covers the tokens' own");
    assert_eq!(service.database.count(HELD).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_broker_custody_an_ack_erases_nothing() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    assert_eq!(token(&service, &home).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_of_old_tokens_leaves_those_of_a_consent_that_comes_at_the_same_time() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol_with(&one, &provider, json!({"custody": "device"})).await;
    home.link(&one).await;
    let (_, mut browser, sent) = consent(&one, &home).await;
    provider.next(Answer::Json(200, json!({"access_token": "at-2", "refresh_token": "rt-2"})));
    // The consent holds the slot, and has its tokens half stored.
    let hold = Hold::on(&one, "insert or update", "grants").await;
    let callback = browser.callback(&one, &sent, &[("code", "b-code")]);
    let ack = async {
        hold.caught("store_consent").await;
        let store = other.broker().store.clone();
        let address = address(&home);
        let ack = tokio::spawn(async move { store.ack(&address, Version(2)).await });
        hold.blocked("ack").await;
        hold.release().await;
        assert_eq!(ack.await.unwrap().unwrap(), Ack::Advanced);
    };
    let (page, ()) = tokio::join!(callback, ack);
    assert_eq!(page.status, 303);
    assert_eq!(home.access_token(&one).await.as_deref(), Some("at-2"), "it is still to be told");
    assert_eq!(home.ack(&one, "heating", 3).await, 204);
    assert_eq!(one.database.count(HELD).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_change_hands_are_told_anew_as_the_new_keeper_has_them() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let mut relay = home.relay(&service).await;
    let consent = relay.event("oauth", None).await;
    let handle = consent["data"]["refresh_token"].clone();
    assert!(handle.as_str().unwrap().starts_with("clh_"));
    relay.ack(&consent).await;

    home.patch(&service, json!({"custody": "device"})).await.expect(200);
    let tokens = relay.event("customns", Some("oauthTokens")).await;
    assert_eq!((&tokens["version"], &tokens["data"]["refresh_token"]), (&json!(3), &json!("rt-1")));
    assert_eq!(service.database.count(HELD).await, 1);

    // Back before it was acknowledged: the broker has them still.
    home.patch(&service, json!({"custody": null})).await.expect(200);
    let tokens = relay.event("customns", Some("oauthTokens")).await;
    assert_eq!((&tokens["version"], &tokens["data"]["refresh_token"]), (&json!(4), &handle));
    relay.ack(&tokens).await;
    relay.told_so_far().await;
    assert_eq!(token(&service, &home).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_keeps_cant_be_taken_back_so_its_user_must_link_again() {
    let (service, _provider, home) = own_keeper().await;
    home.link(&service).await;
    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    let mut relay = home.relay(&service).await;
    relay.told_so_far().await;
    home.patch(&service, json!({"custody": "broker"})).await.expect(200);
    let event = relay.event("reauthorize", None).await;
    assert_eq!((&event["version"], &event["data"]["reason"]), (&json!(3), &json!("custody_changed")));
    assert_eq!(home.show(&service).await["status"], "reauthorize");
    assert_eq!(token(&service, &home).await, (409, json!("authorization_required")));
    home.link(&service).await;
    assert_eq!(token(&service, &home).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_and_a_change_of_custody_at_once_leave_no_link_without_tokens() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol_with(&one, &provider, json!({"custody": "device"})).await;
    home.link(&one).await;
    // The ack holds the slot, and has the tokens half erased.
    let hold = Hold::on(&one, "delete", "grants").await;
    let store = one.broker().store.clone();
    let slot = address(&home);
    let ack = tokio::spawn(async move { store.ack(&slot, Version(2)).await });
    hold.caught("ack").await;
    let change = home.patch(&other, json!({"custody": "broker"}));
    let release = async {
        hold.blocked("reconfigure_slot").await;
        hold.release().await;
    };
    let (changed, ()) = tokio::join!(change, release);
    changed.expect(200);
    assert_eq!(ack.await.unwrap().unwrap(), Ack::Advanced);
    assert_eq!(one.database.count(HELD).await, 0);
    assert_eq!(home.show(&one).await["status"], "reauthorize");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_being_refreshed_when_the_custody_changes_are_handed_over_fresh() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let told = std::sync::Arc::new(tokio::sync::Notify::new());
    let fresh = json!({"access_token": "at-2", "refresh_token": "rt-2", "expires_in": 3600});
    provider.next(Answer::Held(std::sync::Arc::clone(&told), 200, fresh));
    let path = home.at("/refresh");
    let refreshing = home.call(&service, Method::POST, &path, None);
    let changing = async {
        provider.asked(2).await;
        home.patch(&service, json!({"custody": "device"})).await.expect(200);
        assert_eq!(home.ack(&service, "heating", 3).await, 204);
        assert_eq!(service.database.count(HELD).await, 1, "its refresh token may be spent already");
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(refreshing, changing);
    assert_eq!(reply.expect(200)["access_token"], "at-2");
    let all = home.poll(&service, "state=all").await.expect(200);
    let tokens = &all["events"][1];
    assert_eq!((&tokens["version"], &tokens["data"]["refresh_token"]), (&json!(4), &json!("rt-2")));
    assert_eq!(home.ack(&service, "heating", 4).await, 204);
    until("the hand-over", async || {
        service.broker().forget_what_is_over().await.unwrap();
        (service.database.count(HELD).await == 0).then_some(())
    })
    .await;
}
