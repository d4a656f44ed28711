//! Secrets after a full run, failures included: none in the database, its files, the log or the metrics.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::{
    harness::{
        Answer, Browser, Home, Process, Provider, Reply, Service, call_with,
        dump::{disguises, rows},
        until,
    },
    token_endpoint::Library,
};

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// All that users do, and much of what goes wrong; the secrets that took part.
async fn story(service: &Service, provider: &Provider) -> Vec<String> {
    let mut secrets = vec!["a long enough phrase".to_owned(), "a password for the owner".to_owned()];
    let mut configuration = provider.configuration();
    for (member, secret) in
        [("client_secret", "canary-client-secret"), ("token_headers", "canary-of-a-header")]
    {
        let value = if member == "token_headers" { json!({"x-key": secret}) } else { json!(secret) };
        configuration[member] = value;
        secrets.push(secret.to_owned());
    }
    service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await.expect(201);
    let home = Home::bare(service).await;
    home.install(service, "acme", json!({})).await.expect(201);
    let (assertion, token) = (home.assertion(service, &json!({})), home.token(service).await);
    home.grant(service, &assertion, None).await.expect(200);
    home.grant(service, &assertion, None).await.expect(400);
    secrets.extend([assertion, token.clone()]);
    let mut relay = home.relay(service).await;
    let slot = relay.event("customns", Some("oauth")).await;
    secrets.push(text(&slot["data"]["client_secret"]));

    // Twice linked, then refused, failed and cancelled.
    for (number, members) in [
        (1, vec![("code", "canary-code-1")]),
        (2, vec![("code", "canary-code-2")]),
        (3, vec![("code", "canary-code-3")]),
        (4, vec![("error", "access_denied"), ("error_description", "canary-description\r\n\u{1b}[2J")]),
    ] {
        let connection = home.connect(service).await;
        let url = text(&connection["connect_url"]);
        let mut browser = Browser::default();
        browser.headers.push(("user-agent", "canary-agent/1".to_owned()));
        let page = browser.open(service, &url).await;
        secrets.push(page.csrf());
        let sent = browser.consent(service, &url).await;
        let access = format!("canary-access-token-{number}");
        let refresh = format!("canary-refresh-token-{number}");
        provider.next(match number {
            3 => Answer::Json(
                400,
                json!({"error": "invalid_grant", "error_description": "canary-description"}),
            ),
            _ => Answer::Json(200, json!({"access_token": access, "refresh_token": refresh})),
        });
        let mut stranger = Browser::default();
        assert_eq!(stranger.callback(service, &sent, &members).await.status, 400);
        let after = browser.callback(service, &sent, &members).await;
        browser.open(service, after.location()).await;
        let cookie = browser.cookie.unwrap();
        secrets.extend([
            access,
            refresh,
            cookie.split_once('=').unwrap().1.to_owned(),
            sent.query["state"].clone(),
            url.rsplit('/').next().unwrap().to_owned(),
            text(&connection["user_code"]),
            text(&connection["user_code"]).replace('-', ""),
        ]);
        secrets.extend(
            members.into_iter().map(|(_, value)| value.to_owned()).filter(|text| text.contains("canary")),
        );
        if number < 3 {
            let tokens = relay.event("oauth", None).await;
            secrets.push(text(&tokens["data"]["refresh_token"]));
            relay.ack(&tokens).await;
        }
    }
    secrets.extend(provider.requests().iter().map(|request| request.form["code_verifier"].clone()));
    let wrong =
        Reply::of(service.request(Method::GET, "/api/devices").basic_auth("owner", Some("canary-guess")))
            .await;
    assert_eq!(wrong.status, 401);
    let unknown = "/api/cloudlink/redirect?code=canary-code-0&state=canary-state-0";
    assert_eq!(Browser::default().open(service, unknown).await.status, 400);
    let forged = call_with(service, "canary-bearer", Method::GET, &home.at("/token"), None).await;
    assert_eq!(forged.status, 401);
    secrets.extend(["canary-guess", "canary-code-0", "canary-state-0", "canary-bearer"].map(str::to_owned));
    home.call(service, Method::GET, &home.at("/token"), None).await.expect(200);
    let short: Vec<&String> = secrets.iter().filter(|secret| secret.len() < 8).collect();
    assert!(short.is_empty(), "{short:?}");
    secrets
}

/// Ids that must not become labels.
async fn ids(service: &Service) -> Vec<String> {
    let found = "select id::text from devices union all select id::text from flows";
    sqlx::query_scalar(found).fetch_all(&service.database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_j01_after_a_full_run_no_secret_is_in_the_database_the_log_or_the_metrics() {
    let service = Service::start().await;
    for format in ["json", "readable"] {
        let provider = Provider::start().await;
        // Truncating would wait for, and hold up, the clockwork of the service.
        for statement in ["delete from devices", "delete from plugins"] {
            service.database.pool.execute(statement).await.unwrap();
        }
        let settings = [("LOG__FILTER", "trace"), ("LOG__FORMAT", format)];
        let process = Process::start(&service, &settings).await;
        let secrets = story(&process.service, &provider).await;

        let metrics = Reply::of(reqwest_get(&process.service, "/metrics")).await;
        let hidden = Reply::of(process.service.request(Method::GET, "/metrics")).await;
        assert_eq!((metrics.status, hidden.status), (200, 404), "on the operator's listener alone");
        for name in [
            "cloudlink_flows_total{end=\"linked\"} 2",
            "cloudlink_flows_total{end=\"access_denied\"} 1",
            "cloudlink_flows_total{end=\"exchange_failed\"} 1",
            "cloudlink_exchange_seconds_bucket{host=\"127.0.0.1\",outcome=\"tokens\"",
            "cloudlink_events_sent_total",
            "cloudlink_events_acked_total",
            "cloudlink_relay_connections",
            "cloudlink_http_requests_total{route=\"/connect/{handle}\"",
        ] {
            assert!(metrics.text.contains(name), "{name} in {}", metrics.text);
        }
        for id in ids(&service).await {
            assert!(!metrics.text.contains(&id), "{id} in {}", metrics.text);
        }

        let held = rows(&service.database.pool).await.join("\n");
        for secret in &secrets {
            for form in disguises(secret) {
                assert!(!held.contains(&form), "{secret} as {form} in {held}");
            }
        }
        in_no_file(&service, &secrets).await;

        process.terminate();
        let (_, log) = process.ended().await;
        assert!(log.contains("exchange failed") && log.contains("flow started"), "it logs: {log}");
        for secret in secrets.iter().map(String::as_str).chain(["canary"]) {
            assert!(!log.contains(secret) && !metrics.text.contains(secret), "{secret} in {log}");
        }
        for line in log.lines() {
            let record = format == "readable" || serde_json::from_str::<Value>(line).is_ok();
            assert!(record && !line.chars().any(char::is_control), "j03: {line:?}");
        }
    }
}

/// The operator's listener, from this machine.
fn reqwest_get(service: &Service, path: &str) -> reqwest::RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("{}{path}", service.admin_url))
}

/// Looks into the files of the database and its write-ahead log, where they can be read from here.
async fn in_no_file(service: &Service, secrets: &[String]) {
    let pool = &service.database.pool;
    pool.execute("checkpoint").await.unwrap();
    let folder: String = sqlx::query_scalar("show data_directory").fetch_one(pool).await.unwrap();
    let own = "select 'base/' || oid from pg_database where datname = current_database()";
    let own: String = sqlx::query_scalar(own).fetch_one(pool).await.unwrap();
    if std::fs::read_dir(&folder).is_err() {
        return;
    }
    // The two passwords stand in every test: they were hashed here, and are of no use as a canary.
    let forms: Vec<String> = secrets.iter().skip(2).flat_map(|secret| disguises(secret)).collect();
    let patterns = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&patterns, forms.join("\n")).unwrap();
    let found = Command::new("grep")
        .args(["-r", "-a", "-o", "-m", "1", "-F", "-f"])
        .arg(patterns.path())
        .args(["pg_wal", &own])
        .current_dir(&folder)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert_eq!(found.status.code(), Some(1), "{}", String::from_utf8_lossy(&found.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_g04_a_ciphertext_that_was_moved_or_changed_is_an_error_and_nothing_is_delivered() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let (home, other) = (Home::enrol(&service, &provider).await, Home::bare(&service).await);
    other.install(&service, "acme", json!({})).await.expect(201);
    for (home, token) in [(&home, "canary-one"), (&other, "canary-two")] {
        provider.next(Answer::Json(200, json!({"access_token": token})));
        home.link(&service).await;
    }
    let pool = &service.database.pool;
    let fails = async |home: &Home, what: &str| {
        for path in [home.at("/token"), "/api/cloudlink/events?state=all".to_owned()] {
            let reply = home.call(&service, Method::GET, &path, None).await;
            assert_eq!(
                (reply.status, &reply.json["code"]),
                (500, &json!("internal")),
                "{what}: {}",
                reply.text
            );
            assert!(!reply.text.contains("canary"), "{}", reply.text);
        }
    };
    let swap = "update grants g set tokens = other.tokens from grants other where other.device <> g.device";
    pool.execute(swap).await.unwrap();
    fails(&home, "swapped").await;
    fails(&other, "swapped").await;
    let third = Home::bare(&service).await;
    third.install(&service, "acme", json!({})).await.expect(201);
    third.link(&service).await;
    pool.execute(swap_back()).await.unwrap();
    home.call(&service, Method::GET, &home.at("/token"), None).await.expect(200);

    let length: i32 =
        sqlx::query_scalar("select min(length(tokens)) from grants").fetch_one(pool).await.unwrap();
    let address = format!("{}/{}", home.device, home.slot);
    let store = &service.broker().store;
    let device: cloudlink::domain::ids::DeviceId = home.device.parse().unwrap();
    for at in 0..length {
        let flip = "update grants set tokens = set_byte(tokens, $1, get_byte(tokens, $1) # 1) where device = $2::uuid";
        sqlx::query(flip).bind(at).bind(&home.device).execute(pool).await.unwrap();
        let opened = store.list_states(&[device]).await.unwrap();
        assert!(opened.iter().any(|(_, state)| state.is_err()), "byte {at} of {address}");
        sqlx::query(flip).bind(at).bind(&home.device).execute(pool).await.unwrap();
    }
    home.call(&service, Method::GET, &home.at("/token"), None).await.expect(200);
}

/// The two that were swapped are the two oldest.
fn swap_back() -> &'static str {
    "with two as (select device, tokens from grants order by obtained_at limit 2)
     update grants g set tokens = other.tokens from two, two other
     where two.device = g.device and other.device <> g.device"
}

/// What a home, its browser and the owner hear while a plugin lives under broker custody.
struct Ear(String);

impl Ear {
    fn hear(&mut self, reply: &Reply) {
        let headers = format!("{:?}", reply.headers);
        for text in [&headers, &reply.text] {
            self.0.push_str(text);
            self.0.push('\n');
        }
    }
}

/// A plugin's life: linked, refreshed by its library and by the broker, taken over, unlinked, failing in between.
async fn life(service: &Service, provider: &Provider, secrets: [&str; 4]) -> String {
    let [client_secret, first, second, third] = secrets;
    let mut ear = Ear(String::new());
    let mut configuration = provider.configuration();
    configuration["client_secret"] = client_secret.into();
    configuration["revocation_endpoint"] = format!("{}/revoke", provider.url).into();
    ear.hear(&service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await);
    let home = Home::bare(service).await;
    ear.hear(&home.install(service, "acme", json!({})).await);
    let mut relay = home.relay(service).await;
    let tokens = |number: u8, refresh: &str| json!({"access_token": format!("at-{number}"), "refresh_token": refresh, "expires_in": 3600, "echo": refresh});
    provider.next(Answer::Json(200, tokens(1, first)));
    let mut browser = home.link(service).await;
    let consent = relay.event("oauth", None).await;
    ear.0.push_str(&consent.to_string());
    relay.ack(&consent).await;
    let library = Library::of(service, &home).await;
    ear.hear(&library.refresh(service).await);

    let wrong = Library { secret: client_secret.to_owned(), ..library.clone() };
    ear.hear(&wrong.refresh(service).await);
    let taken = json!({"access_token": "at-2", "refresh_token": second, "expiry": "2031-01-02T03:04:05"});
    provider.next(Answer::Json(200, tokens(3, third)));
    ear.hear(&home.call(service, Method::PUT, &home.at("/tokens"), Some(taken)).await);
    ear.hear(&home.call(service, Method::PUT, &home.at("/tokens"), Some(json!({"refresh_token": 7}))).await);
    for path in
        [home.at("/token"), home.at(""), home.at("/oauth"), "/api/cloudlink/events?state=all".to_owned()]
    {
        ear.hear(&home.call(service, Method::GET, &path, None).await);
    }
    ear.hear(&library.refresh(service).await);
    ear.hear(&home.call(service, Method::DELETE, &home.at("/tokens"), None).await);
    ear.hear(&library.refresh(service).await);
    for path in ["/api/audit?limit=200", "/api/plugins/acme", "/api/devices"] {
        ear.hear(&service.owner(Method::GET, path, None).await);
    }
    let connection = home.connect(service).await;
    let page = browser.open(service, connection["connect_url"].as_str().unwrap()).await;
    ear.0.push_str(&page.html);
    for frame in relay.told_so_far().await {
        ear.0.push_str(&frame);
    }
    until("the revocation", async || {
        provider.requests().iter().any(|asked| asked.target == "/revoke").then_some(())
    })
    .await;
    ear.hear(&Reply::of(reqwest_get(service, "/metrics")).await);
    ear.0
}

#[tokio::test(flavor = "multi_thread")]
async fn i09_j01_the_providers_secret_and_refresh_tokens_leave_the_broker_in_no_form() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let process = Process::start(&service, &[("LOG__FILTER", "trace"), ("LOG__FORMAT", "json")]).await;
    let secrets = ["canary+the secret/of&it", "canary/refresh+1=", "canary/refresh+2=", "canary/refresh+3="];
    let heard = life(&process.service, &provider, secrets).await;
    assert!(heard.contains("at-1") && heard.contains("clh_"), "it hears");
    let sent = provider.requests();
    assert!(sent.iter().all(|asked| asked.form["client_secret"] == secrets[0]));
    let held = rows(&service.database.pool).await.join("\n");
    process.terminate();
    let (_, log) = process.ended().await;
    assert!(log.contains("tokens taken over") && log.contains("revoked at the provider"), "{log}");
    for secret in secrets {
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let forms = disguises(secret).into_iter().chain([encoded.clone(), encoded.replace('+', "%20")]);
        for form in forms {
            for (place, text) in [("an answer", &heard), ("the database", &held), ("the log", &log)] {
                assert!(!text.contains(&form), "{secret} as {form} in {place}: {text}");
            }
        }
    }
}
