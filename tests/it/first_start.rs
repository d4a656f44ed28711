//! Before anybody has set anything: no account, no door, no plain http.

use reqwest::Method;
use serde_json::json;

use crate::harness::{OWNER, PASSWORD, Reply, Service, run_to_end, with_json};

#[tokio::test(flavor = "multi_thread")]
async fn i07_there_is_no_default_account_and_without_a_password_nobody_is_the_owner() {
    let service = Service::with(&[("ADMIN__PASSWORD", "")]).await;
    for (user, password) in [OWNER, ("owner", ""), ("", ""), ("admin", "admin"), ("owner", "owner")] {
        let call = service.request(Method::GET, "/api/plugins").basic_auth(user, Some(password));
        assert_eq!(Reply::of(call).await.status, 401, "{user}");
        let login = with_json(
            service.request(Method::POST, "/api/login"),
            Some(json!({"user": user, "pass": password})),
        );
        let refused = Reply::of(login).await;
        assert_eq!((refused.status, &refused.json["code"]), (401, &json!("wrong_login")), "{user}");
    }
    let device = json!({"name": "Attic", "password": PASSWORD});
    let enrol = with_json(service.request(Method::POST, "/api/devices"), Some(device));
    assert_eq!(Reply::of(enrol).await.status, 401, "nor does anybody enrol a first one");
}

#[tokio::test(flavor = "multi_thread")]
async fn h01_plain_http_is_served_on_loopback_only() {
    let service = Service::start().await;
    let mut environment = service.environment();
    environment.retain(|(key, _)| key != "CLOUDLINK__SERVER__PUBLIC_URL");
    environment.push(("CLOUDLINK__SERVER__PUBLIC_URL".to_owned(), "http://link.example.org".to_owned()));
    let output = run_to_end("serve", &environment).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("server.public_url is http") && said.contains("https"), "{said}");
}
