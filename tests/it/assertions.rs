//! `POST /api/token`: an assertion by a trusted key becomes an access token, once.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use crate::harness::{Home, PUBLIC, Service, service::Reply};

/// A refusal in the form of RFC 6749 §5.2: its `error` and `error_description`.
fn refused(reply: Reply) -> (String, String) {
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(reply.headers["content-type"], "application/json");
    let body = reply.expect(400);
    let text = |member: &str| body[member].as_str().unwrap().to_owned();
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    (text("error"), text("error_description"))
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_becomes_a_token_whose_claims_and_key_anybody_can_check() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    for slot in [None, Some("heating")] {
        let assertion = home.assertion(&service, &json!({}));
        let reply = home.grant(&service, &assertion, slot).await;
        assert_eq!(reply.headers["cache-control"], "no-store");
        let granted = reply.expect(200);
        assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("Bearer"), &json!(3600)));
        let token = granted["access_token"].as_str().unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
        let keys = Reply::of(service.request(Method::GET, "/.well-known/jwks.json")).await.expect(200);
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
        assert_eq!(
            (&header["alg"], &key["kty"], &key["crv"]),
            (&json!("EdDSA"), &json!("OKP"), &json!("Ed25519"))
        );
        assert!(key.get("d").is_none(), "the public half alone");
        let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        let signed = format!("{}.{}", parts[0], parts[1]);
        UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &signature).unwrap();

        let level = slot.unwrap_or("+");
        let topic = |channel: &str| format!("cloudlink/{}/{level}/{channel}", home.device);
        assert_eq!(claims["subs"], json!([topic("events")]));
        assert_eq!(claims["publ"], json!([topic("ack"), topic("settings")]));
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(PUBLIC), &json!(home.device)));
        assert_eq!(claims["scope"], granted["scope"]);
        let number = |claim: &str| claims[claim].as_i64().unwrap();
        assert_eq!(number("exp") - number("iat"), 3600);
        assert!(number("nbf") <= service.now().unix_timestamp());
        assert!(claims["jti"].is_string() && !claims["aud"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_ninety_seconds_off_is_forgiven_and_one_ten_minutes_off_is_named() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let now = service.now().unix_timestamp();
    let at = |offset: i64| home.assertion(&service, &json!({"iat": now + offset, "exp": now + offset + 60}));
    for offset in [-90 - 60 + 1, 90] {
        home.grant(&service, &at(offset), None).await.expect(200);
    }
    for offset in [-600, 600] {
        let (error, description) = refused(home.grant(&service, &at(offset), None).await);
        assert_eq!(error, "invalid_grant");
        assert!(description.contains("clock"), "{description}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_good_once_on_whichever_replica() {
    let service = Service::start().await;
    let home = Home::bare(&service).await;
    let other = service.replica().await;
    let assertion = home.assertion(&service, &json!({}));
    let (one, two) =
        tokio::join!(home.grant(&service, &assertion, None), home.grant(&other, &assertion, None));
    let (granted, mut spent): (Vec<_>, Vec<_>) =
        [one, two].into_iter().partition(|reply| reply.status == 200);
    assert_eq!((granted.len(), spent.len()), (1, 1));
    let (error, description) = refused(spent.remove(0));
    assert_eq!(error, "invalid_grant");
    assert!(description.contains("jti"), "{description}");
    // Remembered beyond its end, for as long as the leeway lets it live.
    service.clock.advance(Duration::seconds(60 + 110));
    assert_eq!(refused(home.grant(&other, &assertion, None).await).0, "invalid_grant");
    let stranger = Home::bare(&service).await;
    let same_id = home.assertion(&service, &json!({"jti": "one"}));
    let of_another = stranger.assertion(&service, &json!({"jti": "one"}));
    home.grant(&service, &same_id, None).await.expect(200);
    stranger.grant(&service, &of_another, None).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_the_form_of_rfc_6749_and_says_what_to_do() {
    let service = Service::start().await;
    let (home, other) = (Home::bare(&service).await, Home::bare(&service).await);
    let now = service.now().unix_timestamp();
    let unknown = "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10";
    for changes in [
        json!({"aud": "https://elsewhere.example/api/token"}),
        json!({"aud": format!("{PUBLIC}/api")}),
        json!({"aud": null}),
        json!({"iss": unknown, "sub": unknown}),
        json!({"iss": other.device, "sub": other.device}),
        json!({"sub": other.device}),
        json!({"iss": "home"}),
        json!({"iat": null}),
        json!({"jti": null}),
        json!({"jti": ""}),
        json!({"exp": null}),
        json!({"iat": now, "exp": now + 301}),
        json!({"iat": now, "exp": now}),
        json!({"exp": "soon"}),
        json!({"nbf": now + 600}),
    ] {
        let assertion = home.assertion(&service, &changes);
        assert_eq!(refused(home.grant(&service, &assertion, None).await).0, "invalid_grant", "{changes}");
    }
    let good = home.assertion(&service, &json!({}));
    let unsigned = {
        let parts: Vec<&str> = good.split('.').collect();
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), parts[1])
    };
    for garbage in ["x", "a.b.c", &unsigned, &good[..good.len() - 4]] {
        assert_eq!(refused(home.grant(&service, garbage, None).await).0, "invalid_grant", "{garbage}");
    }
    assert_eq!(refused(home.grant(&service, &good, Some("A b")).await).0, "invalid_request");

    let send = async |media_type: &str, body: String| {
        let request = service.request(Method::POST, "/api/token").header("content-type", media_type);
        Reply::of(request.body(body)).await
    };
    let form = "application/x-www-form-urlencoded";
    let bearer = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer";
    for (media_type, body, error) in [
        (form, format!("assertion={good}"), "invalid_request"),
        (form, bearer.to_owned(), "invalid_request"),
        (form, format!("{bearer}&assertion={good}&assertion={good}"), "invalid_request"),
        (form, format!("grant_type=password&assertion={good}"), "unsupported_grant_type"),
        ("application/json", json!({"assertion": good}).to_string(), "invalid_request"),
    ] {
        assert_eq!(refused(send(media_type, body).await).0, error);
    }
    // None of it has spent the good one; both audiences of the contract will do, also in a list.
    home.grant(&service, &good, None).await.expect(200);
    for audience in [json!(PUBLIC), json!([format!("{PUBLIC}/api/token")])] {
        let assertion = home.assertion(&service, &json!({ "aud": audience }));
        home.grant(&service, &assertion, None).await.expect(200);
    }
}
