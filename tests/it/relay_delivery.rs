//! What a plugin is told over the relay, frame by frame: states in order, at least once, until acknowledged.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::harness::{
    Answer, Home, PUBLIC, Provider, Service,
    frames::{events_in_words, in_words},
    listeners::at_both_listeners,
    until,
};

at_both_listeners! {
    a_slots_life_is_told_state_by_state_and_only_the_last_frame_needs_an_ack
    the_events_hold_what_a_stock_oauth_library_needs_and_no_secret_of_the_provider
    a_token_without_an_end_and_a_token_past_its_end_have_a_positive_life
    h09_acks_that_are_foreign_future_or_repeated_change_nothing
    every_connection_of_a_device_is_told_and_a_slots_token_hears_its_slot_alone
    a_consent_on_one_replica_reaches_the_relay_of_another_with_the_bus_and_without
}

const OWN_CLIENT: &str = "another-client";

async fn a_slots_life_is_told_state_by_state_and_only_the_last_frame_needs_an_ack() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;

    // Never linked.
    assert_eq!(home.told_at_first(&service).await, ["heating 1 customns/oauth"]);
    let mut relay = home.relay(&service).await;
    assert_eq!(relay.told(1).await, ["heating 1 customns/oauth"]);

    // Linked; until somebody acknowledges, a new connection hears of a consent.
    home.link(&service).await;
    assert_eq!(relay.told(1).await, ["heating 2 oauth"]);
    let unacknowledged = ["heating 0 customns/oauth", "heating 2 oauth"];
    assert_eq!(home.told_at_first(&service).await, unacknowledged);
    assert_eq!(home.told_at_first(&service).await, unacknowledged);
    assert_eq!(home.ack(&service, "heating", 1).await, 204);
    assert_eq!(home.told_at_first(&service).await, ["heating 1 customns/oauth", "heating 2 oauth"]);
    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    assert_eq!(
        home.told_at_first(&service).await,
        ["heating 2 customns/oauth", "heating 2 customns/oauthTokens"]
    );

    // Changed by HTTP, then by the relay itself: open connections hear of the configuration alone.
    home.patch(&service, json!({"scope": "read"})).await.expect(200);
    assert_eq!(relay.told(1).await, ["heating 3 customns/oauth"]);
    relay.send(&json!({"type": "settings", "slot": "heating", "id": 7, "patch": {"scope": null}})).await;
    let mut frames = [relay.next().await, relay.next().await];
    frames.sort_by_key(|frame| frame["type"] == "event");
    assert_eq!(frames[0]["id"], 7);
    assert_eq!(frames[0]["ok"], true);
    assert_eq!(frames[0]["data"]["scope"], "read write");
    assert_eq!(frames[0]["data"]["client_secret"], "********");
    assert_eq!(in_words(&frames[1]), "heating 4 customns/oauth");
    assert_eq!(
        home.told_at_first(&service).await,
        ["heating 2 customns/oauth", "heating 4 customns/oauthTokens"]
    );

    // A consent again: the same handle.
    home.link(&service).await;
    assert_eq!(relay.told(1).await, ["heating 5 oauth"]);
    assert_eq!(home.ack(&service, "heating", 5).await, 204);

    // Another client: the tokens go in the same step.
    let patch = json!({"client_id": OWN_CLIENT, "client_secret": "its-secret"});
    home.patch(&service, patch).await.expect(200);
    let unlinked = ["heating 5 customns/oauth", "heating 6 unlinked"];
    assert_eq!(relay.told(2).await, unlinked);
    assert_eq!(home.told_at_first(&service).await, unlinked);
    assert_eq!(home.ack(&service, "heating", 6).await, 204);
    assert_eq!(home.told_at_first(&service).await, ["heating 6 customns/oauth"]);

    // Gone while connected, once; installed anew, it is another slot, and its versions go on.
    home.call(&service, Method::DELETE, &home.at(""), None).await.expect(204);
    assert_eq!(relay.told(1).await, ["heating 7 unlinked"]);
    assert!(home.told_at_first(&service).await.is_empty());
    home.install(&service, "acme", json!({})).await.expect(201);
    assert_eq!(relay.told(1).await, ["heating 8 customns/oauth"]);
}

async fn the_events_hold_what_a_stock_oauth_library_needs_and_no_secret_of_the_provider() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    provider.always(Answer::Json(
        200,
        json!({"access_token": "at-1", "refresh_token": "rt-1", "expires_in": "3600", "athlete": {"id": 7}, "x": [1.5, null]}),
    ));
    let home = Home::enrol(&service, &provider).await;
    let mut relay = home.relay(&service).await;
    home.link(&service).await;
    let frames: [Value; 2] = [relay.next().await, relay.next().await];
    let [configuration, tokens] = frames.each_ref().map(|frame| &frame["data"]);

    assert_eq!(configuration["token_endpoint"], format!("{PUBLIC}/api/cloudlink/token"));
    assert_eq!(configuration["auth_endpoint"], format!("{}/authorize", provider.url));
    assert_eq!(configuration["scope"], "read write");
    let text = |member: &str| configuration[member].as_str().unwrap().to_owned();
    assert!(text("client_id") != "the-client" && text("client_secret").len() >= 22);

    assert_eq!(tokens["access_token"], "at-1");
    assert_eq!((&tokens["athlete"], &tokens["x"]), (&json!({"id": 7}), &json!([1.5, null])));
    let remaining = tokens["expires_in"].as_u64().unwrap();
    assert!((3500..=3600).contains(&remaining), "{remaining}");
    let expiry = tokens["expiry"].as_str().unwrap();
    let at = OffsetDateTime::parse(expiry, &Rfc3339).unwrap();
    assert!(
        expiry.ends_with('Z') && (at - service.now()).whole_seconds().unsigned_abs().abs_diff(3600) < 100
    );

    home.link(&service).await;
    let again = relay.event("oauth", None).await;
    assert!(again["data"]["refresh_token"].as_str().unwrap().len() >= 22);
    assert_eq!(again["data"]["refresh_token"], tokens["refresh_token"], "the handle outlives a consent");
    for frame in frames.iter().chain([&again]) {
        let said = frame.to_string();
        assert!(
            !said.contains("the-secret") && !said.contains("rt-1") && !said.contains("********"),
            "{said}"
        );
    }
}

async fn a_token_without_an_end_and_a_token_past_its_end_have_a_positive_life() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    provider.next(Answer::Json(200, json!({"access_token": "forever"})));
    home.link(&service).await;
    let life = async || {
        let tokens = home.relay(&service).await.event("oauth", None).await;
        tokens["data"]["expires_in"].as_i64().unwrap()
    };
    assert_eq!(life().await, 315_360_000);
    provider.next(Answer::Json(200, json!({"access_token": "short", "expires_in": 5})));
    home.link(&service).await;
    service.clock.advance(time::Duration::hours(2));
    assert_eq!(life().await, 1);
}

async fn h09_acks_that_are_foreign_future_or_repeated_change_nothing() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, other) =
        (Home::enrol(&service, &provider).await, Home::bare(&service).await.with_slot("cooling"));
    other.install(&service, "acme", json!({})).await.expect(201);
    home.link(&service).await;
    home.patch(&service, json!({"scope": "a"})).await.expect(200);
    let acked = async |home: &Home| home.show(&service).await["acked_version"].clone();

    let mut relay = home.relay(&service).await;
    assert_eq!(relay.told_so_far().await.len(), 2);
    for (slot, version) in [("heating", 4), ("heating", 0), ("heating", -1), ("cooling", 1), ("nowhere", 1)] {
        relay.send(&json!({"type": "ack", "slot": slot, "version": version})).await;
    }
    assert!(relay.told_so_far().await.is_empty(), "an ack has no answer");
    for (slot, version, status) in
        [("heating", 4, 204), ("heating", 0, 204), ("cooling", 1, 404), ("A b", 1, 404)]
    {
        assert_eq!(home.ack(&service, slot, version).await, status, "{slot} {version}");
    }
    assert_eq!((acked(&home).await, acked(&other).await), (json!(0), json!(0)));

    // All up to its own; what comes late does not take it back.
    relay.send(&json!({"type": "ack", "slot": "heating", "version": 3})).await;
    relay.send(&json!({"type": "ack", "slot": "heating", "version": 2})).await;
    relay.send(&json!({"type": "ack", "slot": "heating", "version": 3})).await;
    assert!(relay.told_so_far().await.is_empty());
    assert_eq!(home.ack(&service, "heating", 3).await, 204);
    assert_eq!(acked(&home).await, 3);
}

async fn every_connection_of_a_device_is_told_and_a_slots_token_hears_its_slot_alone() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let heating = Home::enrol(&service, &provider).await;
    let (mut one, mut two) = (heating.relay(&service).await, heating.relay(&service).await);
    assert_eq!([one.told(1).await, two.told(1).await], [["heating 1 customns/oauth"]; 2]);
    let cooling = heating.with_slot("cooling");
    cooling.install(&service, "acme", json!({})).await.expect(201);
    // One after the other: who looks late sees the newest state only.
    assert_eq!([one.told(1).await, two.told(1).await], [["cooling 1 customns/oauth"]; 2]);
    cooling.link(&service).await;
    assert_eq!([one.told(1).await, two.told(1).await], [["cooling 2 oauth"]; 2]);
    assert_eq!(
        cooling.told_at_first(&service).await,
        ["cooling 0 customns/oauth", "cooling 2 oauth", "heating 1 customns/oauth"]
    );

    let narrow = cooling.slot_token(&service, "heating").await;
    let mut narrow = crate::harness::Relay::attach(&service, &narrow).await;
    narrow.send(&json!({"type": "ack", "slot": "cooling", "version": 2})).await;
    narrow.send(&json!({"type": "ack", "slot": "heating", "version": 1})).await;
    assert_eq!(narrow.told_so_far().await, ["heating 1 customns/oauth"]);
    assert_eq!(cooling.show(&service).await["acked_version"], 0);
    cooling.patch(&service, json!({"scope": "a"})).await.expect(200);
    let heating = cooling.with_slot("heating");
    assert_eq!(heating.show(&service).await["acked_version"], 1);
    heating.patch(&service, json!({"scope": "a"})).await.expect(200);
    assert_eq!(narrow.told(1).await, ["heating 2 customns/oauth"], "and nothing of the other slot");
}

async fn a_consent_on_one_replica_reaches_the_relay_of_another_with_the_bus_and_without() {
    let (service, provider) = (Service::with(&[("RELAY__POLL_SECONDS", "1")]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let other = service.replica().await;
    let mut relay = home.relay(&other).await;
    assert_eq!(relay.told(1).await, ["heating 1 customns/oauth"]);
    home.link(&service).await;
    assert_eq!(relay.told(1).await, ["heating 2 oauth"]);

    // A change that nobody knocks for, as when every notification is lost.
    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    let change = async {
        let lost = "update slots set version = version + 1, configuration_version = version + 1";
        service.database.pool.execute(lost).await.unwrap();
    };
    let (polled, told, ()) = tokio::join!(home.poll(&other, "wait=20"), relay.told(1), change);
    assert_eq!(told, ["heating 3 customns/oauth"]);
    assert_eq!(events_in_words(&polled.expect(200)), ["heating 3 customns/oauth"]);

    home.link(&other).await;
    assert_eq!(relay.told(1).await, ["heating 4 oauth"]);
    assert_eq!(home.ack(&service, "heating", 4).await, 204);
    until("nothing to be left", async || (home.poll(&other, "").await.status == 204).then_some(())).await;
    assert_eq!(events_in_words(&home.poll(&other, "state=all").await.expect(200)).len(), 2);
}
