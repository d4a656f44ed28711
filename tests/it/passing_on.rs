//! Under custody `device` the broker's token endpoint passes a refresh on, with the client secret, and keeps nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Home, Provider, Reply, Service},
    token_endpoint::Library,
};

/// A plugin that keeps its tokens: linked, acknowledged, gone from the broker.
async fn own_keeper() -> (Service, Provider, Home, Library) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol_with(&service, &provider, json!({"custody": "device"})).await;
    home.link(&service).await;
    let library = Library::of(&service, &home).await;
    assert_eq!(library.token, "rt-1");
    assert_eq!(home.ack(&service, "heating", 2).await, 204);
    (service, provider, home, library)
}

fn error(reply: &Reply) -> (u16, Value) {
    (reply.status, reply.json["error"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_passed_on_with_the_secret_and_the_answer_brought_back() {
    let (service, provider, home, library) = own_keeper().await;
    provider.next(Answer::Json(
        200,
        json!({"access_token": "at-2", "refresh_token": "rt-2", "expires_in": "1800", "user": {"id": 7}}),
    ));
    let mut answer = library.refresh(&service).await.expect(200);
    assert!((1795..=1800).contains(&answer["expires_in"].take().as_i64().unwrap()), "an integer");
    assert!(answer["expiry"].take().as_str().unwrap().ends_with('Z'));
    let expected = json!({
        "access_token": "at-2", "refresh_token": "rt-2", "token_type": "Bearer", "user": {"id": 7},
        "expires_in": null, "expiry": null,
    });
    assert_eq!(answer, expected);
    let asked = &provider.requests()[1].form;
    let sent = ["grant_type", "refresh_token", "client_id", "client_secret"].map(|name| asked[name].as_str());
    assert_eq!(sent, ["refresh_token", "rt-1", "the-client", "the-secret"]);
    assert!(!asked.contains_key("audience"), "other members are the library's own");
    assert_eq!(service.database.count("select count(*) from grants").await, 0);
    let version = home.show(&service).await["version"].clone();
    assert_eq!(version, 2, "nothing has changed here");

    provider.next(Answer::Json(200, json!({"access_token": "at-3"})));
    let answer = library.refresh(&service).await.expect(200);
    assert_eq!(answer["refresh_token"], "rt-1", "what the provider leaves out stays as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_refuses_is_told_in_the_standards_words_and_nothing_is_tried_twice() {
    let (service, provider, _home, library) = own_keeper().await;
    for (answer, expected) in [
        (Answer::Json(400, json!({"error": "invalid_grant"})), (400, json!("invalid_grant"))),
        (Answer::Json(401, json!({"error": "invalid_client"})), (400, json!("unauthorized_client"))),
        (Answer::Json(403, json!({"canary": "of the provider"})), (400, json!("unauthorized_client"))),
        (Answer::Json(500, json!({})), (503, json!("temporarily_unavailable"))),
        (Answer::Json(429, json!({})), (503, json!("temporarily_unavailable"))),
        (Answer::Json(200, json!({"nothing": 1})), (503, json!("temporarily_unavailable"))),
        (Answer::Raw(Vec::new()), (503, json!("temporarily_unavailable"))),
    ] {
        let before = provider.requests().len();
        provider.next(answer);
        let reply = library.refresh(&service).await;
        assert_eq!(error(&reply), expected);
        assert_eq!(reply.headers.contains_key("retry-after"), reply.status == 503);
        assert!(!reply.text.contains("canary"), "e08: {}", reply.text);
        assert_eq!(provider.requests().len(), before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_slots_secret_its_link_or_its_custody_nothing_is_passed_on() {
    let (service, provider, home, library) = own_keeper().await;
    let asked = provider.requests().len();
    let wrong = Library { secret: "the-secret".to_owned(), ..library.clone() };
    assert_eq!(error(&wrong.refresh(&service).await), (401, json!("invalid_client")));
    let unknown = Library { id: "nobody".to_owned(), ..library.clone() };
    assert_eq!(error(&unknown.refresh(&service).await), (401, json!("invalid_client")));

    home.call(&service, Method::DELETE, &home.at("/tokens"), None).await.expect(204);
    assert_eq!(error(&library.refresh(&service).await), (400, json!("invalid_grant")));
    home.patch(&service, json!({"custody": "broker"})).await.expect(200);
    assert_eq!(error(&library.refresh(&service).await), (400, json!("invalid_grant")));
    assert_eq!(provider.requests().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_of_no_use_once_the_plugin_keeps_its_tokens() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let library = Library::of(&service, &home).await;
    home.patch(&service, json!({"custody": "device"})).await.expect(200);
    assert_eq!(error(&library.refresh(&service).await), (400, json!("invalid_grant")));
    assert_eq!(provider.requests().len(), 1);
}
