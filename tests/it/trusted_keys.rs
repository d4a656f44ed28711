//! Trusted keys: which may sign, whose they are, and what becomes of a device that loses its last.

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
        RSA_PSS_SHA256, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Account, Home, PASSWORD, PUBLIC, Reply, Service, call_with};

fn pem(spki: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki))
}

async fn trust(service: &Service, device: &str, label: &str, key: &Value) -> Reply {
    let path = format!("/api/devices/{device}/keys");
    service.owner(Method::POST, &path, Some(json!({"label": label, "public_key": key}))).await
}

/// An assertion for `device`, signed by any means.
fn assertion(
    service: &Service,
    device: &str,
    algorithm: &str,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let now = service.now().unix_timestamp();
    let claims = json!({
        "iss": device, "sub": device, "aud": format!("{PUBLIC}/api/token"), "iat": now, "exp": now + 60,
        "jti": algorithm,
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({"alg": algorithm})), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_may_sign_with_rs256_ps256_or_es256_and_with_nothing_else() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let spki: PublicKeyX509Der<'_> = ec.public_key().as_der().unwrap();
    trust(&service, &home.device, "p-256", &json!(pem(spki.as_ref()))).await.expect(201);
    let spki: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
    trust(&service, &home.device, "rsa", &json!(pem(spki.as_ref()))).await.expect(201);

    let random = SystemRandom::new();
    let by_rsa = |algorithm: &str, encoding: &'static dyn RsaEncoding| {
        assertion(&service, &home.device, algorithm, |signed| {
            let mut signature = vec![0; rsa.public_modulus_len()];
            rsa.sign(encoding, &random, signed, &mut signature).unwrap();
            signature
        })
    };
    let by_ec = |algorithm: &str| {
        let sign = |signed: &[u8]| ec.sign(&random, signed).unwrap().as_ref().to_vec();
        assertion(&service, &home.device, algorithm, sign)
    };
    for believed in [by_rsa("RS256", &RSA_PKCS1_SHA256), by_rsa("PS256", &RSA_PSS_SHA256), by_ec("ES256")] {
        home.grant(&service, &believed, None).await.expect(200);
    }
    let shared = hmac::Key::new(hmac::HMAC_SHA256, spki.as_ref());
    for refused in [
        by_rsa("RS512", &RSA_PKCS1_SHA512),
        by_rsa("PS512", &RSA_PSS_SHA512),
        by_ec("ES384"),
        assertion(&service, &home.device, "HS256", |signed| hmac::sign(&shared, signed).as_ref().to_vec()),
    ] {
        let refused = home.grant(&service, &refused, None).await.expect(400);
        assert_eq!(refused["error"], "invalid_grant");
        assert!(refused["error_description"].as_str().unwrap().contains("ES256"), "{refused}");
    }
    // The name of an allowed one over the signature of another.
    for refused in [by_rsa("PS256", &RSA_PKCS1_SHA256), by_rsa("ES256", &RSA_PKCS1_SHA256), by_ec("RS256")] {
        home.grant(&service, &refused, None).await.expect(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_may_trust_one_key_and_it_speaks_for_each_apart() {
    let service = Service::start().await;
    let (home, other) = (Home::bare(&service).await, Home::bare(&service).await);
    trust(&service, &other.device, "shared", &home.jwk()).await.expect(201);
    let asserted = json!({"iss": other.device, "sub": other.device});
    let granted = home.grant(&service, &home.assertion(&service, &asserted), None).await.expect(200);
    let token = granted["access_token"].as_str().unwrap();
    let slots = |device: &str| format!("/api/devices/{device}/slots");
    assert_eq!(call_with(&service, token, Method::GET, &slots(&other.device), None).await.status, 200);
    assert_eq!(call_with(&service, token, Method::GET, &slots(&home.device), None).await.status, 404);

    let foreign_path = format!("/api/devices/{}/keys/{}", other.device, home.key_hash.replace('/', "%2F"));
    assert_eq!(service.owner(Method::DELETE, &foreign_path, None).await.status, 204);
    assert_eq!(home.grant(&service, &home.assertion(&service, &asserted), None).await.status, 400);
    assert_eq!(call_with(&service, token, Method::GET, &slots(&other.device), None).await.status, 401);
    assert_eq!(
        home.call(&service, Method::GET, &slots(&home.device), None).await.status,
        200,
        "its own device"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_key_is_gone_the_password_lets_a_new_one_in_and_the_old_one_stays_out() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let keys = format!("/api/devices/{}/keys", home.device);
    let own = format!("{keys}/{}", home.key_hash.replace('/', "%2F"));
    let token = home.token(&service).await;
    for none in ["SHA256:%00", "%00", "SHA256:AAAA"] {
        let none = call_with(&service, &token, Method::DELETE, &format!("{keys}/{none}"), None).await;
        assert_eq!(none.status, 404);
    }
    assert_eq!(call_with(&service, &token, Method::DELETE, &own, None).await.status, 204, "by itself");
    assert_eq!(call_with(&service, &token, Method::GET, &keys, None).await.status, 401);
    for _ in 0..2 {
        let refused = home.grant(&service, &home.assertion(&service, &json!({})), None).await.expect(400);
        assert_eq!(refused["error"], "invalid_grant");
    }

    let here = Account { service: &service, network: "198.51.100.1" };
    let by_password = here.token(&home.device, PASSWORD).await;
    let list = call_with(&service, &by_password, Method::GET, &keys, None).await.expect(200);
    assert_eq!(list, json!([]));
    let next = Home::bare(&service).await.jwk();
    let body = json!({"label": "the new hub", "public_key": next});
    assert_eq!(call_with(&service, &by_password, Method::POST, &keys, Some(body)).await.status, 201);
    assert_eq!(home.grant(&service, &home.assertion(&service, &json!({})), None).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_with_control_characters_and_pem_with_anything_around_it_are_refused() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    for label in ["", "a\nb", "a\u{0}b", "a\u{1b}[2J", "a\u{202e}b", &"x".repeat(65)] {
        let refused = trust(&service, &home.device, label, &home.jwk()).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], "/label", "{label:?}");
    }
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let spki: PublicKeyX509Der<'_> = ec.public_key().as_der().unwrap();
    let good = pem(spki.as_ref());
    for garbage in [
        format!("Here is my key:\n{good}"),
        format!("{good}Regards"),
        format!("{good}{good}"),
        good.replace("-----END", "----END"),
        good.replace('\n', "\u{0}"),
        good.replacen("MF", "M\u{e9}", 1),
    ] {
        let refused = trust(&service, &home.device, "laptop", &json!(garbage)).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], "/public_key", "{garbage}");
    }
    let blanks = format!("\r\n  {}  \r\n", good.replace('\n', "\r\n"));
    trust(&service, &home.device, "laptop", &json!(blanks)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn i01_i02_a_password_of_fourteen_characters_or_a_million_is_refused_wherever_one_is_given() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let here = Account { service: &service, network: "198.51.100.1" };
    let (short, endless) = ("seven ducks at", "x".repeat(1_000_000));
    assert_eq!(short.chars().count(), 14);
    let enrol = |password: &str| json!({"name": "Attic", "password": password});
    let refused = service.owner(Method::POST, "/api/devices", Some(enrol(short))).await.expect(422);
    assert_eq!(refused["errors"][0]["field"], "/password");
    let path = format!("/api/devices/{}/password", home.device);
    let refused = service.owner(Method::PUT, &path, Some(json!({"new_password": short}))).await.expect(422);
    assert_eq!(refused["errors"][0]["field"], "/new_password");
    for reply in [
        service.owner(Method::POST, "/api/devices", Some(enrol(&endless))).await,
        service.owner(Method::PUT, &path, Some(json!({"new_password": endless}))).await,
        here.login(&home.device, &endless).await,
        here.call(Method::POST, "/api/login", json!({"user": "owner", "pass": endless})).await,
    ] {
        assert_eq!((reply.status, &reply.json["code"]), (413, &json!("payload_too_large")));
    }
    assert_eq!(here.login(&home.device, PASSWORD).await.status, 200, "nothing of it was a try");
}

#[tokio::test(flavor = "multi_thread")]
async fn i02_two_hundred_logins_at_once_are_answered_in_turn_or_told_to_wait_and_health_stays() {
    let service = Service::with(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let home = Home::bare(&service).await;
    let networks: Vec<String> = (0..200).map(|nth| format!("203.0.113.{nth}")).collect();
    let logins = networks.iter().map(|network| {
        let stranger = Account { service: &service, network };
        let device = home.device.clone();
        async move { stranger.login(&device, "not this one at all").await }
    });
    let health = async {
        let mut statuses = Vec::new();
        for _ in 0..10 {
            statuses.push(Reply::of(service.request(Method::GET, "/healthz")).await.status);
        }
        statuses
    };
    let (replies, health) = tokio::join!(futures_util::future::join_all(logins), health);
    assert_eq!(health, [200; 10]);
    for reply in &replies {
        let wait = reply.headers.contains_key("retry-after");
        assert!(matches!((reply.status, wait), (401, false) | (429 | 503, true)), "{}", reply.status);
    }
    let hashed = replies.iter().filter(|reply| reply.status == 401).count();
    assert!(hashed <= 6, "from networks nobody knows, tries are counted together: {hashed}");
}
