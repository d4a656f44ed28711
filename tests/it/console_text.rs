//! What people wrote is text on the console's pages, whatever it looks like; secrets are on none of them.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Home, PASSWORD, Provider, Service};

const MARKUP: &str = "<script>alert(1)</script>\"'><img src=x onerror=y>";
/// With a character that turns what follows around.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=y>\u{202e}";

/// Every page about what is there.
async fn pages(service: &Service, home: &Home) -> Vec<(String, String)> {
    let device = format!("/admin/devices/{}", home.device);
    let key = url::form_urlencoded::byte_serialize(home.key_hash.as_bytes()).collect::<String>();
    let paths = [
        "/admin".to_owned(),
        "/admin/plugins".to_owned(),
        "/admin/plugins/acme".to_owned(),
        "/admin/plugins/acme/delete".to_owned(),
        "/admin/plugins/new".to_owned(),
        "/admin/devices".to_owned(),
        device.clone(),
        format!("{device}/remove"),
        format!("{device}/keys/remove?key_hash={key}"),
        format!("{device}/install?plugin=acme"),
        format!("{device}/install?plugin=acme&slot={}", home.slot),
        format!("{device}/slots/{}", home.slot),
        format!("{device}/slots/{}/unlink", home.slot),
        format!("{device}/slots/{}/remove", home.slot),
        "/admin/enrolment".to_owned(),
        "/admin/audit".to_owned(),
        format!("/admin/audit?subject=slot:{}/{}", home.device, home.slot),
    ];
    let mut pages = Vec::new();
    for path in paths {
        let html = service.look(&path).await.expect(200);
        pages.push((path, html));
    }
    pages
}

#[track_caller]
fn is_inert(path: &str, html: &str) {
    assert!(!html.contains("<script") && !html.contains("<img"), "{path}: {html}");
    assert!(!html.contains('\u{202e}'), "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d02_names_labels_and_configurations_are_inert() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::bare(&service).await;
    let hostile = json!({
        "name": MARKUP, "scope": MARKUP, HOSTILE: HOSTILE,
        "variables": {"shop": {"title": MARKUP, "default": MARKUP, "enum": [MARKUP, "b"]}},
    });
    home.install_store(&service, "acme", provider.configured(hostile)).await;
    home.link(&service).await;
    let path = format!("/api/devices/{}", home.device);
    service.owner(Method::PATCH, &path, Some(json!({"name": MARKUP}))).await.expect(200);
    let relabel = json!({"label": MARKUP, "public_key": home.jwk()});
    service.owner(Method::POST, &format!("{path}/keys"), Some(relabel)).await.expect(201);
    for (path, html) in pages(&service, &home).await {
        is_inert(&path, &html);
    }
    let shown = service.look(&format!("/admin/devices/{}", home.device)).await.expect(200);
    assert!(shown.contains("&#60;script&#62;alert(1)"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d02_what_was_typed_and_refused_is_inert_too() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let device = format!("/admin/devices/{}", home.device);
    let slot = format!("{device}/slots/{}", home.slot);
    for (path, name) in [
        ("/admin/plugins/new".to_owned(), "plugin"),
        ("/admin/plugins/new".to_owned(), "configuration"),
        ("/admin/plugins/acme".to_owned(), "configuration"),
        (format!("{device}/name"), "name"),
        (format!("{device}/keys"), "label"),
        (format!("{device}/keys"), "public_key"),
        (format!("{device}/keys/remove"), "key_hash"),
        (format!("{device}/install"), "plugin"),
        (format!("{device}/install"), "slot"),
        (format!("{slot}/confirm"), "flow"),
    ] {
        let mut fields = vec![(name, HOSTILE)];
        if name != "plugin" {
            fields.push(("plugin", "acme"));
        }
        let answer = service.fill_in(&path, &fields).await;
        assert!((400..500).contains(&answer.status), "{path} {name}: {}", answer.status);
        is_inert(&path, &answer.html);
    }
    for query in ["done", "after", "before", "subject", "plugin", "slot", "key_hash"] {
        for path in ["/admin", "/admin/plugins", "/admin/devices", "/admin/audit"] {
            let encoded: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
            let answer = service.look(&format!("{path}?{query}={encoded}")).await;
            is_inert(path, &answer.html);
            assert!(answer.status == 200 || answer.status == 400, "{path}?{query}: {}", answer.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i09_no_page_shows_a_secret() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::bare(&service).await;
    let secret = json!({
        "client_secret": "canary-secret", "token_headers": {"x-key": "canary-header"},
        "token_parameters": {"api_key": "canary-parameter"},
    });
    home.install_store(&service, "acme", provider.configured(secret)).await;
    home.link(&service).await;
    let handle = home.relay(&service).await.event("oauth", None).await["data"]["refresh_token"].clone();
    let mut secrets = vec!["canary", "at-1", "rt-1", PASSWORD, "a password for the owner"];
    secrets.push(handle.as_str().unwrap());
    for (path, html) in pages(&service, &home).await {
        for secret in &secrets {
            assert!(!html.contains(secret), "{path} shows {secret}");
        }
    }
    let page = service.look("/admin/plugins/acme").await.expect(200);
    assert_eq!(page.matches("&#34;********&#34;").count(), 3, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_is_refused_with_what_to_do_and_not_repeated() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let path = format!("/admin/devices/{}/keys", home.device);
    let pem = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----";
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"Y2FuYXJ5"}"#;
    for text in [pem, jwk, r#"{"d":"Y2FuYXJ5""#] {
        let html = service.fill_in(&path, &[("label", "hub"), ("public_key", text)]).await.expect(422);
        assert!(html.contains("/public_key") && !html.contains("Y2FuYXJ5"), "{html}");
        assert!(text.len() < 20 || html.contains("this is a private key"), "{html}");
    }
    let keys = service.owner(Method::GET, &format!("/api/devices/{}/keys", home.device), None).await;
    assert_eq!(keys.expect(200).as_array().unwrap().len(), 1);
}
