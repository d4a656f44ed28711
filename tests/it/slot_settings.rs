//! A slot's own settings: installation, variables, overrides, and when they cost the tokens.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Executor as _, Row as _};

use crate::harness::{Home, Provider, Relay, Service, service::Reply};

async fn settings(home: &Home, service: &Service) -> Value {
    home.call(service, Method::GET, &home.at("/oauth"), None).await.expect(200)
}

fn fields(reply: Reply) -> Vec<String> {
    let problem = reply.expect(422);
    let errors = problem["errors"].as_array().unwrap();
    errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_installed_once_and_again_keeping_its_overrides() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::bare(&service).await;
    service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configuration())).await.expect(201);
    let installed = home.install(&service, "acme", json!({})).await.expect(201);
    let expected = json!({
        "slot": "heating", "plugin": "acme", "status": "unlinked", "expiry": null, "scope": null,
        "version": 1, "acked_version": 0,
    });
    assert_eq!(installed, expected);
    assert_eq!(home.install(&service, "acme", json!({})).await.expect(200), expected, "nothing changed");
    home.patch(&service, json!({"scope": "mine"})).await.expect(200);
    home.link(&service).await;
    let mut newer = provider.configuration();
    newer["name"] = "Newer".into();
    newer["scope"] = "newer".into();
    service.owner(Method::PUT, "/api/plugins/acme", Some(newer)).await.expect(200);
    assert_eq!(settings(&home, &service).await["name"], "Acme Thermostats");
    let again = home.install(&service, "acme", json!({})).await.expect(200);
    assert_eq!((&again["status"], &again["version"]), (&json!("linked"), &json!(4)));
    assert!(again["expiry"].as_str().unwrap().ends_with('Z'));
    let effective = settings(&home, &service).await;
    assert_eq!((&effective["name"], &effective["scope"]), (&json!("Newer"), &json!("mine")));

    let path = format!("/api/devices/{}/slots", home.device);
    let list = home.call(&service, Method::GET, &path, None).await.expect(200);
    assert_eq!(list, json!([home.show(&service).await]));
    assert_eq!(service.owner(Method::GET, &path, None).await.expect(200), list);
    assert_eq!(fields(home.install(&service, "nobody", json!({})).await), ["/plugin"]);
    assert_eq!(fields(home.call(&service, Method::PUT, &home.at(""), Some(json!({}))).await), ["/plugin"]);
    let odd = format!("/api/devices/{}/slots/A%20b", home.device);
    assert_eq!(
        fields(home.call(&service, Method::PUT, &odd, Some(json!({"plugin": "acme"}))).await),
        ["/slot"]
    );
    assert_eq!(home.call(&service, Method::GET, &odd, None).await.status, 404);
    home.call(&service, Method::DELETE, &home.at(""), None).await.expect(204);
    assert_eq!(home.call(&service, Method::DELETE, &home.at(""), None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_asked_for_each_slot_and_used_in_endpoints_and_parameters() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::bare(&service).await;
    let mut configuration = provider.configuration();
    configuration["variables"] = json!({
        "region": {"title": "Region", "pattern": "eu|us"}, "shop": {"title": "Shop"}, "mode": {"default": "live"},
    });
    configuration["auth_endpoint"] = format!("{}/{{region}}/authorize", provider.url).into();
    configuration["token_endpoint"] = format!("{}/{{region}}/{{shop}}", provider.url).into();
    configuration["parameters"] = json!({"mode": "{mode}"});
    service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await.expect(201);
    for (variables, wrong) in [
        (json!({}), vec!["/variables/region", "/variables/shop"]),
        (json!({"region": "eu", "shop": ""}), vec!["/variables/shop"]),
        (json!({"region": "eux", "shop": "a"}), vec!["/variables/region"]),
        (json!({"region": "xeu", "shop": "a"}), vec!["/variables/region"]),
        (json!({"region": 7, "shop": "a"}), vec!["/variables"]),
    ] {
        assert_eq!(fields(home.install(&service, "acme", variables.clone()).await), wrong, "{variables}");
    }
    home.install(&service, "acme", json!({"region": "eu", "shop": "a/b?c"})).await.expect(201);
    let connection = home.connect(&service).await;
    let mut browser = crate::harness::Browser::default();
    let sent = browser.consent(&service, connection["connect_url"].as_str().unwrap()).await;
    assert_eq!((sent.url.path(), sent.query["mode"].as_str()), ("/eu/authorize", "live"));
    browser.callback(&service, &sent, &[("code", "c")]).await;
    assert_eq!(provider.asked(1).await[0].target, "/eu/a%2Fb%3Fc");

    let again = async |body: Value| home.call(&service, Method::PUT, &home.at(""), Some(body)).await;
    let kept = again(json!({"plugin": "acme"})).await.expect(200);
    assert_eq!(kept["status"], "linked", "left out, the values stay, and so do the tokens");
    assert_eq!(
        fields(again(json!({"plugin": "acme", "variables": {}})).await),
        ["/variables/region", "/variables/shop"]
    );
    let mut configuration = provider.configuration();
    configuration["variables"] = json!({"region": {"pattern": "us"}});
    configuration["token_endpoint"] = format!("{}/{{region}}/token", provider.url).into();
    service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await.expect(200);
    assert_eq!(
        fields(again(json!({"plugin": "acme"})).await),
        ["/variables/region"],
        "what fits no more is asked for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_merges_nested_members_and_null_brings_the_stores_value_back() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::bare(&service).await;
    let mut configuration = provider.configuration();
    configuration["parameters"] = json!({"prompt": "consent", "audience": "api"});
    service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await.expect(201);
    home.install(&service, "acme", json!({})).await.expect(201);

    let patched = home.patch(&service, json!({"parameters": {"prompt": "login", "x": 1}})).await.expect(200);
    assert_eq!(patched["parameters"], json!({"prompt": "login", "audience": "api", "x": 1}));
    assert_eq!(settings(&home, &service).await, patched);
    let patched =
        home.patch(&service, json!({"parameters": {"prompt": null}, "scope": "a"})).await.expect(200);
    assert_eq!(patched["parameters"], json!({"prompt": "consent", "audience": "api", "x": 1}));
    let patched =
        home.patch(&service, json!({"parameters": null, "scope": null, "unknown": null})).await.expect(200);
    assert_eq!(patched["parameters"], json!({"prompt": "consent", "audience": "api"}));
    assert_eq!(patched["scope"], "read write");

    let before = home.show(&service).await["version"].clone();
    assert_eq!(
        fields(home.patch(&service, json!({"parameters": {"state": "x"}})).await),
        ["/parameters/state"]
    );
    assert_eq!(fields(home.patch(&service, json!({"scope": "b", "pkce": "no"})).await), ["/pkce"]);
    assert_eq!(settings(&home, &service).await, patched, "nothing of it was stored");
    assert_eq!(home.show(&service).await["version"], before);
    home.patch(&service, json!({"client_secret": "********"})).await.expect(200);
    assert_eq!(fields(home.patch(&service, json!({"private_key": "********"})).await), ["/private_key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relays_settings_merge_nested_members_as_a_patch_does() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let changes =
        json!({"parameters": {"audience": "api"}, "token_parameters": {"region": "eu", "mode": "live"}});
    let home = Home::enrol_with(&service, &provider, changes).await;
    let mut relay = home.relay(&service).await;
    relay.told(1).await;
    // In the order in which a plugin's class sends them: the client first, then the rest.
    let mut id = 0;
    let mut set = async |relay: &mut Relay, patch: Value| {
        id += 1;
        relay.send(&json!({"type": "settings", "slot": "heating", "id": id, "patch": patch})).await;
        loop {
            let frame = relay.next().await;
            if frame["type"] == "reply" {
                assert_eq!((&frame["id"], &frame["ok"]), (&json!(id), &json!(true)), "{frame}");
                return frame["data"].clone();
            }
        }
    };
    let own = set(&mut relay, json!({"client_id": "mine", "client_secret": "my-own"})).await;
    assert_eq!((&own["client_id"], &own["client_secret"]), (&json!("mine"), &json!("********")));
    set(&mut relay, json!({"parameters": {"prompt": "login"}})).await;
    let merged = set(&mut relay, json!({"token_parameters": {"mode": "test"}})).await;
    assert_eq!(merged["parameters"], json!({"audience": "api", "prompt": "login"}));
    assert_eq!(merged["token_parameters"], json!({"region": "eu", "mode": "test"}));
    let back = set(&mut relay, json!({"token_parameters": {"mode": null}, "client_id": null})).await;
    assert_eq!(back["token_parameters"], json!({"region": "eu", "mode": "live"}));
    assert_eq!(back["client_id"], "the-client");
    assert_eq!(settings(&home, &service).await, back);
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_the_stores_secret_never_goes_where_a_slot_says() {
    let (service, provider, evil) =
        (Service::start().await, Provider::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let before = settings(&home, &service).await;
    let mut relay = home.relay(&service).await;
    relay.told(1).await;
    let endpoint = format!("{}/token", evil.url);
    for (member, value) in [
        ("auth_endpoint", json!(endpoint)),
        ("token_endpoint", json!(endpoint)),
        ("refresh_endpoint", json!(endpoint)),
        ("revocation_endpoint", json!(endpoint)),
        ("variables", json!({"host": {"title": "x", "default": "evil"}})),
        ("callback_parameters", json!(["server"])),
        ("parameter_names", json!({"token": {"client_secret": "state"}})),
    ] {
        for client in [json!({}), json!({"client_id": "mine"}), json!({"client_secret": "mine"})] {
            let mut patch = client.clone();
            patch[member] = value.clone();
            assert_eq!(fields(home.patch(&service, patch.clone()).await), [format!("/{member}")], "{patch}");
            relay.send(&json!({"type": "settings", "slot": "heating", "id": 1, "patch": patch})).await;
            let reply = relay.next().await;
            assert_eq!((&reply["ok"], &reply["code"]), (&json!(false), &json!("invalid")), "{reply}");
        }
    }
    assert_eq!(settings(&home, &service).await, before);

    let whole = json!({"token_endpoint": endpoint, "client_id": "mine", "client_secret": "my-own"});
    home.patch(&service, whole).await.expect(200);
    for half in [json!({"client_secret": null}), json!({"client_id": null})] {
        assert_eq!(fields(home.patch(&service, half).await), ["/token_endpoint"]);
    }
    home.link(&service).await;
    let request = &evil.requests()[0];
    assert_eq!(
        (request.form["client_id"].as_str(), request.form["client_secret"].as_str()),
        ("mine", "my-own")
    );
    assert!(!request.body.contains("the-secret") && provider.requests().is_empty());
    assert_eq!(
        home.patch(&service, json!({"token_endpoint": null, "client_id": null, "client_secret": null}))
            .await
            .expect(200),
        before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_tokens_stay_with_their_client_at_their_hosts_and_go_when_either_changes() {
    let (service, provider, elsewhere) =
        (Service::start().await, Provider::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let own = json!({"client_id": "mine", "client_secret": "mine", "token_endpoint": format!("{}/token", provider.url)});
    home.patch(&service, own.clone()).await.expect(200);
    let token = async || home.call(&service, Method::GET, &home.at("/token"), None).await;
    let status = async || home.show(&service).await["status"].clone();

    home.link(&service).await;
    for kept in [
        json!({"token_endpoint": format!("{}/other/path", provider.url)}),
        json!({"client_secret": "another secret", "scope": "x", "parameters": {"a": "b"}}),
        json!({"auth_endpoint": format!("{}/authorize", elsewhere.url)}),
    ] {
        home.patch(&service, kept).await.expect(200);
        assert_eq!(status().await, "linked");
    }
    assert_eq!(token().await.expect(200)["access_token"], "at-1");

    for (member, there) in [
        ("token_endpoint", format!("{}/token", elsewhere.url)),
        ("refresh_endpoint", format!("{}/token", elsewhere.url)),
        ("revocation_endpoint", format!("{}/revoke", elsewhere.url)),
        ("client_id", "yet-another".to_owned()),
    ] {
        let mut patch = json!({"auth_endpoint": null, "refresh_endpoint": null, "revocation_endpoint": null});
        for (member, value) in own.as_object().unwrap() {
            patch[member] = value.clone();
        }
        home.patch(&service, patch.clone()).await.expect(200);
        home.link(&service).await;
        let mut relay = home.relay(&service).await;
        relay.told(2).await;
        patch[member] = there.into();
        home.patch(&service, patch).await.expect(200);
        let told = relay.told(2).await;
        assert!(told[1].ends_with(" unlinked"), "{member}: {told:?}");
        assert_eq!(status().await, "unlinked", "{member}");
        assert_eq!(token().await.expect(409)["code"], "authorization_required");
    }
    let row = service.database.pool.fetch_one("select count(*) from grants").await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 0);
    assert_eq!(elsewhere.requests().len(), 0, "nothing was sent there");
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_another_plugin_or_host_in_the_store_costs_the_tokens_at_the_next_installation() {
    let (service, provider, elsewhere) =
        (Service::start().await, Provider::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let mut moved = elsewhere.configuration();
    service.owner(Method::PUT, "/api/plugins/acme", Some(moved.clone())).await.expect(200);
    assert_eq!(home.show(&service).await["status"], "linked", "the slot keeps its copy");
    let mut relay: Relay = home.relay(&service).await;
    relay.told(2).await;
    assert_eq!(home.install(&service, "acme", json!({})).await.expect(200)["status"], "unlinked");
    assert_eq!(relay.told(2).await, ["heating 0 customns/oauth", "heating 3 unlinked"]);

    home.link(&service).await;
    moved["redirect_uri"] = "own".into();
    service.owner(Method::PUT, "/api/plugins/twin", Some(moved)).await.expect(201);
    assert_eq!(home.install(&service, "twin", json!({})).await.expect(200)["status"], "unlinked");
}
