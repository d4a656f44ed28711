//! What holds for every answer of every route, errors included.

use reqwest::{Method, header::HeaderMap};

use crate::harness::{Attempt, Home, Provider, Service};

/// Every route, with a path that exists where one can: `{device}`, `{flow}` and `{handle}` are filled in.
const ROUTES: [&str; 46] = [
    "/healthz",
    "/readyz",
    "/.well-known/jwks.json",
    "/api/openapi.json",
    "/docs",
    "/api/login",
    "/api/login/callback?code=x&state=y",
    "/api/token",
    "/api/device_authorization",
    "/api/authorize?redirect_uri=http://127.0.0.1:1/",
    "/api/revoke",
    "/api/plugins",
    "/api/plugins/acme",
    "/api/plugins/acme/approve",
    "/api/plugins/acme/doctor",
    "/api/enrolment-codes",
    "/api/devices",
    "/api/devices/{device}",
    "/api/devices/{device}/login",
    "/api/devices/{device}/password",
    "/api/devices/{device}/keys",
    "/api/devices/{device}/slots",
    "/api/devices/{device}/slots/heating",
    "/api/devices/{device}/slots/heating/oauth",
    "/api/devices/{device}/slots/heating/connect",
    "/api/devices/{device}/slots/heating/flows/{flow}",
    "/api/devices/{device}/slots/heating/token",
    "/api/devices/{device}/slots/heating/tokens",
    "/api/devices/{device}/slots/heating/webhook",
    "/api/devices/{device}/commands/nothing",
    "/api/eisy/pg3/webhook/response/{device}/nowhere",
    "/api/cloudlink/token",
    "/api/cloudlink/redirect",
    "/api/cloudlink/redirect/acme?code=x&state=y",
    "/api/cloudlink/relay",
    "/api/cloudlink/events",
    "/api/ack",
    "/connect/{handle}",
    "/link",
    "/login/{handle}",
    "/login/not-a-handle",
    "/v1",
    "/services",
    "/refresh_token/ecobee",
    "/account-link/not-a-handle",
    "/no/such/route",
];

async fn each_answer(service: &Service, headers: &[(&str, &str)], check: impl Fn(&str, u16, &HeaderMap)) {
    let provider = Provider::start().await;
    let home = Home::enrol(service, &provider).await;
    let attempt = Attempt::start(service, &home).await;
    for route in ROUTES {
        let path = route
            .replace("{device}", &home.device)
            .replace("{flow}", attempt.connection["flow"].as_str().unwrap())
            .replace("{handle}", attempt.url().rsplit('/').next().unwrap());
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS, Method::HEAD] {
            for token in [None, Some("wrong"), Some("owner")] {
                // As the owner nothing is changed, only looked at.
                if token == Some("owner") && method != Method::GET {
                    continue;
                }
                let mut request = service.request(method.clone(), &path);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                request = match token {
                    Some("owner") => request.basic_auth("owner", Some("a password for the owner")),
                    Some(token) => request.bearer_auth(token),
                    None => request,
                };
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let what = format!("{method} {route} {token:?}: {status}");
                assert!(status < 500, "{what}");
                check(&what, status, answer.headers());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d04_d06_every_route_has_the_headers_errors_included() {
    let service = Service::with(&[("SERVER__PUBLIC_URL", "https://cloudlink.test")]).await;
    each_answer(&service, &[], |what, status, headers| {
        let value = |name: &str| {
            let value = headers.get(name).unwrap_or_else(|| panic!("{name} is missing: {what}"));
            value.to_str().unwrap()
        };
        let policy = value("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{what}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{what}: {policy}");
        assert_eq!(value("x-content-type-options"), "nosniff", "{what}");
        assert_eq!(value("cross-origin-opener-policy"), "same-origin", "{what}");
        assert_eq!(value("referrer-policy"), "no-referrer", "{what}");
        assert!(value("strict-transport-security").starts_with("max-age="), "{what}");
        assert!(!value("cache-control").is_empty(), "{what}");
        assert!(headers.contains_key("x-request-id"), "{what}");
        assert!(!headers.contains_key("server") && !headers.contains_key("x-powered-by"), "{what}");
        assert!(!(301..=302).contains(&status) && !(307..=308).contains(&status), "d05: {what}");
        if status == 401 {
            assert_eq!(value("www-authenticate").split(' ').next(), Some("Bearer"), "{what}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d09_no_route_answers_a_foreign_origin_with_cors() {
    let service = Service::start().await;
    let preflight = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, content-type"),
    ];
    each_answer(&service, &preflight, |what, status, headers| {
        let cors = headers.keys().find(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(cors, None, "{what}");
        assert!(!what.starts_with("OPTIONS") || status >= 400, "{what}: no preflight succeeds");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_body_or_path_gets_the_headers_too() {
    let service = Service::start().await;
    let long = format!("/{}", "x".repeat(17_000));
    for (method, path, body) in [
        (Method::POST, "/api/devices", "{"),
        (Method::POST, "/api/token", "%00"),
        (Method::GET, "/api/devices/not-a-uuid", ""),
        (Method::GET, "/connect/%00%0d%0a", ""),
        (Method::GET, "/api/cloudlink/redirect/UPPER?code=c&state=s", ""),
        (Method::GET, "/link?user_code=a&user_code=b", ""),
        (Method::GET, long.as_str(), ""),
    ] {
        let request = service.request(method, path).header("content-type", "application/json");
        let answer = request.body(body.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        assert!((400..500).contains(&status), "{path}: {status}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    }
}
