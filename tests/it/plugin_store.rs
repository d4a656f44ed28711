//! The owner's plugin store: what goes in, what is shown of it, and what its slots keep.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Home, PUBLIC, Provider, Service, service::Reply};

async fn put(service: &Service, plugin: &str, configuration: &Value) -> Reply {
    service.owner(Method::PUT, &format!("/api/plugins/{plugin}"), Some(configuration.clone())).await
}

fn fields(answer: &Value, member: &str) -> Vec<String> {
    let list = answer[member].as_array().unwrap();
    list.iter().map(|entry| entry["field"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_put_shown_listed_and_removed_and_its_slots_keep_their_copy() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let get = async |path: &str| service.owner(Method::GET, path, None).await;
    assert_eq!(get("/api/plugins").await.expect(200), json!([]));
    let configuration = provider.configuration();
    let created = put(&service, "acme", &configuration).await.expect(201);
    for (member, value) in configuration.as_object().unwrap() {
        let shown = if member == "client_secret" { &json!("********") } else { value };
        assert_eq!(&created[member], shown, "{member}");
    }
    let uris = json!({"own": format!("{PUBLIC}/api/cloudlink/redirect/acme"), "shared": format!("{PUBLIC}/api/cloudlink/redirect")});
    assert_eq!((&created["redirect_uris"], &created["warnings"]), (&uris, &json!([])));
    assert_eq!(put(&service, "acme", &configuration).await.expect(200), created);
    assert_eq!(get("/api/plugins/acme").await.expect(200), created);
    assert_eq!(get("/api/plugins").await.expect(200), json!([created]));

    let home = Home::bare(&service).await;
    home.install(&service, "acme", json!({})).await.expect(201);
    let mut renamed = configuration.clone();
    renamed["name"] = "Another name".into();
    put(&service, "acme", &renamed).await.expect(200);
    let removed = service.owner(Method::DELETE, "/api/plugins/acme", None).await;
    assert_eq!((removed.status, removed.text.as_str()), (204, ""));
    for method in [Method::GET, Method::DELETE] {
        let gone = service.owner(method, "/api/plugins/acme", None).await;
        assert_eq!(gone.expect(404)["code"], "not_found");
    }
    let settings = home.call(&service, Method::GET, &home.at("/oauth"), None).await.expect(200);
    assert_eq!(settings["name"], "Acme Thermostats");
    home.link(&service).await;
    assert_eq!(home.install(&service, "acme", json!({})).await.expect(422)["errors"][0]["field"], "/plugin");
}

#[tokio::test(flavor = "multi_thread")]
async fn i09_secrets_are_written_and_never_read_and_their_mask_means_unchanged() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let mut configuration = provider.configuration();
    configuration["client_secret"] = "canary-1".into();
    configuration["token_headers"] = json!({"X-Api": "canary-2"});
    configuration["token_parameters"] = json!({"api_secret": "canary-3", "audience": "shown"});
    let created = put(&service, "acme", &configuration).await;
    assert!(!created.text.contains("canary"), "{}", created.text);
    let created = created.expect(201);
    assert_eq!(created["token_parameters"], json!({"api_secret": "********", "audience": "shown"}));
    assert_eq!(created["token_headers"], json!({"X-Api": "********"}));

    // What was read can be written back as it is.
    let mut back = created.clone();
    back["name"] = "Renamed".into();
    let put_back = put(&service, "acme", &back).await.expect(200);
    assert_eq!((&put_back["name"], &put_back["warnings"]), (&json!("Renamed"), &json!([])));
    let home = Home::bare(&service).await;
    home.install(&service, "acme", json!({})).await.expect(201);
    home.link(&service).await;
    let request = &provider.requests()[0];
    assert_eq!(request.form["client_secret"], "canary-1");
    assert_eq!(
        (request.headers["x-api"].as_str(), request.form["api_secret"].as_str()),
        ("canary-2", "canary-3")
    );
    let settings = home.call(&service, Method::GET, &home.at("/oauth"), None).await;
    assert!(!settings.text.contains("canary"), "{}", settings.text);

    let nothing_stored = put(&service, "fresh", &back).await.expect(422);
    assert_eq!(
        fields(&nothing_stored, "errors"),
        ["/client_secret", "/token_headers/X-Api", "/token_parameters/api_secret"]
    );
    assert_eq!(service.owner(Method::GET, "/api/plugins/fresh", None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_author_should_know_is_a_warning_and_what_does_not_fit_is_named() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let mut configuration = provider.configuration();
    configuration.as_object_mut().unwrap().remove("addRedirect");
    configuration["colour"] = "blue".into();
    configuration["redirect_uri"] = "https://elsewhere.example".into();
    let answer = put(&service, "acme", &configuration).await.expect(201);
    let mut warned = fields(&answer, "warnings");
    warned.sort();
    assert_eq!(warned, ["/addRedirect", "/colour", "/redirect_uri"]);
    assert_eq!(answer["colour"], "blue", "kept");

    let refused = put(&service, "other", &json!({})).await;
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    let refused = refused.expect(422);
    assert_eq!((&refused["status"], &refused["code"]), (&json!(422), &json!("invalid")));
    for member in ["type", "title", "detail"] {
        assert!(refused[member].is_string(), "{member}");
    }
    let mut missing = fields(&refused, "errors");
    missing.sort();
    assert_eq!(missing, ["/auth_endpoint", "/client_id", "/client_secret", "/name", "/token_endpoint"]);

    for (member, value, field) in [
        ("token_endpoint", json!("ftp://a.example"), "/token_endpoint"),
        ("parameters", json!({"state": "x"}), "/parameters/state"),
        ("token_parameters", json!({"code_verifier": "x"}), "/token_parameters/code_verifier"),
        ("scope", json!(7), "/scope"),
        ("token_auth", json!("mtls"), "/token_auth"),
    ] {
        let mut configuration = provider.configuration();
        configuration[member] = value;
        let refused = put(&service, "acme", &configuration).await.expect(422);
        assert_eq!(fields(&refused, "errors"), [field]);
    }
    assert_eq!(
        put(&service, "-acme", &provider.configuration()).await.expect(422)["errors"][0]["field"],
        "/plugin"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_a_body_is_json_and_says_so() {
    let service = Service::start().await;
    let send = async |media_type: &str, body: &str| {
        let request = service.request(Method::PUT, "/api/plugins/acme");
        let request = request.basic_auth("owner", Some("a password for the owner"));
        Reply::of(request.header("content-type", media_type).body(body.to_owned())).await
    };
    assert_eq!(send("text/plain", "{}").await.expect(415)["code"], "unsupported_media_type");
    assert_eq!(send("application/x-www-form-urlencoded", "{}").await.status, 415);
    for body in ["", "{", "[]", r#"{"name":"a","name":"b"}"#] {
        assert_eq!(send("application/json", body).await.expect(400)["code"], "invalid_json", "{body}");
    }
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(send("application/json; charset=utf-8", &large).await.status, 413);
}
