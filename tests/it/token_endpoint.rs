//! The broker's own token endpoint, as a plugin's stock OAuth library uses it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;
use tokio::sync::Notify;

use crate::{
    harness::{Answer, DatabaseLink, Home, Provider, Reply, Service, call_with},
    races::two_replicas,
};

/// What a plugin's library was given: where, as whom, and what for.
#[derive(Clone)]
pub(crate) struct Library {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: String,
}

impl Library {
    /// Of a slot that is linked, and has said so.
    pub(crate) async fn of(service: &Service, home: &Home) -> Self {
        let all = home.poll(service, "state=all").await.expect(200);
        let events: Vec<&Value> =
            all["events"].as_array().unwrap().iter().filter(|event| event["slot"] == home.slot).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let configuration = &events[0]["data"];
        assert!(text(&configuration["token_endpoint"]).ends_with("/api/cloudlink/token"));
        let token = events.get(1).map_or_else(String::new, |event| text(&event["data"]["refresh_token"]));
        Self { id: text(&configuration["client_id"]), secret: text(&configuration["client_secret"]), token }
    }

    /// A refresh as most libraries send it, with what PG3's adds.
    pub(crate) async fn refresh(&self, service: &Service) -> Reply {
        let mut members = self.members();
        members.extend([("scope", "read write"), ("redirect_uri", "https://a.example"), ("audience", "x")]);
        post(service, &members, None).await
    }

    /// The same with the credentials in the header, written like this.
    async fn refresh_by_basic(&self, service: &Service, credentials: &str) -> Reply {
        let members = [("grant_type", "refresh_token"), ("refresh_token", self.token.as_str())];
        post(service, &members, Some(format!("Basic {}", STANDARD.encode(credentials)))).await
    }

    fn members(&self) -> Vec<(&str, &str)> {
        vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", &self.token),
            ("client_id", &self.id),
            ("client_secret", &self.secret),
        ]
    }

    fn with_secret(&self, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..self.clone() }
    }

    fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }
}

async fn post(service: &Service, members: &[(&str, &str)], authorization: Option<String>) -> Reply {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish();
    let mut request = service
        .request(Method::POST, "/api/cloudlink/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    Reply::of(request).await
}

#[track_caller]
fn refused(reply: &Reply) -> (u16, &str) {
    assert!(reply.json["error_description"].is_string(), "{}", reply.text);
    assert_eq!(reply.headers["cache-control"], "no-store", "{}", reply.text);
    (reply.status, reply.json["error"].as_str().unwrap())
}

async fn stage() -> (Service, Provider, Home, Library) {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let library = Library::of(&service, &home).await;
    (service, provider, home, library)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_library_gets_exactly_what_the_standard_names() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    provider.next(Answer::Json(
        200,
        json!({"access_token": "at-1", "refresh_token": "rt-1", "expires_in": 3600, "id_token": "a.b.c", "user": 7}),
    ));
    home.link(&service).await;
    let library = Library::of(&service, &home).await;
    let reply = library.refresh(&service).await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let mut answer = reply.expect(200);
    let remains = answer["expires_in"].take().as_i64().unwrap();
    assert!((3500..=3600).contains(&remains), "{remains}");
    let expected = json!({
        "access_token": "at-1", "token_type": "Bearer", "expires_in": null, "refresh_token": library.token,
        "scope": "read write",
    });
    assert_eq!(answer, expected);
    assert_eq!(provider.requests().len(), 1, "there was enough left");

    let by_basic = library.refresh_by_basic(&service, &format!("{}:{}", library.id, library.secret)).await;
    assert_eq!(by_basic.expect(200)["refresh_token"], library.token.as_str());
    service.clock.advance(Duration::minutes(10));
    let later = library.refresh(&service).await.expect(200)["expires_in"].as_i64().unwrap();
    assert!((2900..=3000).contains(&later), "what remains: {later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_granted_scope_is_told_and_no_more_than_is_known() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol_with(&service, &provider, json!({"scope": null})).await;
    home.link(&service).await;
    let library = Library::of(&service, &home).await;
    let answer = library.refresh(&service).await.expect(200);
    assert!(answer.get("scope").is_none(), "{answer}");
    provider.next(Answer::Json(200, json!({"access_token": "at-2", "scope": "some"})));
    home.link(&service).await;
    assert_eq!(library.refresh(&service).await.expect(200)["scope"], "some", "the handle outlives a consent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_none_is_refused_as_the_standard_says() {
    let (service, _provider, _home, library) = stage().await;
    let with = |change: &[(&'static str, &'static str)]| {
        let mut members = library.members();
        members.retain(|(name, _)| change.iter().all(|(other, _)| other != name));
        members.extend(change.iter().filter(|(_, value)| !value.is_empty()));
        members.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    for (members, expected) in [
        (with(&[("grant_type", "")]), (400, "invalid_request")),
        (with(&[("grant_type", "authorization_code")]), (400, "unsupported_grant_type")),
        (with(&[("grant_type", "client_credentials")]), (400, "unsupported_grant_type")),
        (with(&[("refresh_token", "")]), (400, "invalid_request")),
        (with(&[("client_secret", "")]), (401, "invalid_client")),
        (with(&[("client_id", "")]), (401, "invalid_client")),
        (
            with(&[("refresh_token", "clh_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]),
            (400, "invalid_grant"),
        ),
        (with(&[("refresh_token", "never-heard-of")]), (400, "invalid_grant")),
    ] {
        let members: Vec<_> = members.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let reply = post(&service, &members, None).await;
        assert_eq!(refused(&reply), expected, "{members:?}");
    }
    let twice = [library.members(), vec![("client_id", "x")]].concat();
    assert_eq!(refused(&post(&service, &twice, None).await), (400, "invalid_request"));
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", library.id, library.secret)));
    assert_eq!(
        refused(&post(&service, &library.members(), Some(basic.clone())).await),
        (400, "invalid_request")
    );
    let named =
        [("grant_type", "refresh_token"), ("refresh_token", &library.token), ("client_id", &library.id)];
    post(&service, &named, Some(basic.clone())).await.expect(200);
    let other =
        [("grant_type", "refresh_token"), ("refresh_token", &library.token), ("client_id", "another")];
    assert_eq!(refused(&post(&service, &other, Some(basic)).await), (400, "invalid_request"));
    let query =
        Reply::of(service.request(Method::POST, "/api/cloudlink/token?grant_type=refresh_token")).await;
    assert_eq!(refused(&query), (400, "invalid_request"));
    let get = Reply::of(service.request(Method::GET, "/api/cloudlink/token")).await;
    assert_eq!(get.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_another_slots_credentials_or_handle_open_nothing() {
    let (service, provider, home, library) = stage().await;
    let home = home.with_slot("cooling");
    home.install(&service, "acme", json!({})).await.expect(201);
    provider.next(Answer::Json(200, json!({"access_token": "at-cooling", "expires_in": 3600})));
    home.link(&service).await;
    let cooling = Library::of(&service, &home).await;
    assert_eq!(cooling.refresh(&service).await.expect(200)["access_token"], "at-cooling");
    assert_eq!(library.refresh(&service).await.expect(200)["access_token"], "at-1");
    for mixed in [cooling.with_token(&library.token), library.with_token(&cooling.token)] {
        assert_eq!(refused(&mixed.refresh(&service).await), (401, "invalid_client"));
    }
    let half = Library { id: library.id.clone(), ..cooling };
    assert_eq!(refused(&half.refresh(&service).await), (401, "invalid_client"));
    let bearer = home.token(&service).await;
    let path = "/api/cloudlink/token";
    assert_eq!(call_with(&service, &bearer, Method::POST, path, None).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_secrets_are_told_from_right_ones_and_bounded_and_right_ones_go_on() {
    let (service, _provider, _home, library) = stage().await;
    let wrong = library.with_secret("wrong");
    let by_post = wrong.refresh(&service).await;
    assert_eq!(
        (refused(&by_post), &by_post.headers["www-authenticate"]),
        ((401, "invalid_client"), &"Bearer".parse().unwrap())
    );
    let by_basic = library.refresh_by_basic(&service, &format!("{}:wrong", library.id)).await;
    assert_eq!(refused(&by_basic), (401, "invalid_client"));
    assert!(by_basic.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    let replies = join_all((0..30).map(|_| wrong.refresh(&service))).await;
    let told = replies.iter().filter(|reply| reply.status == 401).count();
    assert_eq!(told, 18, "20 a minute");
    let silent = replies.iter().find(|reply| reply.status == 429).unwrap();
    assert!(silent.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    library.refresh(&service).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn e10_a_client_of_the_homes_own_is_known_however_its_library_writes_basic() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let own = json!({"client_id": "my own:id", "client_secret": "s%2B +ä/"});
    home.patch(&service, own).await.expect(200);
    home.link(&service).await;
    let library = Library::of(&service, &home).await;
    assert_ne!(library.secret, "s%2B +ä/", "what it is sent is the slot's own");
    library.refresh(&service).await.expect(200);
    let merged = Library { id: "my own:id".to_owned(), ..library.with_secret("s%2B +ä/") };
    merged.refresh(&service).await.expect(200);
    merged.refresh_by_basic(&service, "my+own%3Aid:s%252B+%2B%C3%A4%2F").await.expect(200);
    let other = json!({"client_id": "plain", "client_secret": "a+b%20c"});
    home.patch(&service, other).await.expect(200);
    home.link(&service).await;
    let library = Library::of(&service, &home).await;
    library.refresh_by_basic(&service, "plain:a+b%20c").await.expect(200);
    library.refresh_by_basic(&service, "plain:a%2Bb%2520c").await.expect(200);
    let stores = library.with_secret("the-secret");
    assert_eq!(refused(&Library { id: "the-client".to_owned(), ..stores }.refresh(&service).await).0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handle_ends_with_the_link_and_with_the_slot_and_a_new_one_begins() {
    let (service, provider, home, library) = stage().await;
    home.call(&service, Method::DELETE, &home.at("/tokens"), None).await.expect(204);
    assert_eq!(refused(&library.refresh(&service).await), (400, "invalid_grant"));
    home.link(&service).await;
    let newer = Library::of(&service, &home).await;
    assert_ne!(newer.token, library.token);
    newer.refresh(&service).await.expect(200);
    assert_eq!(refused(&library.refresh(&service).await), (400, "invalid_grant"));
    home.call(&service, Method::DELETE, &home.at(""), None).await.expect(204);
    assert_eq!(refused(&newer.refresh(&service).await), (400, "invalid_grant"));
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_no_dead_grant() {
    let (service, _provider, _home, library) = stage().await;
    let link = DatabaseLink::to(&service).await;
    let replica = service.replica_with(&[("DATABASE__URL", link.url.as_str())]).await;
    library.refresh(&replica).await.expect(200);
    link.cut();
    let reply = library.refresh(&replica).await;
    assert_eq!(refused(&reply), (503, "temporarily_unavailable"));
    assert!(reply.headers.contains_key("retry-after"));
    link.mend();
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_once_a_slot_points_elsewhere_its_old_refresh_token_is_sent_nowhere() {
    let (service, provider, home, library) = stage().await;
    let evil = Provider::start().await;
    let moved = json!({
        "token_endpoint": format!("{}/token", evil.url), "client_id": "mine", "client_secret": "my-own",
    });
    home.patch(&service, moved).await.expect(200);
    service.clock.advance(Duration::hours(2));
    let own = Library { id: "mine".to_owned(), ..library.with_secret("my-own") };
    for library in [library.clone(), own, library.with_token("rt-1")] {
        assert_eq!(refused(&library.refresh(&service).await), (400, "invalid_grant"));
    }
    let path = home.at("/token");
    assert_eq!(home.call(&service, Method::GET, &path, None).await.status, 409);
    service.broker().sweep_flows().await.unwrap();
    assert_eq!((provider.requests().len(), evil.requests().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_any_number_of_libraries_at_once_on_all_replicas_cost_the_provider_one_request() {
    let (one, other, provider) = two_replicas(&[]).await;
    let home = Home::enrol(&one, &provider).await;
    home.link(&one).await;
    let library = Library::of(&one, &home).await;
    let told = Arc::new(Notify::new());
    let fresh = json!({"access_token": "at-2", "refresh_token": "rt-2", "expires_in": 3600});
    provider.next(Answer::Held(Arc::clone(&told), 200, fresh));
    one.clock.advance(Duration::seconds(3600 - 40));
    let asking = join_all((0..40).map(|n| {
        let (library, service) = (library.clone(), if n % 2 == 0 { &one } else { &other });
        async move { library.refresh(service).await }
    }));
    let release = async {
        provider.asked(2).await;
        told.notify_one();
    };
    let (replies, ()) = tokio::join!(asking, release);
    for reply in replies {
        let answer = reply.expect(200);
        assert_eq!(
            (answer["access_token"].as_str(), &answer["refresh_token"]),
            (Some("at-2"), &json!(library.token))
        );
        assert!(answer["expires_in"].as_i64().unwrap() > 3000);
    }
    assert_eq!(provider.requests().len(), 2);
    assert_eq!(provider.requests()[1].form["refresh_token"], "rt-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_no_dead_grant_and_one_that_says_so_is() {
    let (service, provider, home, library) = stage().await;
    provider.always(Answer::Json(503, json!({})));
    service.clock.advance(Duration::seconds(3600 - 30));
    let old = library.refresh(&service).await.expect(200);
    assert_eq!(old["access_token"], "at-1", "while it lasts");
    service.clock.advance(Duration::minutes(5));
    let away = library.refresh(&service).await;
    assert_eq!(refused(&away), (503, "temporarily_unavailable"));
    assert!(away.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);

    provider.always(Answer::Json(400, json!({"error": "invalid_grant"})));
    service.clock.advance(Duration::hours(2));
    let dead = crate::harness::until("the dead grant", async || {
        let reply = library.refresh(&service).await;
        (reply.status == 400).then_some(reply)
    })
    .await;
    assert_eq!(refused(&dead), (400, "invalid_grant"));
    assert_eq!(home.show(&service).await["status"], "reauthorize");
    assert_eq!(refused(&library.refresh(&service).await), (400, "invalid_grant"));
}
