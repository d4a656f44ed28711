//! What of a web service's request goes on to a plugin, and what of the plugin's answer goes back.

use std::collections::BTreeSet;

use actix_web::http::header::{CONNECTION, HeaderMap, HeaderName};
use serde_json::Value;

use super::extract::QueryPairs;
use crate::domain::json::Object;

/// Of one connection alone (RFC 9110 §7.6.1), about the way here, or this service's own: not the sender's word.
const NOT_PASSED_ON: [&str; 22] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "host",
    "content-length",
    "cookie",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-request-id",
];
/// What an answer may have besides [`PROOFS`].
const ANSWERED: [&str; 6] =
    ["content-type", "content-disposition", "content-language", "etag", "last-modified", "retry-after"];
/// How the names begin that services ask back for as proof. No other `x-…`: each proxy has some of its own that it
/// obeys where they come from behind it (`x-accel-redirect`, `x-envoy-…`, `x-litespeed-…`), and nobody knows them all.
const PROOFS: [&str; 4] = ["webhook-", "x-hook-", "x-hub-", "x-webhook-"];

/// The headers for the plugin, names in lower case, repeated ones joined; without the one that holds the secret.
pub(super) fn headers(head: &HeaderMap, secret: Option<&str>) -> Object {
    let options = head.get_all(CONNECTION).filter_map(|line| line.to_str().ok());
    let options: BTreeSet<String> =
        options.flat_map(|line| line.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let mut passed = Object::new();
    for (name, value) in head {
        let name = name.as_str();
        if NOT_PASSED_ON.contains(&name) || options.contains(name) || secret == Some(name) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        match passed.get_mut(name) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            Some(_) | None => drop(passed.insert(name.to_owned(), value.into())),
        }
    }
    passed
}

/// The query for the plugin: a text for each name, a list where it is repeated; without the member that is the secret.
pub(super) fn query(pairs: &QueryPairs, secret: Option<&str>) -> Object {
    let mut passed = Object::new();
    for (name, value) in pairs.iter().filter(|(name, _)| secret != Some(*name)) {
        match passed.get_mut(name) {
            None => drop(passed.insert(name.to_owned(), value.into())),
            Some(Value::Array(values)) => values.push(value.into()),
            Some(one) => *one = Value::Array(vec![one.take(), value.into()]),
        }
    }
    passed
}

/// Whether a plugin's answer may have this header: never what acts on this service's own origin, as cookies,
/// challenges, redirects, policies and leave for other origins do.
pub(super) fn may_answer_with(name: &HeaderName) -> bool {
    let name = name.as_str();
    ANSWERED.contains(&name) || PROOFS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use actix_web::{FromRequest as _, http::header::HeaderValue, test::TestRequest, web};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::http::frame::{Frame, Limits};

    fn head(lines: &[(&str, &str)]) -> HeaderMap {
        let mut head = HeaderMap::new();
        for (name, value) in lines {
            head.append(name.parse().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        head
    }

    #[test]
    fn what_the_sender_says_is_passed_on_and_what_belongs_to_the_way_is_not() {
        let head = head(&[
            ("Content-Type", "application/json"),
            ("Authorization", "Bearer x"),
            ("X-Hub-Signature-256", "sha256=00"),
            ("Accept", "a/b"),
            ("Accept", "c/d"),
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Host", "link.example"),
            ("Cookie", "__Host-cloudlink=canary"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Token", "canary"),
        ]);
        let expected = json!({
            "content-type": "application/json", "authorization": "Bearer x", "x-hub-signature-256": "sha256=00",
            "accept": "a/b, c/d",
        });
        assert_eq!(Value::Object(headers(&head, Some("x-token"))), expected);
    }

    struct Nothing;

    impl crate::domain::clock::Entropy for Nothing {
        fn fill(&self, _: &mut [u8]) {}
    }

    async fn passed(text: &str, secret: Option<&str>) -> Value {
        let frame = web::Data::new(Frame {
            public_url: "https://link.example".parse().unwrap(),
            trusted_proxies: Vec::new(),
            entropy: std::sync::Arc::new(Nothing),
            limits: Limits::default(),
            load: crate::http::load::Load::new("test", 100),
        });
        let request = TestRequest::with_uri(&format!("/?{text}")).app_data(frame).to_http_request();
        Value::Object(query(&QueryPairs::extract(&request).await.unwrap(), secret))
    }

    #[actix_web::test]
    async fn a_repeated_member_of_the_query_is_a_list_and_the_secret_is_left_out() {
        assert_eq!(passed("", None).await, json!({}));
        let told = passed("a=1&token=canary&b=%20x&a=2&a=&%74oken=canary", Some("token")).await;
        assert_eq!(told, json!({"a": ["1", "2", ""], "b": " x"}));
    }

    #[test]
    fn an_answer_can_not_act_on_this_services_origin() {
        let may = |name: &str| may_answer_with(&HeaderName::try_from(name).unwrap());
        for name in ["content-type", "etag", "x-hook-secret", "x-hub-challenge", "webhook-allowed-origin"] {
            assert!(may(name), "{name}");
        }
        for name in [
            "set-cookie",
            "www-authenticate",
            "location",
            "refresh",
            "content-security-policy",
            "strict-transport-security",
            "clear-site-data",
            "access-control-allow-origin",
            "service-worker-allowed",
            "transfer-encoding",
            "content-length",
            "connection",
            "x-accel-redirect",
            "x-anything",
            "x-envoy-immediate-health-check-fail",
            "x-litespeed-location",
            "x-lighttpd-send-file",
            "x-reproxy-url",
            "x-sendfile",
            "x-forwarded-for",
            "x-frame-options",
            "x-request-id",
            "cache-control",
            "server",
        ] {
            assert!(!may(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(value in proptest::collection::vec(0x20u8..=0xff, 0..40)) {
            let mut head = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                head.append("x-a".parse().unwrap(), value.clone());
                head.append(CONNECTION, value);
            }
            let _ = headers(&head, None);
        }
    }
}
