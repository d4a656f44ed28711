//! What a web service must prove, where a slot asks for it.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Home, Hook, Provider, Service, call_with,
    dump::{disguises, rows},
    hook,
};

const KEY: &str = "canary: a long secret";

async fn stage() -> (Service, Home) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    (service, home)
}

async fn put(service: &Service, home: &Home, wanted: Value) -> Value {
    home.call(service, Method::PUT, &home.at("/webhook"), Some(wanted)).await.expect(200)
}

fn sign(body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), body);
    let hex = tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    format!("sha256={hex}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_body_passes_and_any_other_does_not_reach_the_plugin() {
    let (service, home) = stage().await;
    let mut relay = home.relay(&service).await;
    let wanted = json!({"hmac": {"header": "X-Hub-Signature-256", "prefix": "sha256=", "key": KEY}});
    let shown = put(&service, &home, wanted).await;
    assert_eq!(shown["hmac"]["key"], "********");
    let (good, wrong) = (sign(b"{}"), sign(b"[]"));
    let mut refusals = Vec::new();
    for headers in [&[("x-hub-signature-256", wrong.as_str())][..], &[], &[("x-hub-signature-256", "")]] {
        let reply = Hook { headers, body: b"{}".to_vec(), ..Hook::default() }.call(&service, &home).await;
        refusals.push(reply.expect(403));
    }
    let twice = [("x-hub-signature-256", good.as_str()), ("x-hub-signature-256", wrong.as_str())];
    let reply = Hook { headers: &twice, body: b"{}".to_vec(), ..Hook::default() }.call(&service, &home).await;
    refusals.push(reply.expect(403));
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0] && refusal["code"] == "webhook_refused"));

    let headers = [("x-hub-signature-256", good.as_str())];
    let call = Hook { headers: &headers, body: b"{}".to_vec(), ..Hook::default() };
    let (reply, asked) = tokio::join!(call.call(&service, &home), relay.answers("ok"));
    assert_eq!((reply.status, asked["body"].as_str()), (200, Some("e30=")), "the first that the plugin sees");
    assert_eq!(asked["headers"]["x-hub-signature-256"], good, "it may check it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_checked_and_goes_no_further() {
    let (service, home) = stage().await;
    let mut relay = home.relay(&service).await;
    put(&service, &home, json!({"secret": {"header": "X-Webhook-Token", "value": KEY}})).await;
    assert_eq!(hook(&service, &home).await.status, 403);
    let wrong = [("x-webhook-token", "canary: a long secrex")];
    assert_eq!(Hook { headers: &wrong, ..Hook::default() }.call(&service, &home).await.status, 403);
    let right = [("x-webhook-token", KEY)];
    let call = Hook { headers: &right, ..Hook::default() };
    let (reply, asked) = tokio::join!(call.call(&service, &home), relay.answers(""));
    assert_eq!(reply.status, 200);
    assert!(!asked.to_string().contains("canary"), "{asked}");

    put(&service, &home, json!({"secret": {"query": "token", "value": KEY}})).await;
    for query in ["", "token=x", "token=canary", "Token=canary:%20a%20long%20secret"] {
        let reply = Hook { query, headers: &right, ..Hook::default() }.call(&service, &home).await;
        assert_eq!(reply.status, 403, "{query}");
    }
    let query = "a=1&token=canary%3A+a+long+secret";
    let call = Hook { query, ..Hook::default() };
    let (reply, asked) = tokio::join!(call.call(&service, &home), relay.answers(""));
    assert_eq!((reply.status, &asked["query"]), (200, &json!({"a": "1"})));
    let twice = "token=canary%3A+a+long+secret&token=x";
    assert_eq!(Hook { query: twice, ..Hook::default() }.call(&service, &home).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_decides_and_nobody_reads_the_secret_again() {
    let (service, home) = stage().await;
    let path = home.at("/webhook");
    let shown = home.call(&service, Method::GET, &path, None).await.expect(200);
    let url =
        |kind: &str| format!("{}/api/eisy/pg3/webhook/{kind}/{}/heating", service.public_url(), home.device);
    let urls = json!({"response": url("response"), "noresponse": url("noresponse")});
    assert_eq!(shown, json!({"enabled": true, "urls": urls}));

    put(&service, &home, json!({"secret": {"query": "t", "value": KEY}})).await;
    let shown = home.call(&service, Method::GET, &path, None).await;
    assert!(!shown.text.contains("canary"));
    let mut shown = shown.expect(200);
    shown["enabled"] = json!(false);
    put(&service, &home, shown).await;
    assert_eq!(hook(&service, &home).await.expect(404)["code"], "not_found", "switched off");
    put(&service, &home, json!({"secret": {"query": "t", "value": "********"}})).await;
    let query = "t=canary%3A+a+long+secret";
    assert_eq!(
        Hook { query, ..Hook::default() }.call(&service, &home).await.status,
        503,
        "the secret was kept"
    );
    let wrong = json!({"secret": {"query": "t", "value": "short"}, "hmac": {}});
    let refused = home.call(&service, Method::PUT, &path, Some(wrong)).await.expect(422);
    assert_eq!(refused["errors"][0]["field"], "/hmac");
    home.call(&service, Method::DELETE, &path, None).await.expect(204);
    assert_eq!(hook(&service, &home).await.status, 503, "open again");

    // Installing anew keeps it, other slots and devices don't see it.
    put(&service, &home, json!({"enabled": false})).await;
    home.install(&service, "acme", json!({})).await.expect(200);
    assert_eq!(hook(&service, &home).await.status, 404);
    let stranger = Home::bare(&service).await;
    let narrow = home.slot_token(&service, "cooling").await;
    for token in [stranger.token(&service).await, narrow] {
        for (method, body) in [(Method::GET, None), (Method::PUT, Some(json!({}))), (Method::DELETE, None)] {
            assert_eq!(call_with(&service, &token, method, &path, body).await.status, 404);
        }
    }
    service.owner(Method::PUT, &path, Some(json!({}))).await.expect(200);
    let nowhere = home.beside("nowhere").at("/webhook");
    service.owner(Method::PUT, &nowhere, Some(json!({}))).await.expect(404);

    put(&service, &home, json!({"hmac": {"header": "x", "key": KEY}})).await;
    let rows = rows(&service.database.pool).await.join("\n");
    assert!(disguises(KEY).iter().all(|disguise| !rows.contains(disguise)), "the secret is in the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proves_nothing_uses_up_nothing_of_the_slots_minute() {
    let service = Service::with(&[("REQUESTS__PER_MINUTE_PER_SLOT", "2")]).await;
    let home = Home::enrol(&service, &Provider::start().await).await;
    service.clock.stop();
    let (good, wrong) = (sign(b"{}"), sign(b"[]"));
    for (proof, right, wrong) in [
        (json!({"secret": {"header": "X-Proof", "value": KEY}}), KEY, "canary: a long secrex"),
        (
            json!({"hmac": {"header": "X-Proof", "prefix": "sha256=", "key": KEY}}),
            good.as_str(),
            wrong.as_str(),
        ),
    ] {
        put(&service, &home, proof).await;
        let call = async |headers: &[(&str, &str)]| {
            Hook { headers, body: b"{}".to_vec(), ..Hook::default() }.call(&service, &home).await
        };
        for number in 0..60 {
            let headers = [("x-proof", wrong)];
            let reply = call(if number % 2 == 0 { &headers } else { &[] }).await;
            assert_eq!(reply.status, 403, "{number}");
        }
        for headers in [&[("x-proof", wrong)][..], &[]] {
            let reply = call(headers).await;
            assert_eq!((reply.status, reply.headers["retry-after"].as_bytes()), (429, &b"60"[..]));
        }
        // From the same network: services send for strangers too.
        for status in [503, 503, 429] {
            assert_eq!(call(&[("x-proof", right)]).await.status, status, "it counts what was proven");
        }
        service.clock.advance(time::Duration::MINUTE);
    }
}
