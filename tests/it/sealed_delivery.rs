//! Sealed delivery: tokens encrypted to a trusted key of the device, and to whom else they don't go.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{
        Answer, Hold, Home, Provider, Recipient, Relay, Service, call_with,
        frames::{events_in_words, in_words},
    },
    races::two_replicas,
};

const CANARY: &str = "canary-access-token";

/// A home that is linked, with tokens that one would recognise.
async fn stage() -> (Service, Home, Provider) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = linked(&service, &provider).await;
    (service, home, provider)
}

async fn linked(service: &Service, provider: &Provider) -> Home {
    let tokens =
        json!({"access_token": CANARY, "refresh_token": "rt-1", "expires_in": 3600, "athlete": {"id": 7}});
    provider.always(Answer::Json(200, tokens));
    let home = Home::enrol(service, provider).await;
    home.link(service).await;
    home
}

fn seal_to(key: &Recipient) -> Value {
    json!({"seal_to": key.key_hash})
}

/// The owner sets a new password: no key is trusted any more. The home's own is trusted again.
async fn reset_acl(service: &Service, home: &Home) {
    let path = format!("/api/devices/{}/password", home.device);
    let body = json!({"new_password": "eleven quiet otters"});
    service.owner(Method::PUT, &path, Some(body)).await.expect(204);
    assert_eq!(home.trusts(service, &home.jwk()).await, home.key_hash);
}

/// The reply to a `token` frame.
async fn token_by_relay(relay: &mut Relay) -> Value {
    relay.send(&json!({"type": "token", "slot": "heating", "id": 1})).await;
    relay.next().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_sealed_to_the_key_wherever_data_holds_them() {
    let (service, home, _provider) = stage().await;
    let mut relay = home.relay(&service).await;
    let plain = [relay.next().await, relay.next().await];
    let (rsa, p256) = (Recipient::rsa(&service, &home).await, Recipient::p256(&service, &home).await);
    let mut version = 2;
    for key in [&rsa, &p256] {
        // Open connections get the tokens anew, in their new form.
        let shown = home.patch(&service, seal_to(key)).await.expect(200);
        assert_eq!(shown["seal_to"], json!(key.key_hash));
        version += 1;
        let [configuration, consent] = [relay.next().await, relay.next().await];
        assert_eq!(configuration["data"]["seal_to"], json!(key.key_hash));
        assert_eq!(in_words(&consent), format!("heating {version} oauth"));
        let tokens = key.open(&consent["data"]);
        for member in ["access_token", "refresh_token", "athlete"] {
            assert_eq!(tokens[member], plain[1]["data"][member], "{member}");
        }
        assert!(tokens["expires_in"].as_i64().unwrap() > 3000 && tokens["expiry"].is_string());

        let reply = token_by_relay(&mut relay).await;
        assert_eq!(key.open(&reply["data"])["access_token"], CANARY);
        for query in ["", "state=all"] {
            let polled = home.poll(&service, query).await.expect(200);
            let last = polled["events"].as_array().unwrap().last().unwrap();
            assert_eq!(key.open(&last["data"])["access_token"], CANARY);
            assert!(!polled.to_string().contains(CANARY), "{polled}");
        }
        home.link(&service).await;
        version += 1;
        let again = relay.next().await;
        assert_eq!(in_words(&again), format!("heating {version} oauth"));
        assert_eq!(key.open(&again["data"])["refresh_token"], tokens["refresh_token"]);
    }
    // What is no `data` is what it was: who asks has a token of the device's key in hand.
    let token = home.call(&service, Method::GET, &home.at("/token"), None).await.expect(200);
    assert_eq!(token["access_token"], CANARY);

    relay.send(&json!({"type": "settings", "slot": "heating", "id": 7, "patch": {"seal_to": null}})).await;
    let tokens = relay.event("oauth", None).await;
    assert_eq!(tokens["data"]["access_token"], CANARY);
    assert_eq!(home.show(&service).await["version"], version + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_trusted_key_or_cannot_encrypt_is_refused_and_nothing_is_stored() {
    let (service, home, _provider) = stage().await;
    let (before, mut relay) = (home.show(&service).await, home.relay(&service).await);
    relay.told(2).await;
    let elsewhere = Recipient::p256(&service, &Home::bare(&service).await).await;
    for (key, reason) in [
        (json!(home.key_hash), "Ed25519"),
        (json!(elsewhere.key_hash), "no trusted key"),
        (json!("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "no trusted key"),
        (json!(""), "no trusted key"),
        (json!(7), "key_hash"),
        (json!({"key_hash": home.key_hash}), "key_hash"),
    ] {
        let patch = json!({"seal_to": key, "scope": "changed too"});
        let refused = home.patch(&service, patch.clone()).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], "/seal_to", "{key}");
        assert!(refused["errors"][0]["detail"].as_str().unwrap().contains(reason), "{refused}");
        relay.send(&json!({"type": "settings", "slot": "heating", "id": 1, "patch": patch})).await;
        let reply = relay.next().await;
        assert_eq!((&reply["ok"], &reply["code"]), (&json!(false), &json!("invalid")), "{reply}");
    }
    assert_eq!(home.show(&service).await, before);
    home.patch(&service, json!({"seal_to": null})).await.expect(200);
    assert_eq!(home.show(&service).await, before, "nothing to take back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_tokens_are_sealed_to_stays_until_no_slot_names_it() {
    let (service, home, _provider) = stage().await;
    let key = Recipient::p256(&service, &home).await;
    home.patch(&service, seal_to(&key)).await.expect(200);
    let home = home.with_slot("cooling");
    home.install(&service, "acme", json!({})).await.expect(201);
    home.patch(&service, seal_to(&key)).await.expect(200);
    for reply in [
        service.owner(Method::DELETE, &key.path(&home), None).await,
        home.call(&service, Method::DELETE, &key.path(&home), None).await,
    ] {
        let refused = reply.expect(409);
        assert_eq!(refused["code"], "key_in_use");
        assert!(refused["detail"].as_str().unwrap().contains("in cooling, heating:"), "{refused}");
    }
    // Copying the plugin's configuration anew changes nothing of it; removing the slot does.
    home.install(&service, "acme", json!({})).await.expect(200);
    home.call(&service, Method::DELETE, &home.at(""), None).await.expect(204);
    let home = home.with_slot("heating");
    home.patch(&service, json!({"scope": "read"})).await.expect(200);
    let refused = service.owner(Method::DELETE, &key.path(&home), None).await.expect(409);
    assert!(refused["detail"].as_str().unwrap().contains("in heating:"), "{refused}");

    home.patch(&service, json!({"seal_to": null})).await.expect(200);
    service.owner(Method::DELETE, &key.path(&home), None).await.expect(204);
    assert_eq!(service.owner(Method::DELETE, &key.path(&home), None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_author_names_no_key_for_other_peoples_devices() {
    let (service, home, provider) = stage().await;
    let key = Recipient::p256(&service, &home).await;
    let mut configuration = provider.configuration();
    configuration["seal_to"] = key.key_hash.clone().into();
    let stored = service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await.expect(200);
    assert!(stored["warnings"].to_string().contains("/seal_to"), "{stored}");
    home.install(&service, "acme", json!({})).await.expect(200);
    let effective = home.call(&service, Method::GET, &home.at("/oauth"), None).await.expect(200);
    assert_eq!(effective.get("seal_to"), None);
    let tokens = home.relay(&service).await.event("oauth", None).await;
    assert_eq!(tokens["data"]["access_token"], CANARY);
    service.owner(Method::DELETE, &key.path(&home), None).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_keys_were_reset_sealed_tokens_stay_until_a_trusted_key_is_named() {
    let (service, home, _provider) = stage().await;
    let old = Recipient::p256(&service, &home).await;
    home.patch(&service, seal_to(&old)).await.expect(200);
    home.ack(&service, "heating", 3).await;
    reset_acl(&service, &home).await;

    // Linked, and told of its configuration alone; a new consent changes nothing of that.
    home.link(&service).await;
    let mut relay = home.relay(&service).await;
    assert_eq!(relay.told_so_far().await, ["heating 4 customns/oauth"]);
    let reply = token_by_relay(&mut relay).await;
    assert_eq!((&reply["ok"], &reply["code"]), (&json!(false), &json!("tokens_withheld")));
    for query in ["", "state=all"] {
        let polled = home.poll(&service, query).await.expect(200);
        assert_eq!(events_in_words(&polled), ["heating 4 customns/oauth"]);
        assert_eq!(polled["events"][0]["data"]["seal_to"], json!(old.key_hash), "why");
    }
    let withheld = home.call(&service, Method::GET, &home.at("/token"), None).await.expect(409);
    assert_eq!(withheld["code"], "tokens_withheld");
    assert!(withheld["detail"].as_str().unwrap().contains("seal_to"));
    assert_eq!(home.show(&service).await["status"], "linked");
    assert_eq!(home.ack(&service, "heating", 4).await, 204);
    assert_eq!(home.poll(&service, "").await.status, 204, "acknowledged, so nothing is left to tell");

    // A key of a name that is not trusted can't be named, and other settings don't bring the tokens back.
    assert_eq!(home.patch(&service, seal_to(&old)).await.status, 422);
    home.patch(&service, json!({"scope": "read"})).await.expect(200);
    assert_eq!(relay.told(1).await, ["heating 5 customns/oauth"]);
    assert_eq!(service.owner(Method::DELETE, &old.path(&home), None).await.status, 404, "it is gone already");

    let new = Recipient::rsa(&service, &home).await;
    home.patch(&service, seal_to(&new)).await.expect(200);
    let [_, tokens] = [relay.next().await, relay.next().await];
    assert_eq!(in_words(&tokens), "heating 6 customns/oauthTokens");
    assert_eq!(new.open(&tokens["data"])["access_token"], CANARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_device_custody_withheld_tokens_are_not_taken_for_handed_over() {
    let (service, home, _provider) = stage().await;
    let key = Recipient::p256(&service, &home).await;
    home.patch(&service, seal_to(&key)).await.expect(200);
    home.patch(&service, json!({"custody": "device"})).await.expect(200);
    reset_acl(&service, &home).await;
    home.link(&service).await;
    let version = home.show(&service).await["version"].as_i64().unwrap();
    assert_eq!(
        home.ack(&service, "heating", version).await,
        204,
        "the configuration, which is all it was told"
    );
    service.broker().forget_what_is_over().await.unwrap();

    assert_eq!(key.is_trusted(&service, &home).await, key.key_hash);
    let polled = home.poll(&service, "").await.expect(200);
    let last = polled["events"].as_array().unwrap().last().unwrap();
    assert_eq!(key.open(&last["data"])["access_token"], CANARY);
    assert_eq!(home.ack(&service, "heating", last["version"].as_i64().unwrap()).await, 204);
    let token = home.call(&service, Method::GET, &home.at("/token"), None).await.expect(409);
    assert_eq!(token["code"], "tokens_with_device", "now they are the plugin's");
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_tokens_come_when_their_key_is_trusted_again_or_sealing_is_given_up() {
    let (service, home, _provider) = stage().await;
    let key = Recipient::p256(&service, &home).await;
    home.patch(&service, seal_to(&key)).await.expect(200);
    reset_acl(&service, &home).await;
    let mut relay = home.relay(&service).await;
    assert_eq!(relay.told_so_far().await, ["heating 3 customns/oauth"]);
    assert_eq!(key.is_trusted(&service, &home).await, key.key_hash);
    let tokens = relay.event("oauth", None).await;
    assert_eq!((&tokens["version"], &key.open(&tokens["data"])["access_token"]), (&json!(4), &json!(CANARY)));
    assert_eq!(key.is_trusted(&service, &home).await, key.key_hash, "with another label, no news");
    assert_eq!(home.show(&service).await["version"], 4);

    reset_acl(&service, &home).await;
    home.patch(&service, json!({"seal_to": null})).await.expect(200);
    let tokens = home.relay(&service).await.event("oauth", None).await;
    assert_eq!(tokens["data"]["access_token"], CANARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_named_while_it_is_removed_is_removed_or_in_use_and_never_both() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = linked(&one, &provider).await;
    let token = home.token(&one).await;
    for _ in 0..10 {
        let key = Recipient::p256(&one, &home).await;
        let (path, at) = (key.path(&home), home.at("/oauth"));
        let (named, removed) = tokio::join!(
            call_with(&one, &token, Method::PATCH, &at, Some(seal_to(&key))),
            other.owner(Method::DELETE, &path, None)
        );
        assert!(matches!((named.status, removed.status), (200, 409) | (422, 204)), "{}", named.status);
        call_with(&one, &token, Method::PATCH, &at, Some(json!({"seal_to": null}))).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_removes_a_key_waits_for_who_is_naming_it_and_sees_it_in_use() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = linked(&one, &provider).await;
    let key = Recipient::p256(&one, &home).await;
    let hold = Hold::on(&one, "update", "slots").await;
    let naming = home.patch(&one, seal_to(&key));
    let removing = async {
        hold.caught("reconfigure_slot").await;
        let path = key.path(&home);
        let removing = other.owner(Method::DELETE, &path, None);
        let release = async {
            hold.blocked("hold_trusted_key").await;
            hold.release().await;
        };
        tokio::join!(removing, release).0
    };
    let (named, removed) = tokio::join!(naming, removing);
    assert_eq!((named.status, removed.status), (200, 409));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_key_waits_for_who_is_removing_it_and_sees_it_gone() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = linked(&one, &provider).await;
    let key = Recipient::p256(&one, &home).await;
    let hold = Hold::on(&one, "delete", "trusted_keys").await;
    let path = key.path(&home);
    let removing = other.owner(Method::DELETE, &path, None);
    let naming = async {
        hold.caught("remove_trusted_key").await;
        let naming = home.patch(&one, seal_to(&key));
        let release = async {
            hold.blocked("reconfigure_slot").await;
            hold.release().await;
        };
        tokio::join!(naming, release).0
    };
    let (removed, named) = tokio::join!(removing, naming);
    assert_eq!((removed.status, named.status), (204, 422));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_read_while_the_keys_are_reset_are_sealed_or_stay() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = linked(&one, &provider).await;
    let key = Recipient::p256(&one, &home).await;
    home.patch(&one, seal_to(&key)).await.expect(200);
    let token = home.token(&one).await;
    let read = (0..40).map(async |number| {
        let service = if number % 2 == 0 { &one } else { &other };
        call_with(service, &token, Method::GET, "/api/cloudlink/events?state=all", None).await
    });
    let (replies, ()) = tokio::join!(join_all(read), reset_acl(&other, &home));
    for reply in replies {
        assert!(!reply.text.contains(CANARY), "{}", reply.text);
        assert!(matches!(reply.status, 200 | 401), "{}", reply.status);
        for event in
            reply.json["events"].as_array().into_iter().flatten().filter(|event| event["event"] == "oauth")
        {
            assert_eq!(key.open(&event["data"])["access_token"], CANARY);
        }
    }
}
