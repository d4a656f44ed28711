//! The configurations of `docs/providers/`: the page shows what is tested, the store takes them, and a person links
//! with each, through an answer of the service's own shape. Made-up tokens; the requests' exact words are in the
//! snapshots beside `src/provider/documented_tests.rs`.

use std::{collections::BTreeMap, fs, path::Path};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Answer, Attempt, Home, PUBLIC, Provider, Service};

/// What a service answers to an exchange, and what the plugin must get of it.
#[derive(Deserialize)]
struct Shape {
    /// With `at` and `rt` as tokens.
    tokens: Value,
    /// The granted scope as the slot shows it.
    scope: Option<String>,
    /// Seconds, at most.
    life: u64,
    /// Status and body where the code is wrong.
    refusal: (u16, Value),
}

fn shapes() -> BTreeMap<String, Shape> {
    serde_json::from_str(include_str!("documented_answers.json")).unwrap()
}

fn documented() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers");
    let read = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    };
    fs::read_dir(folder).unwrap().map(|entry| read(&entry.unwrap().path())).collect()
}

#[test]
fn the_page_shows_each_configuration_that_is_tested_and_no_other() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md")).unwrap();
    let mut shown = BTreeMap::new();
    for section in page.split("\n### ").skip(1) {
        let plugin = section.split("PUBLIC/api/cloudlink/redirect/").nth(1).unwrap();
        let plugin = plugin.split('`').next().unwrap().to_owned();
        let block = section.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(section.matches("```json").count(), 1, "{plugin}");
        shown.insert(plugin, serde_json::from_str::<Value>(block).unwrap());
    }
    assert_eq!(shown, documented());
    assert_eq!(page.matches("```json").count(), shown.len(), "a block outside of a section");
    assert!(shapes().keys().eq(shown.keys()), "each has an answer to link with");
}

/// The same at the test's provider: paths, queries and all else stay.
fn moved(configuration: &Value, provider: &Provider) -> Value {
    let mut moved = configuration.clone();
    for (name, value) in moved.as_object_mut().unwrap() {
        if name.ends_with("_endpoint") {
            // The parser would encode the braces of a variable.
            let text = value.as_str().unwrap();
            let origin = Url::parse(text).unwrap().origin().ascii_serialization();
            *value = text.replacen(&origin, &provider.url, 1).into();
        }
    }
    // What the test's provider is not.
    moved.as_object_mut().unwrap().remove("issuer");
    moved
}

fn variables(service: &str) -> Value {
    match service {
        "google-nest" => json!({"project_id": "32c4c2bc-fe0d-461b-b51c-f3885afff2f0"}),
        _ => json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_takes_each_without_a_warning_but_where_the_page_says_so() {
    let service = Service::with(&[("EGRESS__ALLOW_PRIVATE", "false")]).await;
    for (plugin, configuration) in documented() {
        let path = format!("/api/plugins/{plugin}");
        let stored = service.owner(Method::PUT, &path, Some(configuration)).await.expect(201);
        let fields: Vec<&Value> =
            stored["warnings"].as_array().unwrap().iter().map(|warning| &warning["field"]).collect();
        let expected: &[&str] = if plugin == "slack" { &["/pkce"] } else { &[] };
        assert_eq!(fields, expected, "{plugin}");
        assert_eq!(stored["redirect_uris"]["own"], format!("{PUBLIC}/api/cloudlink/redirect/{plugin}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_links_with_each_service_through_answers_of_its_shape() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let mut home = Home::bare(&service).await;
    let documented = documented();
    for (plugin, Shape { tokens, scope, life, refusal }) in shapes() {
        let configuration = moved(&documented[&plugin], &provider);
        let path = format!("/api/plugins/{plugin}");
        service.owner(Method::PUT, &path, Some(configuration.clone())).await.expect(201);
        home.slot.clone_from(&plugin);
        home.install(&service, &plugin, variables(&plugin)).await.expect(201);

        provider.next(Answer::Json(refusal.0, refusal.1));
        let mut attempt = Attempt::start(&service, &home).await;
        attempt.back(&service, &[("code", "wrong")]).await;
        assert_eq!(attempt.stands(&service, &home).await, "failed/exchange_failed", "{plugin}");

        provider.next(Answer::Json(200, tokens));
        let mut attempt = Attempt::start(&service, &home).await;
        attempt.back(&service, &[("code", "right"), ("scope", "what the callback says of it")]).await;
        assert_eq!(attempt.stands(&service, &home).await, "linked", "{plugin}");
        assert_eq!(home.access_token(&service).await.as_deref(), Some("at"), "{plugin}");
        let slot = home.show(&service).await;
        assert_eq!(slot["scope"].as_str(), scope.as_deref(), "{plugin}");
        let told = home.poll(&service, "wait=0").await.expect(200);
        let told = told["events"]
            .as_array()
            .unwrap()
            .iter()
            .find(|event| event["slot"] == *plugin && event["event"] == "oauth")
            .unwrap();
        let told = &told["data"];
        assert!((life - 60..=life).contains(&told["expires_in"].as_u64().unwrap()), "{plugin}: {told}");
        assert!(!told.to_string().contains("\"rt\""), "{plugin}: a refresh token leaves nowhere: {told}");

        let asked = provider.requests().pop().unwrap();
        assert_eq!(asked.form["code"], "right");
        assert_eq!(asked.form["redirect_uri"], format!("{PUBLIC}/api/cloudlink/redirect/{plugin}"));
        assert_eq!(
            asked.headers.contains_key("authorization"),
            configuration["token_auth"] == "basic",
            "{plugin}"
        );
    }
}
