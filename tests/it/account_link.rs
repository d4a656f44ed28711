//! Home Assistant links an account: one WebSocket, one browser, and nothing that stays here.

use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    Answer, DatabaseLink, Home, LinkSocket, Reply, account_link, browser_at_home, browser_from, consents,
    dump, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn home_assistant_gets_the_whole_token_set_and_nothing_of_it_is_kept() {
    let (service, provider) = account_link(&[], json!({})).await;
    provider.next(Answer::Json(
        200,
        json!({"access_token": "canary-access-token", "refresh_token": "canary-refresh-token", "expires_in": "1800",
            "scope": "read", "house": {"id": 7}, "error": null, "service": "theirs"}),
    ));
    let (socket, url) = LinkSocket::start(&service).await;
    assert!(url.starts_with("http://127.0.0.1:9/account-link/"), "{url}");
    let (mut browser, sent) = consents(&service, &url).await;
    assert_eq!(sent.query["scope"], "read write");
    let page = browser.callback(&service, &sent, &[("code", "a-code")]).await;
    assert_eq!(page.status, 303, "{}", page.html);

    let tokens = socket.takes_tokens().await;
    assert_eq!(
        (tokens["access_token"].as_str(), tokens["refresh_token"].as_str()),
        (Some("canary-access-token"), Some("canary-refresh-token"))
    );
    assert!((1790..=1800).contains(&tokens["expires_in"].as_i64().unwrap()), "{tokens}");
    assert_eq!((&tokens["token_type"], &tokens["house"]), (&json!("Bearer"), &json!({"id": 7})));
    assert!(tokens.get("error").is_none() && tokens.get("service").is_none(), "{tokens}");

    let shown = until("the page to say so", async || {
        let page = browser.open(&service, page.location()).await;
        page.html.contains("It worked").then_some(page.html)
    })
    .await;
    assert!(shown.contains("Home Assistant has the access"), "{shown}");
    let count = "select count(*) from account_links where status = 'delivered' and tokens is null and verifier is null";
    assert_eq!(service.database.count(count).await, 1);
    let kept = dump::rows(&service.database.pool).await.join("\n");
    for secret in ["canary-access-token", "canary-refresh-token", "a-code"] {
        assert!(!dump::disguises(secret).iter().any(|form| kept.contains(form)), "{secret}");
    }
    let audit = service.owner(Method::GET, "/api/audit", None).await.expect(200);
    let entry = &audit.as_array().unwrap()[0];
    assert_eq!(
        (&entry["action"], &entry["subject"], &entry["detail"]),
        (&json!("account_link.linked"), &json!("plugin:acme"), &json!("ecobee"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_that_it_is_for_home_assistant_and_names_no_device() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let (_socket, url) = LinkSocket::start(&service).await;
    let page = browser_at_home().open(&service, &url).await;
    assert_eq!(page.status, 200);
    for words in
        ["Home Assistant", "Acme Thermostats", "127.0.0.1", "read", "198.51.100.7", "network you are on"]
    {
        assert!(page.html.contains(words), "{words}: {}", page.html);
    }
    assert!(!page.html.contains("Device"), "{}", page.html);
    assert_eq!(
        service.database.count("select count(*) from account_links where browser_hash is not null").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn query_members_that_home_assistant_appends_reach_the_provider_unless_they_are_ours() {
    let (service, provider) =
        account_link(&[], json!({"parameters": {"prompt": "none"}, "addScope": true})).await;
    let (mut socket, url) = LinkSocket::start(&service).await;
    let appended = "scope=a+b&access_type=offline&prompt=consent&state=evil&redirect_uri=https://evil.example\
        &code_challenge=x&Redirect.URI=https://evil.example&client_id=other&response_mode=fragment&request_uri=u";
    let url = format!("{url}?{appended}");
    let page = browser_at_home().open(&service, &url).await;
    assert!(
        page.html.contains("<code>a</code>") && !page.html.contains("<code>read</code>"),
        "{}",
        page.html
    );
    let (mut browser, sent) = consents(&service, &url).await;
    for (name, value) in
        [("scope", "a b"), ("access_type", "offline"), ("prompt", "consent"), ("client_id", "the-client")]
    {
        assert_eq!(sent.query[name], value);
    }
    assert!(sent.query["redirect_uri"].starts_with("http://127.0.0.1:9/api/cloudlink/redirect"));
    assert_ne!(sent.query["state"], "evil");
    assert_ne!(sent.query["code_challenge"], "x");
    for dropped in ["Redirect.URI", "response_mode", "request_uri"] {
        assert!(!sent.query.contains_key(dropped), "{dropped}");
    }
    browser.callback(&service, &sent, &[("code", "a-code")]).await;
    assert_eq!(socket.last_words().await["tokens"]["access_token"], "at-1");
    assert_eq!(provider.requests()[0].form["scope"], "a b", "the exchange speaks of the same scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_members_than_any_integration_appends_are_dropped_as_a_whole() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let (_socket, url) = LinkSocket::start(&service).await;
    let many = (0..40).map(|n| format!("&m{n}=x")).collect::<Vec<_>>().concat();
    let long = "y".repeat(5000);
    for appended in [format!("?scope=a{many}"), format!("?scope=a&long={long}")] {
        let (_, sent) = {
            let (_socket, url) = LinkSocket::start(&service).await;
            consents(&service, &format!("{url}{appended}")).await
        };
        assert_eq!(sent.query["scope"], "read write");
        assert!(!sent.query.contains_key("m0") && !sent.query.contains_key("long"));
    }
    assert!(consents(&service, &url).await.1.query.contains_key("state"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_linked_is_said_before_any_url() {
    let (service, provider) = account_link(&[], json!({})).await;
    for (domain, code) in [("sonos", "unsupported"), ("Not-A-Domain", "unsupported"), ("lost", "unavailable")]
    {
        let mut socket = LinkSocket::open(&service).await;
        assert_eq!(socket.asks_for(domain).await, json!({ "error": code }), "{domain}");
        assert_eq!(socket.hears().await, json!({ "close": 1000 }));
    }
    let asks = json!({"variables": {"house": {"title": "House"}}, "parameters": {"house": "{house}"}});
    service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configured(asks))).await.expect(200);
    let mut socket = LinkSocket::open(&service).await;
    assert_eq!(
        socket.asks_for("ecobee").await,
        json!({"error": "unsupported"}),
        "nobody is asked for values"
    );
    let answered = json!({"variables": {"house": {"default": "7"}}, "parameters": {"house": "{house}"}});
    service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configured(answered))).await.expect(200);
    let (_socket, url) = LinkSocket::start(&service).await;
    assert_eq!(consents(&service, &url).await.1.query["house"], "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_in_quarantine_links_nobody_until_the_owner_approves_it() {
    let (service, provider) =
        account_link(&[("ACCOUNT_LINK__SERVICES", "ecobee=acme,nest=copy")], json!({})).await;
    let copy = provider.configured(json!({"token_endpoint": "http://127.0.0.1:1/token"}));
    service.owner(Method::PUT, "/api/plugins/copy", Some(copy)).await.expect(201);
    let mut socket = LinkSocket::open(&service).await;
    assert_eq!(socket.asks_for("nest").await, json!({"error": "unavailable"}));
    service.owner(Method::POST, "/api/plugins/copy/approve", None).await.expect(204);
    let mut socket = LinkSocket::open(&service).await;
    assert!(socket.asks_for("nest").await["authorize_url"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_closes_the_dialog_with_its_word() {
    let (service, provider) = account_link(&[], json!({})).await;
    for (members, word) in [
        (("error", "access_denied"), "access_denied"),
        (("error", "temporarily_unavailable"), "provider_unavailable"),
        (("error", "invalid_scope"), "exchange_failed"),
    ] {
        let (mut socket, url) = LinkSocket::start(&service).await;
        let (mut browser, sent) = consents(&service, &url).await;
        let page = browser.callback(&service, &sent, &[members]).await;
        assert_eq!(socket.last_words().await, json!({"tokens": {"error": word}}));
        let page = browser.open(&service, page.location()).await;
        assert!(page.html.contains("in Home Assistant once more"), "{}", page.html);
    }
    for (answer, word) in [
        (Answer::Json(400, json!({"error": "invalid_grant"})), "exchange_failed"),
        (Answer::Json(503, json!({})), "provider_unavailable"),
        (Answer::Json(200, json!({"hello": 1})), "invalid_answer"),
    ] {
        provider.next(answer);
        let (mut socket, url) = LinkSocket::start(&service).await;
        let (mut browser, sent) = consents(&service, &url).await;
        browser.callback(&service, &sent, &[("code", "a-code")]).await;
        assert_eq!(socket.last_words().await, json!({"tokens": {"error": word}}));
    }
    let (mut socket, url) = LinkSocket::start(&service).await;
    let mut browser = browser_at_home();
    let page = browser.open(&service, &url).await;
    browser.decide(&service, &url, &page, "cancel").await;
    assert_eq!(socket.last_words().await, json!({"tokens": {"error": "cancelled"}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_over_is_said_and_the_page_says_to_start_again() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let (mut socket, url) = LinkSocket::start(&service).await;
    let (mut browser, sent) = consents(&service, &url).await;
    service.clock.advance(Duration::minutes(11));
    assert_eq!(socket.last_words().await, json!({"error": "timeout"}));
    let page = browser.callback(&service, &sent, &[("code", "a-code")]).await;
    assert_eq!(page.status, 303);
    let page = browser.open(&service, page.location()).await;
    assert!(page.html.contains("This link has expired"), "{}", page.html);
    assert!(page.html.contains("in Home Assistant once more"), "{}", page.html);
    assert!(browser_at_home().open(&service, &url).await.status == 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_socket_is_closed_without_a_word() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let wrong = [
        Message::binary(b"{}".to_vec()),
        Message::text("no json"),
        Message::text("[]"),
        Message::text("{}"),
        Message::text(r#"{"service": 7}"#),
        Message::text(format!(r#"{{"service": "{}"}}"#, "x".repeat(5000))),
    ];
    for message in wrong {
        let mut socket = LinkSocket::open(&service).await;
        socket.says(message.clone()).await;
        assert_eq!(socket.last_words().await, json!({"error": "unknown"}), "{message:?}");
    }
    let (mut socket, _) = LinkSocket::start(&service).await;
    socket.says(Message::text("ignored")).await;
    socket.says(Message::binary(b"x".to_vec())).await;
    assert_eq!(socket.last_words().await, json!({"tokens": {"error": "unknown"}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_while_the_service_stops_is_told() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let replica = service.replica().await;
    let mut waiting = LinkSocket::open(&replica).await;
    let (mut linking, url) = LinkSocket::start(&replica).await;
    let (one, two, ()) = tokio::join!(waiting.last_words(), linking.last_words(), replica.stop());
    assert_eq!(one, json!({"error": "unavailable"}));
    assert_eq!(two, json!({"tokens": {"error": "unavailable"}}));
    assert_eq!(browser_at_home().open(&service, &url).await.status, 410, "it starts again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_ends_with_the_socket_that_waits_for_it() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let (socket, url) = LinkSocket::start(&service).await;
    let (mut browser, sent) = consents(&service, &url).await;
    socket.leaves().await;
    let page = until("the end of the attempt", async || {
        let page = browser.open(&service, &url).await;
        page.html.contains("does not wait any more").then_some(page)
    })
    .await;
    assert!(page.html.contains("start in Home Assistant once more"), "{}", page.html);
    browser.callback(&service, &sent, &[("code", "a-code")]).await;
    let count = "select count(*) from account_links where status = 'failed' and error = 'client_gone'";
    assert_eq!(service.database.count(count).await, 1, "a callback after that brings nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_come_when_nobody_waits_any_more_are_not_stored() {
    let (service, provider) = account_link(&[], json!({})).await;
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    provider.next(Answer::Held(gate.clone(), 200, json!({"access_token": "late", "expires_in": 60})));
    let (socket, url) = LinkSocket::start(&service).await;
    let (mut browser, sent) = consents(&service, &url).await;
    let callback = async { browser.callback(&service, &sent, &[("code", "a-code")]).await };
    let leaving = async {
        provider.asked(1).await;
        socket.leaves().await;
        let gone = "select count(*) from account_links where error = 'client_gone'";
        until("the end", async || (service.database.count(gone).await == 1).then_some(())).await;
        gate.notify_one();
    };
    let (page, ()) = tokio::join!(callback, leaving);
    assert_eq!(page.status, 303);
    assert_eq!(
        service.database.count("select count(*) from account_links where tokens is not null").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_from_another_network_ends_the_attempt_where_no_code_can_be_typed() {
    let (service, provider) = account_link(&[], json!({})).await;
    let (mut socket, url) = LinkSocket::start(&service).await;
    let mut stranger = browser_from("203.0.113.99");
    let page = stranger.open(&service, &url).await;
    assert!(
        page.html.contains("Not the network you are on") && page.html.contains("Continue ends this attempt")
    );
    let answer = stranger.decide(&service, &url, &page, "continue").await;
    assert_eq!(socket.last_words().await, json!({"tokens": {"error": "different_network"}}));
    let page = stranger.open(&service, answer.location()).await;
    assert_eq!(page.status, 403);
    assert!(page.html.contains("network at home"), "{}", page.html);
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_binding_and_the_operator_decide_whose_consent_counts() {
    let stranger = || browser_from("203.0.113.99");
    for (settings, mut browser, refused) in [
        (&[("CONSENT__BINDING", "code")][..], browser_at_home(), true),
        (&[("CONSENT__BINDING", "page")][..], stranger(), false),
        (&[("ACCOUNT_LINK__ALLOW_CROSS_NETWORK", "true")][..], stranger(), false),
        (
            &[("ACCOUNT_LINK__ALLOW_CROSS_NETWORK", "true"), ("CONSENT__BINDING", "code")][..],
            stranger(),
            false,
        ),
    ] {
        let (service, _provider) = account_link(settings, json!({})).await;
        let (mut socket, url) = LinkSocket::start(&service).await;
        let page = browser.open(&service, &url).await;
        let answer = browser.decide(&service, &url, &page, "continue").await;
        if refused {
            assert_eq!(
                socket.last_words().await,
                json!({"tokens": {"error": "different_network"}}),
                "{settings:?}"
            );
        } else {
            let sent = crate::harness::Sent::to(answer.location());
            browser.callback(&service, &sent, &[("code", "a-code")]).await;
            assert_eq!(socket.last_words().await["tokens"]["access_token"], "at-1", "{settings:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_may_be_at_another_replica_than_the_browser() {
    let (service, _provider) = account_link(&[("RELAY__POLL_SECONDS", "300")], json!({})).await;
    let other = service.replica().await;
    let (mut socket, url) = LinkSocket::start(&service).await;
    let (mut browser, sent) = consents(&other, &url).await;
    browser.callback(&other, &sent, &[("code", "a-code")]).await;
    assert_eq!(
        socket.last_words().await["tokens"]["access_token"],
        "at-1",
        "by a knock: nobody polls that soon"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_counts_once_in_its_own_browser_on_its_own_path() {
    let (service, provider) = account_link(&[], json!({})).await;
    let (mut socket, url) = LinkSocket::start(&service).await;
    let (mut browser, sent) = consents(&service, &url).await;
    let callback = sent.callback(&[("code", "a-code")]);
    assert_eq!(browser_at_home().open(&service, &callback).await.status, 400, "another browser");
    assert_eq!(browser_at_home().open(&service, &url).await.status, 410);
    let (mut one, mut two, mut three) = (browser.clone(), browser.clone(), browser.clone());
    let pages = tokio::join!(
        one.open(&service, &callback),
        two.open(&service, &callback),
        three.open(&service, &callback)
    );
    assert_eq!((pages.0.status, pages.1.status, pages.2.status), (303, 303, 303));
    assert_eq!(socket.last_words().await["tokens"]["access_token"], "at-1");
    assert_eq!(provider.requests().len(), 1);
    assert_eq!(browser.open(&service, &callback).await.status, 303);
    assert_eq!(provider.requests().len(), 1);

    let (mut socket, url) = LinkSocket::start(&service).await;
    let (mut browser, sent) = consents(&service, &url).await;
    let elsewhere = sent.callback(&[("code", "a-code")]).replace("/redirect?", "/redirect/acme?");
    assert_eq!(browser.open(&service, &elsewhere).await.status, 400);
    assert_eq!(socket.last_words().await, json!({"tokens": {"error": "issuer_mismatch"}}));
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_services_needs_no_database() {
    let (direct, _provider) = account_link(&[], json!({})).await;
    let link = DatabaseLink::to(&direct).await;
    let service = direct
        .replica_with(&[
            ("DATABASE__URL", &link.url),
            ("ACCOUNT_LINK__SERVICES", "ecobee=acme@2099.1.0"),
            ("ACCOUNT_LINK__SERVICES__NEST__PLUGIN", "acme"),
            ("ACCOUNT_LINK__SERVICES__NEST__ACCEPTS_NEW_AUTHORIZATIONS", "false"),
        ])
        .await;
    link.cut();
    let reply = Reply::of(service.request(Method::GET, "/services")).await;
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    assert_eq!(
        reply.expect(200),
        json!([
            {"service": "ecobee", "min_version": "2099.1.0", "accepts_new_authorizations": true},
            {"service": "nest", "min_version": "2021.1.0", "accepts_new_authorizations": false},
        ])
    );
    let mut socket = LinkSocket::open(&service).await;
    assert_eq!(socket.asks_for("ecobee").await, json!({"error": "unavailable"}), "and a link does");
    let refreshed = crate::harness::refresh(&service, "ecobee", "rt").await;
    assert_eq!(refreshed.status, 503);
    assert!(refreshed.headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_nothing_of_it_exists() {
    let service = crate::harness::Service::start().await;
    let upgrade = service
        .request(Method::GET, "/v1")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
    assert_eq!(Reply::of(upgrade).await.status, 404);
    assert_eq!(Reply::of(service.request(Method::GET, "/services")).await.status, 404);
    assert_eq!(crate::harness::refresh(&service, "ecobee", "rt").await.status, 404);
    let unread = service.request(Method::POST, "/refresh_token/ecobee").body("no json");
    assert_eq!(Reply::of(unread).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_start_at_once_get_their_urls_and_one_network_can_not_start_them_all() {
    let (service, _provider) = account_link(&[], json!({})).await;
    let starting = (0..60).map(|n| {
        let service = &service;
        async move {
            let mut socket = LinkSocket::open_from(service, &format!("198.51.100.{}", n + 1)).await;
            socket.asks_for("ecobee").await["authorize_url"].as_str().map(str::to_owned)
        }
    });
    let urls: Vec<Option<String>> = futures_util::future::join_all(starting).await;
    assert!(urls.iter().all(Option::is_some), "{urls:?}");
    let mut answers = Vec::new();
    for _ in 0..32 {
        let mut socket = LinkSocket::open_from(&service, "203.0.113.5").await;
        answers.push(socket.asks_for("ecobee").await.get("error").cloned().unwrap_or(Value::Null));
    }
    assert_eq!(answers.iter().filter(|error| **error == json!("unavailable")).count(), 2, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_plugins_go_on_as_before_beside_it() {
    let (service, provider) = account_link(&[], json!({})).await;
    let home = Home::bare(&service).await;
    home.install(&service, "acme", json!({})).await.expect(201);
    let connection = home.connect(&service).await;
    let mut browser = browser_at_home();
    let sent = browser.consent(&service, connection["connect_url"].as_str().unwrap()).await;
    let handle = connection["connect_url"].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(browser.open(&service, &format!("/account-link/{handle}")).await.status, 404);
    let page = browser.callback(&service, &sent, &[("code", "a-code")]).await;
    assert!(page.location().starts_with("/connect/"), "{}", page.location());
    assert_eq!(provider.requests().len(), 1);
    let stray = browser.open(&service, "/api/cloudlink/redirect?code=x&state=nobodys").await;
    assert_eq!(stray.status, 400);
}
