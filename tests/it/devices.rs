//! Devices: enrolled by the owner, named, spoken for by trusted keys, removed.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Home, Service, home::call_with, service::Reply};

/// Made with `openssl genrsa 1024`.
const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDxRLgb9yPB0Rit/ImcHaFC5gKr
qRcNMyF15Cx5h0IFmnlQPQ1nfrow0nBtcG4W22WlBLiQRZNppud43Ew7Odm/Turq
Yj/eS3gw/2GUD3i+7cb4CO/VQ0M9XmmuKDZcUJkusSpbDITolVIhlPITn6s7PcKp
NDPG2w9lZ3fP9cXWTwIDAQAB
-----END PUBLIC KEY-----
";

async fn enrol(service: &Service, body: Value) -> Reply {
    service.owner(Method::POST, "/api/devices", Some(body)).await
}

async fn trust(service: &Service, home: &Home, key: Value) -> Reply {
    let path = format!("/api/devices/{}/keys", home.device);
    home.call(service, Method::POST, &path, Some(json!({"label": "laptop", "public_key": key}))).await
}

/// A public key as PEM (RFC 8410 §4) and as a JWK.
fn written(key: &Ed25519KeyPair) -> (String, Value) {
    let raw = key.public_key().as_ref();
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode([&prefix, raw].concat())
    );
    (pem, json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(raw)}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_enrolled_shown_renamed_and_removed_with_its_tokens() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let path = format!("/api/devices/{}", home.device);
    let token = home.token(&service).await;
    let by_device = async |method, body| call_with(&service, &token, method, &path, body).await;
    let shown = by_device(Method::GET, None).await.expect(200);
    assert_eq!((&shown["device"], &shown["name"]), (&json!(home.device), &json!("Living room")));
    assert_eq!(service.owner(Method::GET, "/api/devices", None).await.expect(200), json!([shown]));

    let renamed = by_device(Method::PATCH, Some(json!({"name": "Küche 🏠"}))).await.expect(200);
    assert_eq!(renamed["name"], "Küche 🏠");
    for name in ["", " x", "a\nb", "a\u{1b}[31m", "a\u{202e}b", &"x".repeat(65)] {
        let refused = by_device(Method::PATCH, Some(json!({ "name": name }))).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], "/name", "{name:?}");
    }
    assert_eq!(by_device(Method::GET, None).await.expect(200)["name"], "Küche 🏠");

    assert_eq!(by_device(Method::DELETE, None).await.expect(403)["code"], "forbidden");
    let stranger = Home::bare(&service).await;
    let somebody = stranger.call(&service, Method::DELETE, &path, None).await.expect(404);
    let nobody = format!("/api/devices/{}", home.elsewhere().device);
    let nobody = stranger.call(&service, Method::DELETE, &nobody, None).await;
    assert_eq!(nobody.expect(404), somebody, "like one that does not exist");
    let removed = service.owner(Method::DELETE, &path, None).await;
    assert_eq!((removed.status, removed.text.as_str()), (204, ""));
    assert_eq!(by_device(Method::GET, None).await.status, 401);
    assert_eq!(service.owner(Method::GET, &path, None).await.status, 404);
    assert_eq!(service.owner(Method::DELETE, &path, None).await.status, 404);
    let assertion = home.assertion(&service, &json!({}));
    assert_eq!(home.grant(&service, &assertion, None).await.expect(400)["error"], "invalid_grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn i01_a_password_is_long_enough_not_too_long_and_no_common_one() {
    let service = Service::start().await;
    for (password, status) in [
        ("f0urteen chars".to_owned(), 422),
        ("fifteen chars!!".to_owned(), 201),
        ("ein Satz mit Ümläuten und 🏠 und Leerzeichen, länger als vierundsechzig Zeichen".to_owned(), 201),
        ("x".repeat(1_000_000), 413),
        ("a long phrase ".repeat(40), 422),
        ("correct horse battery staple".to_owned(), 422),
        ("Garage one Garage one".to_owned(), 422),
    ] {
        let reply = enrol(&service, json!({"name": "Garage one", "password": password})).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(!reply.text.contains(&password), "it is not repeated");
        if status == 422 {
            assert_eq!(reply.json["errors"][0]["field"], "/password");
        }
    }
    for (body, field) in
        [(json!({"password": "a long enough phrase"}), "/name"), (json!({"name": "x"}), "/password")]
    {
        assert_eq!(enrol(&service, body).await.expect(422)["errors"][0]["field"], field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_nobody_chooses_an_id_or_a_role_by_sending_it() {
    let service = Service::start().await;
    let id = "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10";
    let body = json!({"name": "x", "password": "a long enough phrase", "device": id, "owner": true, "role": "owner"});
    let enrolled = enrol(&service, body).await.expect(201);
    assert_eq!(enrolled.as_object().unwrap().len(), 2, "{enrolled}");
    assert_ne!(enrolled["device"], id);
    assert_eq!(service.owner(Method::GET, &format!("/api/devices/{id}"), None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_trusted_as_pem_or_jwk_listed_and_removed_by_its_hash() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    // One whose hash has both characters that a path gives a meaning to.
    let (pem, jwk, hash) = loop {
        let (pem, jwk) = written(&Ed25519KeyPair::generate().unwrap());
        let answer = trust(&service, &home, json!(pem)).await.expect(201);
        let hash = answer["key_hash"].as_str().unwrap().to_owned();
        if hash.contains('/') && hash.contains('+') {
            assert_eq!(answer, json!({"label": "laptop", "key_hash": hash}));
            break (pem, jwk, hash);
        }
        let path = format!("/api/devices/{}/keys/{}", home.device, hash.replace('/', "%2F"));
        home.call(&service, Method::DELETE, &path, None).await.expect(204);
    };
    assert!(hash.starts_with("SHA256:") && hash.len() == 50, "{hash}");
    assert_eq!(trust(&service, &home, jwk).await.expect(201)["key_hash"], hash, "the same key");
    let list = home.call(&service, Method::GET, &format!("/api/devices/{}/keys", home.device), None).await;
    let list = list.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!((&list[0]["label"], &list[0]["key_hash"]), (&json!("hub"), &json!(home.key_hash)));
    assert!(list[0]["added_at"].is_string() && list[0]["last_used_at"].is_string());
    assert_eq!((&list[1]["key_hash"], &list[1]["last_used_at"]), (&json!(hash), &Value::Null));

    for written in [hash.clone(), hash.replace('/', "%252F"), format!("{hash}x").replace('/', "%2F")] {
        let path = format!("/api/devices/{}/keys/{written}", home.device);
        assert_eq!(home.call(&service, Method::DELETE, &path, None).await.status, 404, "{written}");
    }
    let encoded = hash.replace(':', "%3A").replace('/', "%2F").replace('+', "%2B");
    let path = format!("/api/devices/{}/keys/{encoded}", home.device);
    let removed = home.call(&service, Method::DELETE, &path, None).await;
    assert_eq!((removed.status, removed.text.as_str()), (204, ""));
    assert_eq!(home.call(&service, Method::DELETE, &path, None).await.status, 404);
    trust(&service, &home, json!(pem)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_private_short_or_none_is_refused_and_never_repeated() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let private = Ed25519KeyPair::generate().unwrap();
    let (_, mut jwk) = written(&private);
    jwk["d"] = "canarycanarycanarycanarycanarycanarycanary0".into();
    let pem =
        |kind: &str| format!("-----BEGIN {kind}-----\nMC4CAQAwBQYDK2VwBCIEIcanary\n-----END {kind}-----\n");
    for key in [
        jwk,
        json!(pem("PRIVATE KEY")),
        json!(pem("EC PRIVATE KEY")),
        json!(pem("OPENSSH PRIVATE KEY")),
        json!(RSA_1024),
        json!({"kty": "oct", "k": "canary"}),
        json!({"kty": "EC", "crv": "P-384", "x": "canary", "y": "canary"}),
        json!("canary"),
        json!(["canary"]),
        json!(null),
    ] {
        let reply = trust(&service, &home, key.clone()).await;
        assert!(!reply.text.contains("canary"), "{}", reply.text);
        assert_eq!(reply.expect(422)["errors"][0]["field"], "/public_key", "{key}");
    }
    let unknown = "/api/devices/6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10/keys";
    let body = json!({"label": "x", "public_key": written(&private).1});
    assert_eq!(service.owner(Method::POST, unknown, Some(body)).await.status, 404);
    assert_eq!(service.owner(Method::GET, unknown, None).await.status, 404);
    let list = format!("/api/devices/{}/keys", home.device);
    assert_eq!(home.call(&service, Method::GET, &list, None).await.expect(200).as_array().unwrap().len(), 1);
}
