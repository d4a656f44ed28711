//! What a hub's own commands say and answer: `cloudlink bridge`, against a started service.

use reqwest::Method;

use crate::{
    command_line::{hub, operator},
    harness::{Desk, Provider, Reply, Service, until},
};

/// A hub with a plugin in the slot `heating`, and its device.
async fn hub_with_a_plugin(service: &Service, provider: &Provider) -> (Desk, String) {
    let operator = operator(service).await;
    let file = operator.file("acme.json", &provider.configuration().to_string());
    operator.run(&["plugin", "put", "acme", &file]).await.well();
    let (hub, device) = hub(service, &operator).await;
    hub.run(&["slot", "install", "heating", "--plugin", "acme"]).await.well();
    (hub, device)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_a_slot_that_the_bridge_serves_is_refused_at_once() {
    let (service, provider) = (Service::at_its_url().await, Provider::start().await);
    let (hub, device) = hub_with_a_plugin(&service, &provider).await;
    // There is no MQTT broker at port 1: the bridge goes on without.
    let bridge = ["bridge", "--standalone", "--slot", "heating=3", "--mqtt", "127.0.0.1:1"];
    let _bridge = hub.command(&bridge).spawn().unwrap();
    let webhook = format!("/api/eisy/pg3/webhook/response/{device}/heating");
    let refused = until("the bridge to be connected", async || {
        let reply = Reply::of(service.request(Method::POST, &webhook).body("x")).await;
        (reply.status != 503).then_some(reply)
    })
    .await;
    assert_eq!((refused.status, refused.text.as_str()), (501, "The plugin takes no such requests."));
}
