//! A plugin hands over tokens that it already had.

use reqwest::Method;
use serde_json::{Value, json};
use time::{Duration, format_description::well_known::Rfc3339};

use crate::{
    harness::{Account, Answer, Hold, Home, PASSWORD, Provider, Reply, Service, call_with, until},
    races::{consent, two_replicas},
    token_endpoint::Library,
};

async fn stage() -> (Service, Provider, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, provider, home)
}

async fn import(service: &Service, home: &Home, tokens: Value) -> Reply {
    home.call(service, Method::PUT, &home.at("/tokens"), Some(tokens)).await
}

async fn token(service: &Service, home: &Home) -> Value {
    home.call(service, Method::GET, &home.at("/token"), None).await.expect(200)
}

fn in_an_hour(service: &Service) -> String {
    (service.now() + Duration::HOUR).replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_tokens_are_taken_over_as_they_are() {
    let (service, provider, home) = stage().await;
    let mut relay = home.relay(&service).await;
    relay.told_so_far().await;
    let expiry = in_an_hour(&service);
    let tokens = json!({
        "access_token": "at-home", "refresh_token": "rt-home", "token_type": "bearer", "scope": "read",
        "expires_in": 5, "expiry": expiry, "athlete": {"id": 7},
    });
    assert_eq!(import(&service, &home, tokens).await.status, 204);
    let event = relay.event("customns", Some("oauthTokens")).await;
    let data = &event["data"];
    assert_eq!(
        (&event["version"], &data["access_token"], &data["athlete"]),
        (&json!(2), &json!("at-home"), &json!({"id": 7}))
    );
    assert!(data["refresh_token"].as_str().unwrap().starts_with("clh_"));
    assert_eq!(data["expiry"], expiry.as_str());
    assert!(data["expires_in"].as_i64().unwrap() > 3500, "expiry wins");
    relay.ack(&event).await;
    let slot = home.show(&service).await;
    assert_eq!(
        (&slot["status"], &slot["expiry"], &slot["scope"]),
        (&json!("linked"), &json!(expiry), &json!("read"))
    );
    assert_eq!(token(&service, &home).await["access_token"], "at-home");
    assert_eq!(provider.requests().len(), 0);
    let library = Library::of(&service, &home).await;
    assert_eq!(library.refresh(&service).await.expect(200)["access_token"], "at-home");
    let audit = service.owner(Method::GET, "/api/audit?limit=1", None).await.expect(200);
    assert_eq!(
        (&audit[0]["action"], &audit[0]["actor"], &audit[0]["subject"]),
        (
            &json!("tokens.imported"),
            &json!(format!("device:{}", home.device)),
            &json!(format!("slot:{}/heating", home.device))
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_said_and_changes_nothing() {
    let (service, provider, home) = stage().await;
    home.link(&service).await;
    let before = home.show(&service).await;
    let large = "x".repeat(48 * 1024);
    for (tokens, field) in [
        (json!({}), "/access_token"),
        (json!({"access_token": 7}), "/access_token"),
        (json!({"access_token": "a", "refresh_token": {}}), "/refresh_token"),
        (json!({"access_token": "a", "expiry": "soon"}), "/expiry"),
        (json!({"access_token": "a", "expires_in": "soon"}), "/expires_in"),
        (json!({"access_token": "a", "expiry": "2020-01-01T00:00:00Z"}), "/expiry"),
        (json!({"access_token": "a", "more": large}), ""),
    ] {
        let reply = import(&service, &home, tokens).await.expect(422);
        assert_eq!((&reply["code"], &reply["errors"][0]["field"]), (&json!("invalid"), &json!(field)));
    }
    let huge = json!({"access_token": "x".repeat(70_000)});
    assert_eq!(import(&service, &home, huge).await.status, 413);
    assert_eq!(import(&service, &home, json!("at")).await.status, 400);
    assert_eq!(home.show(&service).await, before);
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_of_the_brokers_own_is_no_refresh_token_whoever_holds_it() {
    let (service, provider, home) = stage().await;
    home.link(&service).await;
    let own = Library::of(&service, &home).await;
    home.call(&service, Method::DELETE, &home.at("/tokens"), None).await.expect(204);
    let (ended, neighbour) = (own.token, Home::bare(&service).await);
    neighbour.install(&service, "acme", json!({})).await.expect(201);
    neighbour.link(&service).await;
    let foreign = Library::of(&service, &neighbour).await.token;
    for handle in [ended, foreign] {
        for tokens in
            [json!({"access_token": "a", "refresh_token": handle}), json!({"refresh_token": handle})]
        {
            assert_eq!(import(&service, &home, tokens).await.expect(422)["code"], "own_handle");
        }
    }
    assert_eq!(home.show(&service).await["status"], "unlinked");
    assert_eq!(provider.requests().len(), 2, "no handle ever goes to a provider");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_devices_key_hands_tokens_over() {
    let (service, _provider, home) = stage().await;
    let (tokens, path) = (json!({"access_token": "at"}), home.at("/tokens"));
    let neighbour = Home::bare(&service).await;
    let account = Account { service: &service, network: "198.51.100.1" };
    let by_password = account.token(&home.device, PASSWORD).await;
    let other_slot = home.slot_token(&service, "lights").await;
    for (token, status) in [(by_password, 403), (neighbour.token(&service).await, 404), (other_slot, 404)] {
        assert_eq!(
            call_with(&service, &token, Method::PUT, &path, Some(tokens.clone())).await.status,
            status
        );
    }
    assert_eq!(service.owner(Method::PUT, &path, Some(tokens.clone())).await.status, 403);
    assert_eq!(home.show(&service).await["version"], 1);
    let own = home.slot_token(&service, "heating").await;
    assert_eq!(call_with(&service, &own, Method::PUT, &path, Some(tokens.clone())).await.status, 204);
    let unknown = path.replace("heating", "cellar");
    assert_eq!(home.call(&service, Method::PUT, &unknown, Some(tokens)).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_told_as_tokens_even_where_an_end_was_not_acknowledged() {
    let (service, _provider, home) = stage().await;
    home.link(&service).await;
    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    home.call(&service, Method::DELETE, &home.at("/tokens"), None).await.expect(204);
    assert_eq!(home.told_at_first(&service).await, ["heating 2 customns/oauth", "heating 3 unlinked"]);
    assert_eq!(import(&service, &home, json!({"access_token": "at"})).await.status, 204);
    let told = ["heating 2 customns/oauth", "heating 4 customns/oauthTokens"];
    assert_eq!(home.told_at_first(&service).await, told);
    let poll = home.poll(&service, "wait=0").await.expect(200);
    assert_eq!(crate::harness::frames::events_in_words(&poll), told[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_keeps_its_tokens_is_linked_and_nothing_of_them_is_kept() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol_with(&service, &provider, json!({"custody": "device"})).await;
    let tokens = json!({"access_token": "at-home", "refresh_token": "rt-home"});
    assert_eq!(import(&service, &home, tokens).await.status, 204);
    assert_eq!(home.show(&service).await["status"], "linked");
    assert_eq!(service.database.count("select count(*) from grants").await, 0);
    assert_eq!(home.told_at_first(&service).await, ["heating 2 customns/oauth"]);
    let reply = home.call(&service, Method::GET, &home.at("/token"), None).await;
    assert_eq!(reply.expect(409)["code"], "tokens_with_device");
    let library = Library { token: "rt-home".to_owned(), ..Library::of(&service, &home).await };
    library.refresh(&service).await.expect(200);
    assert_eq!(provider.requests()[0].form["refresh_token"], "rt-home");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_consent_and_an_import_at_once_the_later_one_counts_whole() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    let (connection, mut browser, sent) = consent(&one, &home).await;
    let hold = Hold::on(&one, "insert or update", "grants").await;
    let callback = browser.callback(&one, &sent, &[("code", "a-code")]);
    let importing = async {
        hold.caught("store_consent").await;
        let import = import(&other, &home, json!({"access_token": "at-home"}));
        let release = async {
            hold.blocked("put_tokens").await;
            hold.release().await;
        };
        let (reply, ()) = tokio::join!(import, release);
        assert_eq!(reply.status, 204, "{}", reply.text);
    };
    tokio::join!(callback, importing);
    assert_eq!(home.flow(&one, &connection).await["status"], "linked");
    let slot = home.show(&one).await;
    assert_eq!((&slot["version"], &slot["status"]), (&json!(3), &json!("linked")));
    assert_eq!(token(&one, &home).await["access_token"], "at-home");
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_an_import_for_a_configuration_that_is_gone_does_not_reach_the_new_one() {
    let (one, other, provider) = two_replicas(&[]).await;
    let (home, elsewhere) = (Home::enrol(&one, &provider).await, Provider::start().await);
    let moved = json!({
        "token_endpoint": format!("{}/token", elsewhere.url), "client_id": "mine", "client_secret": "mine",
    });
    // The refresh token that came alone is at its own provider while the slot moves on.
    let told = std::sync::Arc::new(tokio::sync::Notify::new());
    let fresh = json!({"access_token": "at-old-host", "refresh_token": "rt-old-host"});
    provider.next(Answer::Held(std::sync::Arc::clone(&told), 200, fresh));
    let importing = import(&one, &home, json!({"refresh_token": "rt-home"}));
    let moving = async {
        provider.asked(1).await;
        home.patch(&other, moved).await.expect(200);
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(importing, moving);
    assert_eq!(reply.expect(409)["code"], "changed_meanwhile");
    assert_eq!(home.show(&one).await["status"], "unlinked");
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_whose_end_is_in_some_clocks_local_time_are_refreshed_at_once() {
    let (service, provider, home) = stage().await;
    let local = "2031-01-02T03:04:05.123456";
    let fresh = json!({"access_token": "at-new", "refresh_token": "rt-new", "expires_in": 3600});
    provider.next(Answer::Json(200, fresh));
    let tokens = json!({"access_token": "at-old", "refresh_token": "rt-home", "expiry": local, "user": "me"});
    assert_eq!(import(&service, &home, tokens).await.status, 204);
    assert_eq!(provider.asked(1).await[0].form["refresh_token"], "rt-home");
    until("the new tokens", async || {
        (home.access_token(&service).await.as_deref() == Some("at-new")).then_some(())
    })
    .await;
    let all = home.poll(&service, "state=all").await.expect(200);
    assert_eq!(
        (&all["events"][1]["key"], &all["events"][1]["data"]["user"]),
        (&json!("oauthTokens"), &json!("me"))
    );
    assert_eq!(token(&service, &home).await["access_token"], "at-new");
    assert_eq!(provider.requests().len(), 1);

    let lasting = json!({"access_token": "at-lasting", "expiry": local});
    assert_eq!(import(&service, &home, lasting).await.status, 204);
    service.clock.advance(Duration::days(30));
    assert_eq!(token(&service, &home).await["access_token"], "at-lasting", "kept until it fails");
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_near_their_end_are_refreshed_before_their_plugin_is_told() {
    let (service, provider, home) = stage().await;
    let mut relay = home.relay(&service).await;
    relay.event("customns", Some("oauth")).await;
    let fresh = json!({"access_token": "at-new", "refresh_token": "rt-new", "expires_in": 3600});
    provider.next(Answer::Json(200, fresh));
    let tokens = json!({"access_token": "at-old", "refresh_token": "rt-home", "expires_in": 59});
    assert_eq!(import(&service, &home, tokens).await.status, 204);
    let told = relay.event("customns", Some("oauthTokens")).await;
    assert_eq!(told["data"]["access_token"], "at-new", "and not the one with less than a minute");
    assert_eq!(provider.asked(1).await[0].form["refresh_token"], "rt-home");

    let tokens = json!({"access_token": "at-short", "refresh_token": "rt-home", "expires_in": 59});
    provider.next(Answer::Json(503, json!({})));
    assert_eq!(import(&service, &home, tokens).await.status, 204);
    let told = relay.event("customns", Some("oauthTokens")).await;
    assert_eq!(told["data"]["access_token"], "at-short", "told all the same where the provider is away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_alone_is_traded_for_tokens_first() {
    let (service, provider, home) = stage().await;
    provider.next(Answer::Json(400, json!({"error": "invalid_grant"})));
    let alone = json!({"refresh_token": "rt-home", "user": "me"});
    let refused = import(&service, &home, alone.clone()).await.expect(422);
    assert_eq!(refused["errors"][0]["field"], "/refresh_token");
    provider.next(Answer::Json(503, json!({})));
    let away = import(&service, &home, alone.clone()).await;
    assert!(away.headers.contains_key("retry-after"));
    assert_eq!(away.expect(503)["code"], "provider_unavailable");
    assert_eq!(home.show(&service).await["status"], "unlinked");

    provider.next(Answer::Json(200, json!({"access_token": "at-new", "expires_in": 3600})));
    assert_eq!(import(&service, &home, alone).await.status, 204);
    let asked = provider.requests();
    assert_eq!((asked.len(), asked[2].form["client_secret"].as_str()), (3, "the-secret"));
    let all = home.poll(&service, "state=all").await.expect(200);
    let data = &all["events"][1]["data"];
    assert_eq!((&data["access_token"], &data["user"]), (&json!("at-new"), &json!("me")));
    provider.next(Answer::Json(200, json!({"access_token": "at-newer", "expires_in": 3600})));
    service.clock.advance(Duration::hours(2));
    assert_eq!(token(&service, &home).await["access_token"], "at-newer");
    assert_eq!(provider.requests()[3].form["refresh_token"], "rt-home", "kept, as none came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_was_under_way_does_not_overwrite_an_import() {
    let (service, provider, home) = stage().await;
    home.link(&service).await;
    let told = std::sync::Arc::new(tokio::sync::Notify::new());
    let late = json!({"access_token": "at-late", "refresh_token": "rt-late", "expires_in": 3600});
    provider.next(Answer::Held(std::sync::Arc::clone(&told), 200, late));
    let path = home.at("/refresh");
    let refreshing = home.call(&service, Method::POST, &path, None);
    let importing = async {
        provider.asked(2).await;
        let tokens = json!({"access_token": "at-home", "expiry": in_an_hour(&service)});
        assert_eq!(import(&service, &home, tokens).await.status, 204);
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(refreshing, importing);
    assert_eq!(reply.expect(200)["access_token"], "at-home");
    assert_eq!(home.access_token(&service).await.as_deref(), Some("at-home"));
    assert_eq!(home.show(&service).await["version"], 3);
}
