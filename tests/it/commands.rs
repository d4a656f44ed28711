//! Commands for hubs: who may send them, what is checked, and what comes back.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Account, Home, PASSWORD, Process, Provider, Relay, Reply, Service, call_with, hook};

async fn command(service: &Service, home: &Home, name: &str, data: Value) -> Reply {
    let path = format!("/api/devices/{}/commands/{name}", home.device);
    service.owner(Method::POST, &path, Some(data)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reaches_the_hub_and_its_answer_comes_back() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let mut hub = home.relay(&service).await;
    let narrow = home.slot_token(&service, "heating").await;
    let mut plugin = Relay::attach(&service, &narrow).await;
    let wifi = json!({"method": "dhcp", "wifi_mode": "client", "ssid": "home", "security": "wpa", "psk": "canary-1234"});
    let answers = async {
        let asked = hub.asked().await;
        assert_eq!((&asked["type"], &asked["name"]), (&json!("command"), &json!("modify_network")));
        assert_eq!(asked["data"], wifi);
        let wrong = json!({"type": "response", "id": asked["id"], "ok": "yes"});
        hub.send(&wrong).await;
        assert_eq!(hub.next().await["code"], "invalid_response");
        hub.send(&json!({"type": "response", "id": asked["id"], "ok": true, "data": {"restart": true}}))
            .await;
    };
    let (reply, ()) = tokio::join!(command(&service, &home, "modify_network", wifi.clone()), answers);
    assert_eq!(reply.expect(200), json!({"ok": true, "data": {"restart": true}}));
    assert!(plugin.told_so_far().await.is_empty(), "a slot's plugin hears no command");

    let refuses = async {
        let asked = hub.asked().await;
        hub.send(&json!({"type": "response", "id": asked["id"], "ok": false})).await;
    };
    let token = home.token(&service).await;
    let path = format!("/api/devices/{}/commands/reboot", home.device);
    let sent = call_with(&service, &token, Method::POST, &path, Some(json!({})));
    let (reply, ()) = tokio::join!(sent, refuses);
    assert_eq!(reply.expect(200), json!({"ok": false, "data": {}}));

    let audit = service.owner(Method::GET, "/api/audit?limit=2", None).await;
    assert!(!audit.text.contains("canary"));
    let audit = audit.expect(200);
    let told: Vec<_> =
        audit.as_array().unwrap().iter().map(|entry| (&entry["action"], &entry["detail"])).collect();
    assert_eq!(
        told,
        [(&json!("command.sent"), &json!("reboot")), (&json!("command.sent"), &json!("modify_network"))]
    );

    drop(hub);
    let gone = crate::harness::until("the hub to be gone", async || {
        let reply = command(&service, &home, "reboot", json!({})).await;
        (reply.status == 503).then_some(reply)
    });
    assert_eq!(gone.await.expect(503)["code"], "not_connected", "a slot's plugin does not speak for the hub");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_none_or_does_not_fit_goes_nowhere() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let mut hub = home.relay(&service).await;
    assert_eq!(command(&service, &home, "format_disk", json!({})).await.expect(404)["code"], "not_found");
    let refused =
        command(&service, &home, "modify_network", json!({"method": "static", "psk": "canary"})).await;
    assert!(!refused.text.contains("canary"));
    let fields: Vec<Value> = refused.expect(422)["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].clone())
        .collect();
    assert_eq!(fields, ["/psk", "/ipaddr", "/mask", "/route"]);
    command(&service, &home, "get_wifi_list", json!({"x": 1})).await.expect(422);
    let stranger = home.elsewhere();
    command(&service, &stranger, "reboot", json!({})).await.expect(404);
    assert!(hub.told_so_far().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_and_the_whole_device_by_its_key_may_send_one() {
    let service = Service::start().await;
    let (home, other) = (Home::bare(&service).await, Home::bare(&service).await);
    let path = format!("/api/devices/{}/commands/reboot", home.device);
    let account = Account { service: &service, network: "198.51.100.1" };
    for (token, status) in [
        (home.token(&service).await, 503),
        (home.slot_token(&service, "heating").await, 403),
        (account.token(&home.device, PASSWORD).await, 403),
        (other.token(&service).await, 404),
        ("wrong".to_owned(), 401),
    ] {
        assert_eq!(call_with(&service, &token, Method::POST, &path, Some(json!({}))).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_gets_sixty_commands_a_minute_and_the_record_no_more() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    service.clock.stop();
    for _ in 0..60 {
        command(&service, &home, "reboot", json!({})).await.expect(503);
    }
    let refused = command(&service, &home, "reboot", json!({})).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect(429);
    service.clock.advance(time::Duration::MINUTE);
    command(&service, &home, "reboot", json!({})).await.expect(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_silent_is_a_504() {
    let service = Service::with(&[("REQUESTS__ANSWER_SECONDS", "10")]).await;
    let home = Home::bare(&service).await;
    let mut hub = home.relay(&service).await;
    let (reply, _) = tokio::join!(command(&service, &home, "get_network", json!({})), hub.asked());
    assert_eq!(reply.expect(504)["code"], "no_answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_has_bounds_under_way_that_are_not_counted_among_refused_webhooks() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let process = Process::start(&service, &[("REQUESTS__IN_FLIGHT_PER_DEVICE", "1")]).await;
    let mut hub = home.relay(&process.service).await;
    let refused = async {
        let asked = hub.asked().await;
        let second = command(&process.service, &home, "reboot", json!({})).await;
        assert!(second.headers.contains_key("retry-after"));
        second.expect(429);
        let counted = async || {
            let metrics = Reply::of(process.service.admin(Method::GET, "/metrics")).await.text;
            let line = "cloudlink_webhooks_refused_total{reason=\"in_flight\"} ";
            metrics.lines().find_map(|counted| counted.strip_prefix(line).map(str::to_owned))
        };
        assert_eq!(counted().await, None);
        hook(&process.service, &home).await.expect(429);
        assert_eq!(counted().await.as_deref(), Some("1"));
        hub.send(&json!({"type": "response", "id": asked["id"], "ok": true})).await;
    };
    let (first, ()) = tokio::join!(command(&process.service, &home, "get_network", json!({})), refused);
    first.expect(200);
}
