//! Operators sign in with an account at an OpenID provider, and nobody else does, whatever the provider's answer.

use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cloudlink::domain::{pkce::CodeChallenge, secret::CodeVerifier};
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use crate::harness::{
    Answer, Browser, Page, Provider, Sent, Service, Terminal, TokenRequest, call_with, token,
};

/// A provider that says of somebody whatever it is told to.
struct OpenId {
    provider: Provider,
    says: Arc<Mutex<Says>>,
}

/// What it says.
struct Says {
    key: Ed25519KeyPair,
    kid: &'static str,
    header: Value,
    claims: Value,
    userinfo: Value,
    /// Changes of its description.
    about: Value,
    sign: Sign,
}

#[derive(Clone, Copy)]
enum Sign {
    Right,
    WithPublicKeyAsSecret,
    Not,
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn merged(mut base: Value, changes: &Value) -> Value {
    base.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    base.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    base
}

impl Says {
    fn id_token(&self) -> String {
        let signed = format!("{}.{}", encode(&self.header), encode(&self.claims));
        let signature = match self.sign {
            Sign::Right => self.key.sign(signed.as_bytes()).as_ref().to_vec(),
            Sign::WithPublicKeyAsSecret => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            Sign::Not => Vec::new(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn answer(&self, url: &str, request: &TokenRequest) -> (u16, Value) {
        match request.target.as_str() {
            "/.well-known/openid-configuration" => {
                let about = json!({
                    "issuer": url, "authorization_endpoint": format!("{url}/auth"),
                    "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/jwks"),
                    "userinfo_endpoint": format!("{url}/me"),
                    "authorization_response_iss_parameter_supported": true,
                });
                (200, merged(about, &self.about))
            }
            "/jwks" => {
                let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
                (200, json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x}]}))
            }
            "/token" => {
                (200, json!({"id_token": self.id_token(), "access_token": "opaque", "token_type": "Bearer"}))
            }
            "/me" if request.headers.get("authorization").is_some_and(|header| header == "Bearer opaque") => {
                (200, self.userinfo.clone())
            }
            _ => (404, json!({})),
        }
    }
}

impl OpenId {
    async fn start() -> Self {
        let provider = Provider::start().await;
        let says = Arc::new(Mutex::new(Says {
            key: Ed25519KeyPair::generate().unwrap(),
            kid: "k1",
            header: json!({}),
            claims: json!({}),
            userinfo: json!({}),
            about: json!({}),
            sign: Sign::Right,
        }));
        let (told, url) = (Arc::clone(&says), provider.url.clone());
        provider.always(Answer::Judged(Arc::new(move |request| told.lock().unwrap().answer(&url, request))));
        Self { provider, says }
    }

    async fn service(&self, operators: (&str, &str)) -> Service {
        Service::with(&[
            ("LOGIN__OIDC__ISSUER", &self.provider.url),
            ("LOGIN__OIDC__CLIENT_ID", "cloudlink"),
            ("LOGIN__OIDC__CLIENT_SECRET", "the client's secret"),
            (operators.0, operators.1),
        ])
        .await
    }

    /// Says this of `ada` when asked next, for the authorization request `sent`.
    fn will_say(&self, service: &Service, sent: &Sent, header: &Value, claims: &Value) {
        let now = service.now().unix_timestamp();
        let mut says = self.says.lock().unwrap();
        let all = json!({
            "iss": self.provider.url, "aud": "cloudlink", "sub": "ada", "nonce": sent.query["nonce"], "iat": now,
            "exp": now + 300,
        });
        says.claims = merged(all, claims);
        says.header = merged(json!({"alg": "EdDSA", "kid": says.kid}), header);
    }

    fn asked(&self, target: &str) -> usize {
        self.provider.requests().iter().filter(|request| request.target == target).count()
    }
}

/// Presses the button: where the provider's page opens.
async fn go(service: &Service, browser: &mut Browser, page: &str) -> Sent {
    let answer = browser.sign_in(service, page, &[("with", "oidc")]).await;
    assert_eq!(answer.status, 303, "{}", answer.html);
    Sent::to(answer.location())
}

/// Comes back from the provider.
async fn back(service: &Service, browser: &mut Browser, sent: &Sent, issuer: &str) -> Page {
    browser.callback(service, sent, &[("code", "a-code"), ("iss", issuer)]).await
}

const ADA: (&str, &str) = ("LOGIN__OIDC__ALLOWED_SUBJECTS", "ada");

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_signs_in_with_an_account_at_the_provider() {
    let openid = OpenId::start().await;
    let service = openid.service(ADA).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    let host = openid.provider.url.trim_start_matches("http://");
    let shown = browser.open(&service, &page).await;
    assert!(shown.html.contains(&format!("Sign in with {host}")), "{}", shown.html);
    assert!(!shown.headers["content-security-policy"].to_str().unwrap().contains("form-action"));

    let sent = go(&service, &mut browser, &page).await;
    assert_eq!(sent.url.path(), "/auth");
    assert_eq!(sent.query["redirect_uri"], format!("{}/api/login/callback", service.public_url()));
    assert_eq!(
        (sent.query["scope"].as_str(), sent.query["code_challenge_method"].as_str()),
        ("openid", "S256")
    );
    assert!(sent.query["state"].len() >= 43 && sent.query["nonce"].len() >= 43);
    openid.will_say(&service, &sent, &json!({}), &json!({}));
    let answer = back(&service, &mut browser, &sent, &openid.provider.url).await;
    assert_eq!((answer.status, answer.location()), (303, page.as_str()), "the code leaves the address bar");
    assert!(browser.open(&service, &page).await.html.contains("You are signed in"));
    let granted = terminal.poll(&started).await.expect(200);
    assert_eq!(granted["scope"], "owner");
    assert_eq!(call_with(&service, &token(&granted), Method::GET, "/api/devices", None).await.status, 200);
    let audit = service.owner(Method::GET, "/api/audit", None).await.expect(200);
    assert_eq!((&audit[0]["action"], &audit[0]["actor"]), (&json!("owner.login"), &json!("owner")));

    let requests = openid.provider.requests();
    let exchange = requests.iter().find(|request| request.target == "/token").unwrap();
    let verifier = CodeVerifier::new(exchange.form["code_verifier"].as_str());
    assert_eq!(CodeChallenge::of(&verifier).as_str(), sent.query["code_challenge"]);
    assert!(
        exchange.headers["authorization"].starts_with("Basic ")
            && !exchange.form.contains_key("client_secret")
    );
    let again = back(&service, &mut browser, &sent, &openid.provider.url).await;
    assert_eq!((again.status, openid.asked("/token")), (400, 1), "an answer counts once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_of_the_same_machine_brings_the_code_after_the_provider_too() {
    let openid = OpenId::start().await;
    let service = openid.service(ADA).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.open(&mut browser, &[]).await;
    let sent = go(&service, &mut browser, &started.page).await;
    openid.will_say(&service, &sent, &json!({}), &json!({}));
    let answer = back(&service, &mut browser, &sent, &openid.provider.url).await;
    let brought = Sent::to(answer.location()).query;
    assert!(answer.location().starts_with(Terminal::LISTENER));
    terminal.trade(&started, &brought["code"]).await.expect(200);

    let started = terminal.open(&mut browser, &[]).await;
    let sent = go(&service, &mut browser, &started.page).await;
    openid.will_say(&service, &sent, &json!({}), &json!({"sub": "eve"}));
    let answer = back(&service, &mut browser, &sent, &openid.provider.url).await;
    assert_eq!(answer.location(), started.page);
    let denied = browser.open(&service, &started.page).await;
    assert_eq!(denied.status, 403);
    for wanted in ["Ask whoever runs this service", "error=access_denied", Terminal::LISTENER] {
        assert!(denied.html.contains(wanted), "{wanted}: {}", denied.html);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i08_forged_and_misdirected_id_tokens_sign_nobody_in() {
    let openid = OpenId::start().await;
    let service = openid.service(ADA).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    let now = service.now().unix_timestamp();
    for (sign, header, claims) in [
        (Sign::Not, json!({"alg": "none"}), json!({})),
        (Sign::Not, json!({}), json!({})),
        (Sign::WithPublicKeyAsSecret, json!({"alg": "HS256"}), json!({})),
        (Sign::Right, json!({"alg": "ES256"}), json!({})),
        (Sign::Right, json!({"kid": "unknown"}), json!({})),
        (Sign::Right, json!({"jku": "https://evil.example"}), json!({})),
        (Sign::Right, json!({"typ": "at+jwt"}), json!({})),
        (Sign::Right, json!({}), json!({"iss": "https://evil.example"})),
        (Sign::Right, json!({}), json!({"aud": "another"})),
        (Sign::Right, json!({}), json!({"aud": ["cloudlink", "another"]})),
        (Sign::Right, json!({}), json!({"azp": "another"})),
        (Sign::Right, json!({}), json!({"nonce": "another"})),
        (Sign::Right, json!({}), json!({"nonce": null})),
        (Sign::Right, json!({}), json!({"exp": now - 600})),
        (Sign::Right, json!({}), json!({"iat": now - 3600})),
        (Sign::Right, json!({}), json!({"sub": null})),
    ] {
        let sent = go(&service, &mut browser, &page).await;
        openid.will_say(&service, &sent, &header, &claims);
        openid.says.lock().unwrap().sign = sign;
        let answer = back(&service, &mut browser, &sent, &openid.provider.url).await;
        assert_eq!(answer.location(), format!("{page}?problem=provider"), "{header} {claims}");
    }
    let shown = browser.open(&service, &format!("{page}?problem=provider")).await;
    assert!(shown.html.contains("did not work"), "{}", shown.html);
    assert_eq!(terminal.poll(&started).await.json["error"], "authorization_pending");
    assert!(openid.asked("/jwks") <= 2, "unknown keys cost no more than one more look a minute");

    openid.says.lock().unwrap().sign = Sign::Right;
    let sent = go(&service, &mut browser, &page).await;
    openid.will_say(&service, &sent, &json!({}), &json!({}));
    back(&service, &mut browser, &sent, &openid.provider.url).await;
    service.clock.advance(Duration::seconds(5));
    terminal.poll(&started).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn c01_a02_an_answer_counts_in_its_own_browser_once_in_time_and_from_the_right_issuer() {
    let openid = OpenId::start().await;
    let service = openid.service(ADA).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    let issuer = openid.provider.url.clone();
    let sent = go(&service, &mut browser, &page).await;
    openid.will_say(&service, &sent, &json!({}), &json!({}));
    let mut other = Browser::default();
    other.open(&service, "/link").await;
    for stranger in [&mut other, &mut Browser::default()] {
        assert_eq!(back(&service, stranger, &sent, &issuer).await.status, 400);
    }
    let state = sent.query["state"].as_str();
    for query in [
        "code=c".to_owned(),
        format!("state={state}"),
        format!("state={state}&code=c&code=d"),
        format!("state={state}&code=c&error=x"),
        format!("state={state}&state={state}&code=c"),
        "state=unknown&code=c".to_owned(),
    ] {
        let answer = browser.open(&service, &format!("/api/login/callback?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    let mut ahead = browser.clone();
    ahead.headers.push(("sec-purpose", "prefetch".to_owned()));
    assert_eq!(back(&service, &mut ahead, &sent, &issuer).await.status, 503);
    assert_eq!(openid.asked("/token"), 0, "none of these was asked about");

    for issuer in [Some("https://evil.example"), None] {
        let sent = go(&service, &mut browser, &page).await;
        let mut members = vec![("code", "c")];
        members.extend(issuer.map(|issuer| ("iss", issuer)));
        let answer = browser.callback(&service, &sent, &members).await;
        assert_eq!(answer.location(), format!("{page}?problem=provider"), "{issuer:?}");
    }
    assert_eq!(openid.asked("/token"), 0);
    assert_eq!(
        back(&service, &mut browser, &sent, &issuer).await.status,
        400,
        "a newer state voids the old one"
    );

    let sent = go(&service, &mut browser, &page).await;
    let refused = browser.callback(&service, &sent, &[("error", "access_denied"), ("iss", &issuer)]).await;
    assert_eq!(refused.location(), format!("{page}?problem=provider"));
    let sent = go(&service, &mut browser, &page).await;
    openid.will_say(&service, &sent, &json!({}), &json!({}));
    service.clock.advance(Duration::seconds(601));
    assert_eq!(back(&service, &mut browser, &sent, &issuer).await.status, 400);
    assert_eq!(openid.asked("/token"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_answers_at_once_one_is_asked_about() {
    let openid = OpenId::start().await;
    let service = openid.service(ADA).await;
    let replica = service.replica().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    let sent = go(&service, &mut browser, &page).await;
    openid.will_say(&service, &sent, &json!({}), &json!({}));
    let answers = (0..8).map(|n| {
        let (mut browser, at) = (browser.clone(), if n % 2 == 0 { &service } else { &replica });
        let (sent, issuer) = (&sent, openid.provider.url.as_str());
        async move { back(at, &mut browser, sent, issuer).await.status }
    });
    let statuses = futures_util::future::join_all(answers).await;
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
    assert_eq!(openid.asked("/token"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_lets_in_verified_addresses_alone_wherever_the_provider_tells_them() {
    let openid = OpenId::start().await;
    let service = openid.service(("LOGIN__OIDC__ALLOWED_DOMAINS", "example.org")).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let address = |email: &str, verified: Value| json!({"email": email, "email_verified": verified});
    let nothing = json!({});
    let of_ada = |claims: Value| merged(json!({"sub": "ada"}), &claims);
    for (claims, userinfo, status) in [
        (address("ada@example.org", json!(true)), nothing.clone(), 200),
        (nothing.clone(), of_ada(address("ada@Example.org", json!(true))), 200),
        (address("ada@example.org", json!(false)), of_ada(nothing.clone()), 403),
        (address("ada@example.org", json!("true")), of_ada(nothing.clone()), 403),
        (address("ada@evil.example", json!(true)), nothing.clone(), 403),
        (nothing.clone(), of_ada(address("ada@example.org", json!(false))), 403),
        (nothing.clone(), merged(address("ada@example.org", json!(true)), &json!({"sub": "eve"})), 0),
    ] {
        let started = terminal.start(None).await.expect(200);
        let page = terminal.page(&mut browser, &started).await;
        let sent = go(&service, &mut browser, &page).await;
        assert_eq!(sent.query["scope"], "openid email");
        openid.will_say(&service, &sent, &json!({}), &claims);
        openid.says.lock().unwrap().userinfo = userinfo.clone();
        let answer = back(&service, &mut browser, &sent, &openid.provider.url).await;
        if status == 0 {
            assert!(answer.location().ends_with("?problem=provider"), "told of somebody else");
            continue;
        }
        assert_eq!(browser.open(&service, &page).await.status, status, "{claims} {userinfo}");
        if status == 403 {
            assert_eq!(terminal.poll(&started).await.json["error"], "access_denied");
            let audit = service.owner(Method::GET, "/api/audit", None).await.expect(200);
            assert_eq!(
                (&audit[0]["action"], &audit[0]["actor"]),
                (&json!("owner.login_failed"), &json!("anyone"))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_replaced_is_found_and_asked_for_once_a_minute_at_most() {
    let openid = OpenId::start().await;
    let service = openid.service(ADA).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    go(&service, &mut browser, &page).await;
    assert_eq!(openid.asked("/jwks"), 1);
    {
        let mut says = openid.says.lock().unwrap();
        (says.key, says.kid) = (Ed25519KeyPair::generate().unwrap(), "k2");
    }
    let sent = go(&service, &mut browser, &page).await;
    openid.will_say(&service, &sent, &json!({}), &json!({}));
    let early = back(&service, &mut browser, &sent, &openid.provider.url).await;
    assert!(early.location().ends_with("?problem=provider"), "the keys are too new to ask again");
    assert_eq!(openid.asked("/jwks"), 1);
    service.clock.advance(Duration::seconds(61));
    let sent = go(&service, &mut browser, &page).await;
    openid.will_say(&service, &sent, &json!({}), &json!({}));
    assert_eq!(back(&service, &mut browser, &sent, &openid.provider.url).await.location(), page);
    assert_eq!(openid.asked("/jwks"), 2);
    terminal.poll(&started).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_or_calls_itself_otherwise_leaves_the_other_ways_open() {
    let openid = OpenId::start().await;
    let service = openid.service(ADA).await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    for about in [
        json!({"issuer": "https://evil.example"}),
        json!({"issuer": format!("{}/", openid.provider.url)}),
        json!({"token_endpoint": null}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
    ] {
        openid.says.lock().unwrap().about = about.clone();
        let answer = browser.sign_in(&service, &page, &[("with", "oidc")]).await;
        assert!(answer.html.contains("did not work") && !answer.headers.contains_key("location"), "{about}");
    }
    openid.provider.next(Answer::Json(503, json!({})));
    assert!(browser.sign_in(&service, &page, &[("with", "oidc")]).await.html.contains("did not work"));
    for _ in 5..20 {
        browser.sign_in(&service, &page, &[("with", "oidc")]).await;
    }
    let asked = openid.provider.requests().len();
    assert_eq!(browser.sign_in(&service, &page, &[("with", "oidc")]).await.status, 429);
    assert_eq!(openid.provider.requests().len(), asked, "nobody makes this service ask without end");
    service.clock.advance(Duration::minutes(1));
    assert_eq!(browser.sign_in_as_owner(&service, &page).await.status, 200);
    terminal.poll(&started).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_nothing_of_it_is_there() {
    let service = Service::start().await;
    let (terminal, mut browser) = (Terminal::of(&service), Browser::default());
    let started = terminal.start(None).await.expect(200);
    let page = terminal.page(&mut browser, &started).await;
    assert!(!browser.open(&service, &page).await.html.contains("oidc"));
    assert!(!browser.sign_in(&service, &page, &[("with", "oidc")]).await.headers.contains_key("location"));
    assert_eq!(browser.open(&service, "/api/login/callback?state=x&code=y").await.status, 400);
}
