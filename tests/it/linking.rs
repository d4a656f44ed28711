//! The main job: a consent becomes tokens at the plugin.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Browser, Home, Provider, Service, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_brings_tokens_to_the_plugin_and_its_ack_to_the_page() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let mut relay = home.relay(&service).await;
    let configuration = relay.event("customns", Some("oauth")).await;
    assert_eq!(configuration["data"]["name"], "Acme Thermostats");

    let connection = home.connect(&service).await;
    let mut browser = Browser::default();
    let sent = browser.consent(&service, connection["connect_url"].as_str().unwrap()).await;
    let page = browser.callback(&service, &sent, &[("code", "the-code")]).await;
    assert_eq!(page.status, 303);
    let result = page.location().to_owned();

    let tokens = relay.event("oauth", None).await;
    assert_eq!(tokens["data"]["access_token"], "at-1");
    let waiting = browser.open(&service, &result).await;
    assert!(waiting.html.contains("http-equiv=\"refresh\""), "{}", waiting.html);
    relay.ack(&tokens).await;
    until("the page to say so", async || {
        let page = browser.open(&service, &result).await;
        (!page.html.contains("http-equiv=\"refresh\"")).then_some(())
    })
    .await;

    let request = &provider.requests()[0];
    assert_eq!(request.form["grant_type"], "authorization_code");
    assert_eq!(request.form["code"], "the-code");
    assert_eq!(home.show(&service).await["status"], "linked");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_plugin_gets_its_tokens_again() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let mut relay = home.relay(&service).await;
    let tokens = relay.event("oauth", None).await;
    relay.ack(&tokens).await;
    until("the ack", async || {
        let slot = home.show(&service).await;
        (slot["version"] == slot["acked_version"]).then_some(())
    })
    .await;

    let service = service.restart().await;
    let mut relay = home.relay(&service).await;
    let again = relay.event("customns", Some("oauthTokens")).await;
    assert_eq!(again["data"]["access_token"], "at-1");
    assert_eq!(again["version"], tokens["version"]);
    assert_eq!(home.poll(&service, "wait=0").await.status, 204, "nothing is unacknowledged");
    let all = home.poll(&service, "state=all").await.expect(200);
    assert_eq!(all["events"][1]["key"], "oauthTokens");
    let ack = json!({"slot": home.slot, "version": 99});
    assert_eq!(home.call(&service, Method::POST, "/api/ack", Some(ack)).await.status, 204);
}
