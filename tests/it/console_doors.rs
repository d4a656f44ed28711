//! Who gets into the console, and by which door: the owner's password, on the operator's listener, by a form of
//! its own.

use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use crate::harness::{
    Account, Home, OWNER, Provider, Reply, Service,
    console::{form, shown},
};

/// Every page and form, with what is there filled in.
fn addresses(home: &Home) -> Vec<String> {
    let device = format!("/admin/devices/{}", home.device);
    let slot = format!("{device}/slots/{}", home.slot);
    let mut all: Vec<String> = ["", "/", "/plugins", "/plugins/new", "/plugins/acme", "/plugins/acme/"]
        .into_iter()
        .chain(["/plugins/acme/approve", "/plugins/acme/delete", "/devices", "/enrolment", "/audit"])
        .map(|rest| format!("/admin{rest}"))
        .collect();
    all.push(device.clone());
    all.extend(
        ["/name", "/password", "/remove", "/keys", "/keys/remove", "/install"]
            .map(|rest| format!("{device}{rest}")),
    );
    all.push(slot.clone());
    all.extend(["/authenticate", "/confirm", "/unlink", "/remove"].map(|rest| format!("{slot}{rest}")));
    all
}

/// All that could have been changed.
async fn everything(service: &Service, home: &Home) -> (Value, String) {
    let mut parts = Vec::new();
    for path in ["/api/plugins", "/api/devices", "/api/audit?limit=200"] {
        parts.push(service.owner(Method::GET, path, None).await.expect(200));
    }
    for path in ["slots", "keys"] {
        let path = format!("/api/devices/{}/{path}", home.device);
        parts.push(service.owner(Method::GET, &path, None).await.expect(200));
    }
    (json!(parts), service.look("/admin").await.expect(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_page_or_sends_a_form_without_the_owners_password() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let account = Account { service: &service, network: "198.51.100.1" };
    let (owner_token, device_token) = (account.owner_token().await, home.token(&service).await);
    for address in addresses(&home) {
        for method in [Method::GET, Method::POST] {
            let requests = [
                service.admin(method.clone(), &address),
                service.admin(method.clone(), &address).bearer_auth(&owner_token),
                service.admin(method.clone(), &address).bearer_auth(&device_token),
                service.admin(method.clone(), &address).header("authorization", "Digest x"),
            ];
            for request in requests {
                let answer = shown(request).await;
                if answer.status == 405 {
                    continue;
                }
                assert_eq!(answer.status, 401, "{method} {address}");
                let challenge = "Basic realm=\"cloudlink\", charset=\"UTF-8\"";
                assert_eq!(answer.header("www-authenticate"), challenge, "{address}");
                assert!(answer.html.contains("Log in as the owner"), "{}", answer.html);
                assert!(!answer.html.contains("csrf"), "{}", answer.html);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_listener_knows_no_console() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let unknown = Reply::of(service.request(Method::GET, "/no/such/page")).await;
    assert_eq!(unknown.status, 404);
    for address in addresses(&home) {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            for login in [None, Some(OWNER)] {
                let mut request = service.request(method.clone(), &address);
                if let Some((user, password)) = login {
                    request = request.basic_auth(user, Some(password));
                }
                let answer = Reply::of(request).await;
                assert_eq!((answer.status, &answer.text), (404, &unknown.text), "{method} {address}");
                assert!(!answer.headers.contains_key("www-authenticate"), "{address}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_password_in_the_settings_nobody_gets_in_and_the_page_says_what_to_set() {
    let service = Service::with(&[("ADMIN__PASSWORD", "")]).await;
    for password in ["", "guess"] {
        let answer = shown(service.admin(Method::GET, "/admin").basic_auth("owner", Some(password))).await;
        assert_eq!(answer.status, 401);
        assert!(answer.html.contains("Set admin.password"), "{}", answer.html);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i03_wrong_passwords_are_recorded_and_after_twenty_the_network_waits() {
    let service = Service::start().await;
    let guess = async |password: &str| {
        shown(service.admin(Method::GET, "/admin").basic_auth(OWNER.0, Some(password))).await
    };
    for _ in 0..25 {
        assert_eq!(guess(OWNER.1).await.status, 200, "a right one costs nothing");
    }
    for _ in 0..20 {
        assert_eq!(guess("a wrong one").await.status, 401);
    }
    let refused = guess(OWNER.1).await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(refused.html.contains("<h1>Too many tries</h1>"), "{}", refused.html);
    service.clock.advance(Duration::seconds(61));
    let record = service.look("/admin/audit").await.expect(200);
    assert_eq!(record.matches("Wrong login as the owner").count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_looking_changes_nothing() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let before = everything(&service, &home).await;
    let csrf = service.look("/admin/enrolment").await.csrf();
    let fields = format!("csrf={csrf}&plugin=acme&name=x&new_password=a+long+enough+phrase&again=yes");
    for address in addresses(&home) {
        for path in [address.clone(), format!("{address}?{fields}"), format!("{address}?done=unlinked")] {
            for method in [Method::GET, Method::HEAD] {
                let request = service.admin(method, &path).basic_auth(OWNER.0, Some(OWNER.1));
                let status = shown(request).await.status;
                assert!(matches!(status, 200 | 404 | 405), "{path}: {status}");
            }
        }
    }
    assert_eq!(everything(&service, &home).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_a_form_that_is_not_the_consoles_own_changes_nothing() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let before = everything(&service, &home).await;
    let csrf = service.look("/admin/enrolment").await.csrf();
    let fields = [("plugin", "acme"), ("slot", "other"), ("name", "x"), ("configuration", "{}")];
    let genuine: Vec<_> = fields.into_iter().chain([("csrf", csrf.as_str())]).collect();
    let forged: Vec<_> = fields.into_iter().chain([("csrf", &csrf[..42])]).collect();
    for address in addresses(&home) {
        let post = || service.admin(Method::POST, &address).basic_auth(OWNER.0, Some(OWNER.1));
        if shown(form(post(), &fields)).await.status == 405 {
            continue;
        }
        let text = serde_json::to_string(&json!({"csrf": csrf, "plugin": "acme"})).unwrap();
        let sent = [
            form(post(), &fields),
            form(post(), &forged),
            post(),
            post().header("content-type", "text/plain").body(text.clone()),
            post().header("content-type", "application/json").body(text),
            form(post().header("sec-fetch-site", "cross-site"), &genuine),
            form(post().header("sec-fetch-site", "same-site").header("origin", "null"), &genuine),
            form(post().header("origin", "https://evil.example"), &genuine),
            form(post().header("origin", service.url.as_str()), &genuine),
        ];
        for (number, request) in sent.into_iter().enumerate() {
            let answer = shown(request).await;
            assert_eq!(answer.status, 403, "{address}, {number}: {}", answer.html);
            assert!(answer.html.contains("Nothing was changed"), "{}", answer.html);
        }
    }
    assert_eq!(everything(&service, &home).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_may_be_open_for_hours_and_not_for_days() {
    let service = Service::start().await;
    let csrf = service.look("/admin/enrolment").await.csrf();
    service.clock.advance(Duration::hours(6));
    assert_eq!(service.send_form("/admin/enrolment", &[("csrf", &csrf)]).await.status, 200);
    service.clock.advance(Duration::hours(6));
    assert_eq!(service.send_form("/admin/enrolment", &[("csrf", &csrf)]).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_stranger_points_here_opens_no_console() {
    let service = Service::with(&[("SERVER__PUBLIC_URL", "https://link.example")]).await;
    for (host, status) in [
        ("evil.example", 421),
        ("localhost.evil.example:8081", 421),
        ("link.example", 200),
        ("localhost:8081", 200),
        ("192.168.1.7:8081", 200),
    ] {
        let request = service.admin(Method::GET, "/admin").basic_auth(OWNER.0, Some(OWNER.1));
        assert_eq!(shown(request.header("host", host)).await.status, status, "{host}");
    }
    let wrong = service.admin(Method::GET, "/admin").header("host", "evil.example");
    assert_eq!(shown(wrong).await.header("www-authenticate"), "", "no password is asked for there");
}

#[tokio::test(flavor = "multi_thread")]
async fn d06_every_page_has_the_headers_and_no_script() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    for address in addresses(&home) {
        for answer in [service.look(&address).await, service.send_form(&address, &[]).await] {
            if !answer.header("content-type").starts_with("text/html") {
                continue;
            }
            let policy = answer.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'self'"), "{address}: {policy}");
            assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action"), "{policy}");
            assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.header("cache-control"), "no-store", "{address}");
            assert_eq!(answer.header("referrer-policy"), "no-referrer", "{address}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{address}");
            assert!(!answer.html.contains("<script") && !answer.html.contains(" style="), "{address}");
        }
    }
}
