//! Who may call what: every row of the API with no credential, the wrong one, and another's.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Home, Provider, Service,
    home::call_with,
    service::{Reply, with_json},
};

const UNKNOWN: &str = "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10";

#[derive(Clone, Copy, PartialEq, Debug)]
enum By {
    Owner,
    OwnerOrDevice,
    OwnerOrKey,
    Key,
}

/// A row of the contract's table: `{device}`, `{slot}`, `{flow}` and `{key}` stand for names.
struct Row(Method, &'static str, By, Option<Value>);

fn rows() -> Vec<Row> {
    use By::{Key, Owner, OwnerOrDevice, OwnerOrKey};
    let slot = "/api/devices/{device}/slots/{slot}";
    let at = |rest: &str| -> &'static str { Box::leak(format!("{slot}{rest}").into_boxed_str()) };
    vec![
        Row(Method::PUT, "/api/plugins/acme", Owner, Some(json!({}))),
        Row(Method::POST, "/api/plugins/acme/approve", Owner, None),
        Row(Method::GET, "/api/plugins", Owner, None),
        Row(Method::GET, "/api/plugins/acme", Owner, None),
        Row(Method::DELETE, "/api/plugins/nobody", Owner, None),
        Row(Method::GET, "/api/devices", Owner, None),
        Row(Method::DELETE, "/api/devices/{device}", Owner, None),
        Row(Method::GET, "/api/devices/{device}", OwnerOrDevice, None),
        Row(Method::PATCH, "/api/devices/{device}", OwnerOrDevice, Some(json!({"name": "x"}))),
        Row(
            Method::POST,
            "/api/devices/{device}/keys",
            OwnerOrDevice,
            Some(json!({"label": "x", "public_key": "x"})),
        ),
        Row(Method::GET, "/api/devices/{device}/keys", OwnerOrDevice, None),
        Row(Method::DELETE, "/api/devices/{device}/keys/{key}", OwnerOrDevice, None),
        Row(Method::GET, "/api/devices/{device}/slots", OwnerOrKey, None),
        Row(Method::PUT, at(""), OwnerOrKey, Some(json!({"plugin": "acme"}))),
        Row(Method::GET, at(""), OwnerOrKey, None),
        Row(Method::GET, at("/oauth"), OwnerOrKey, None),
        Row(Method::PATCH, at("/oauth"), OwnerOrKey, Some(json!({"scope": "x"}))),
        Row(Method::POST, at("/connect"), OwnerOrKey, Some(json!({}))),
        Row(Method::GET, at("/flows/{flow}"), OwnerOrKey, None),
        Row(Method::POST, at("/flows/{flow}/confirm"), OwnerOrKey, Some(json!({"code": "000000"}))),
        Row(Method::GET, at("/token"), Key, None),
        Row(Method::DELETE, at(""), OwnerOrKey, None),
        Row(Method::GET, "/api/cloudlink/events", Key, None),
        Row(Method::POST, "/api/ack", Key, Some(json!({"slot": "heating", "version": 0}))),
    ]
}

/// A home with a flow under way: the values of a path's names.
struct Names {
    device: String,
    slot: String,
    flow: String,
    key: String,
}

impl Names {
    fn of(home: &Home, connection: &Value) -> Self {
        let flow = connection["flow"].as_str().unwrap().to_owned();
        let key = home.key_hash.replace('/', "%2F");
        Self { device: home.device.clone(), slot: home.slot.clone(), flow, key }
    }

    fn fill(&self, path: &str) -> String {
        let path = path.replace("{device}", &self.device).replace("{slot}", &self.slot);
        path.replace("{flow}", &self.flow).replace("{key}", &self.key)
    }
}

fn same(one: &Reply, two: &Reply) -> bool {
    (one.status, &one.text) == (two.status, &two.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_credential_every_row_is_401_with_a_bearer_challenge_alone() {
    let service = Service::start().await;
    let names = Names { device: UNKNOWN.into(), slot: "a".into(), flow: UNKNOWN.into(), key: "x".into() };
    let token = Home::bare(&service).await.token(&service).await;
    for Row(method, path, _, body) in rows() {
        let path = names.fill(path);
        let wrong_basic = |request: reqwest::RequestBuilder| request.basic_auth("owner", Some("wrong"));
        let in_query = format!("{path}?access_token={token}");
        let requests = [
            service.request(method.clone(), &path),
            service.request(method.clone(), &path).bearer_auth("garbage"),
            service.request(method.clone(), &in_query).header("cookie", format!("token={token}")),
        ];
        for request in requests {
            let reply = Reply::of(with_json(request, body.clone())).await;
            let challenges: Vec<_> = reply.headers.get_all("www-authenticate").iter().collect();
            assert_eq!(challenges, ["Bearer"], "{method} {path}");
            assert_eq!(reply.headers["content-type"], "application/problem+json");
            assert_eq!(reply.expect(401)["code"], "unauthorized");
        }
        if path == "/api/plugins" {
            let reply = Reply::of(wrong_basic(service.request(method, &path))).await;
            assert_eq!((reply.status, &reply.headers["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_what_is_anothers_is_answered_exactly_like_what_does_not_exist() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, victim) = (Home::enrol(&service, &provider).await, Home::bare(&service).await);
    victim.install(&service, "acme", json!({})).await.expect(201);
    victim.link(&service).await;
    let victims = Names::of(&victim, &victim.connect(&service).await);
    let nobodys = Names {
        device: UNKNOWN.into(),
        flow: UNKNOWN.into(),
        ..Names::of(&home, &home.connect(&service).await)
    };
    let before = [
        victim.show(&service).await,
        victim.call(&service, Method::GET, &victim.at("/oauth"), None).await.json,
    ];
    let whole = home.token(&service).await;
    let narrow = home.slot_token(&service, "heating").await;
    for Row(method, path, by, body) in rows().into_iter().filter(|row| row.1.contains("{device}")) {
        for token in [&whole, &narrow] {
            let ask = async |names: &Names| {
                call_with(&service, token, method.clone(), &names.fill(path), body.clone()).await
            };
            let (foreign, unknown) = (ask(&victims).await, ask(&nobodys).await);
            assert!(same(&foreign, &unknown), "{method} {path}: {} {}", foreign.text, unknown.text);
            assert_eq!(foreign.status, 404, "{method} {path}");
        }
        // Its own device, another's flow or key.
        if path.contains("{flow}") || path.contains("{key}") {
            let mixed = Names {
                device: home.device.clone(),
                slot: home.slot.clone(),
                flow: victims.flow.clone(),
                key: victims.key.clone(),
            };
            let reply = call_with(&service, &whole, method.clone(), &mixed.fill(path), body.clone()).await;
            assert_eq!(reply.status, 404, "{method} {path}");
        }
        if by != By::Owner && by != By::Key {
            let reply = service.owner(method.clone(), &nobodys.fill(path), body.clone()).await;
            assert!(matches!(reply.status, 404 | 422), "the owner, {method} {path}: {}", reply.text);
        }
    }
    let after = [
        victim.show(&service).await,
        victim.call(&service, Method::GET, &victim.at("/oauth"), None).await.json,
    ];
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_slot_finds_no_other_and_keeps_its_hands_off_the_device() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await.with_slot("cooling");
    home.install(&service, "acme", json!({})).await.expect(201);
    let narrow = home.slot_token(&service, "heating").await;
    let other = Names::of(&home, &home.connect(&service).await);
    let nobodys =
        Names { slot: "nowhere".into(), device: home.device.clone(), flow: UNKNOWN.into(), key: "x".into() };
    for Row(method, path, by, body) in rows().into_iter().filter(|row| row.1.contains("{device}")) {
        let ask = async |names: &Names| {
            call_with(&service, &narrow, method.clone(), &names.fill(path), body.clone()).await
        };
        if path.contains("{slot}") {
            let (outside, unknown) = (ask(&other).await, ask(&nobodys).await);
            assert!(same(&outside, &unknown), "{method} {path}: {} {}", outside.text, unknown.text);
            assert_eq!(outside.status, 404, "{method} {path}");
        } else if by != By::OwnerOrKey {
            assert_eq!(ask(&other).await.status, 403, "{method} {path}");
        }
    }
    let list =
        call_with(&service, &narrow, Method::GET, &format!("/api/devices/{}/slots", home.device), None).await;
    let names: Vec<Value> =
        list.expect(200).as_array().unwrap().iter().map(|slot| slot["slot"].clone()).collect();
    assert_eq!(names, ["heating"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_kind_of_credential_is_403_and_the_owner_may_call_every_device_row_but_tokens() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let names = Names::of(&home, &home.connect(&service).await);
    let token = home.token(&service).await;
    for Row(method, path, by, body) in rows() {
        let path = names.fill(path);
        if by == By::Owner {
            let reply = call_with(&service, &token, method, &path, body).await;
            assert_eq!(reply.expect(403)["code"], "forbidden", "{path}");
        } else if by == By::Key {
            let reply = service.owner(method, &path, body).await;
            assert_eq!(reply.expect(403)["code"], "forbidden", "{path}");
        } else {
            let reply = service.owner(method.clone(), &path, body).await;
            assert!(!matches!(reply.status, 401 | 403 | 404), "{method} {path}: {}", reply.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_405_with_those_that_are_allowed_and_another_path_404() {
    let service = Service::start().await;
    let names = Names { device: UNKNOWN.into(), slot: "a".into(), flow: UNKNOWN.into(), key: "x".into() };
    let mut paths: std::collections::BTreeMap<String, Vec<Method>> = std::collections::BTreeMap::new();
    for Row(method, path, ..) in rows() {
        paths.entry(names.fill(path)).or_default().push(method);
    }
    paths.entry("/api/devices".to_owned()).or_default().push(Method::POST);
    for (path, method) in [
        ("/api/token", Method::POST),
        ("/api/device_authorization", Method::POST),
        ("/api/authorize", Method::GET),
        ("/api/revoke", Method::POST),
        ("/.well-known/jwks.json", Method::GET),
        ("/api/cloudlink/relay", Method::GET),
    ] {
        paths.insert(path.to_owned(), vec![method]);
    }
    paths.remove("/api/plugins/nobody");
    for (path, mut methods) in paths {
        if path == "/api/plugins/acme" {
            methods.push(Method::DELETE);
        }
        let reply = Reply::of(service.request(Method::TRACE, &path)).await;
        assert_eq!(reply.status, 405, "{path}");
        let allow =
            reply.headers.get("allow").unwrap_or_else(|| panic!("no Allow: {path}")).to_str().unwrap();
        for method in methods {
            assert!(allow.split(", ").any(|allowed| allowed == method.as_str()), "{path}: {allow}");
        }
        assert_eq!(reply.json["code"], "method_not_allowed");
    }
    for path in
        ["/api", "/api/nothing", "/api/devices/x", "/api/plugins/A", "/api/plugins/acme/", "//api/plugins"]
    {
        let reply = service.owner(Method::GET, path, None).await;
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{path}");
        assert_eq!(reply.expect(404)["code"], "not_found", "{path}");
    }
}
