use actix_web::{App, body::to_bytes, dev::ServiceResponse, test};
use serde_json::Value;
use url::form_urlencoded;

use super::{super::super::folder::Folder, *};
use crate::seams::{SystemClock, SystemEntropy};

const REDIRECT_URIS: &str = "http://127.0.0.1:8080/api/cloudlink/redirect";
const REDIRECT_URI: &str = "http://127.0.0.1:8080/api/cloudlink/redirect/demo";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn shared(scratch: &tempfile::TempDir) -> web::Data<Shared> {
    web::Data::new(Shared {
        grants: Mutex::new(Grants::open(Folder::open(scratch.path()).unwrap()).unwrap()),
        origin: "http://localhost:8082".to_owned(),
        redirect_uris: REDIRECT_URIS.to_owned(),
        client_secret: ClientSecret::new("the-secret"),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    })
}

fn encoded(fields: &Fields<'_>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Replaces one field's value, or adds it.
fn with<'a>(mut fields: Fields<'a>, name: &'a str, value: &'a str) -> Fields<'a> {
    fields.retain(|(known, _)| *known != name);
    fields.push((name, value));
    fields
}

fn authorization() -> Fields<'static> {
    vec![
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", REDIRECT_URI),
        ("state", "the state"),
        ("scope", SCOPE),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
}

async fn get(shared: &web::Data<Shared>, fields: &Fields<'_>) -> ServiceResponse {
    let app = test::init_service(App::new().app_data(shared.clone()).configure(configure)).await;
    let uri = format!("/authorize?{}", encoded(fields));
    test::call_service(&app, test::TestRequest::get().uri(&uri).to_request()).await
}

async fn post(shared: &web::Data<Shared>, path: &str, fields: &Fields<'_>) -> ServiceResponse {
    let app = test::init_service(App::new().app_data(shared.clone()).configure(configure)).await;
    let request = test::TestRequest::post().uri(path);
    let request = request.insert_header(("content-type", "application/x-www-form-urlencoded"));
    test::call_service(&app, request.set_payload(encoded(fields)).to_request()).await
}

async fn text(answer: ServiceResponse) -> String {
    String::from_utf8(to_bytes(answer.into_body()).await.unwrap().to_vec()).unwrap()
}

fn returned(answer: &ServiceResponse, name: &str) -> Option<String> {
    let url = Url::parse(answer.headers().get("location")?.to_str().ok()?).unwrap();
    assert!(url.as_str().starts_with(REDIRECT_URI), "only ever to the client");
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The whole way to the answer of the consent page.
async fn decided(shared: &web::Data<Shared>, decision: &str) -> ServiceResponse {
    let page = text(get(shared, &authorization()).await).await;
    let request = page.split("name=\"request\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    post(shared, "/decision", &vec![("request", request), ("decision", decision)]).await
}

fn redemption(code: &str) -> Fields<'_> {
    vec![
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT_ID),
        ("client_secret", "the-secret"),
        ("code", code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ]
}

#[actix_web::test]
async fn allowing_leads_to_tokens_that_can_be_refreshed_and_revoked() {
    let scratch = tempfile::tempdir().unwrap();
    let shared = shared(&scratch);
    let answer = decided(&shared, "allow").await;
    assert_eq!(returned(&answer, "state").as_deref(), Some("the state"));
    assert_eq!(returned(&answer, "iss").as_deref(), Some("http://localhost:8082"));
    let code = returned(&answer, "code").unwrap();
    let tokens: Value = test::read_body_json(post(&shared, "/token", &redemption(&code)).await).await;
    assert_eq!((&tokens["expires_in"], &tokens["scope"]), (&3600.into(), &SCOPE.into()));

    let refresh = tokens["refresh_token"].as_str().unwrap();
    let client = vec![("client_id", CLIENT_ID), ("client_secret", "the-secret")];
    let form = with(with(client.clone(), "grant_type", "refresh_token"), "refresh_token", refresh);
    let next: Value = test::read_body_json(post(&shared, "/token", &form).await).await;
    assert_ne!(next["refresh_token"], tokens["refresh_token"], "it rotates");
    assert_eq!(post(&shared, "/token", &form).await.status(), 400, "the old one is spent");

    let next = next["refresh_token"].as_str().unwrap();
    assert_eq!(post(&shared, "/revoke", &with(client, "token", next)).await.status(), 200);
    assert_eq!(post(&shared, "/token", &with(form, "refresh_token", next)).await.status(), 400);
}

#[actix_web::test]
async fn denying_sends_the_error_and_no_code() {
    let scratch = tempfile::tempdir().unwrap();
    let answer = decided(&shared(&scratch), "deny").await;
    assert_eq!(returned(&answer, "error").as_deref(), Some("access_denied"));
    assert_eq!(returned(&answer, "code"), None);
}

#[actix_web::test]
async fn an_unknown_client_or_redirect_uri_is_sent_nowhere() {
    let scratch = tempfile::tempdir().unwrap();
    let shared = shared(&scratch);
    for (name, value) in [
        ("client_id", "other"),
        ("redirect_uri", "http://127.0.0.1:8080/elsewhere"),
        ("redirect_uri", REDIRECT_URIS),
        ("redirect_uri", "http://127.0.0.1:8080/api/cloudlink/redirect/../elsewhere"),
        ("redirect_uri", "http://127.0.0.1:8080/api/cloudlink/redirect.evil.example/demo"),
    ] {
        let answer = get(&shared, &with(authorization(), name, value)).await;
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("location")), (400, false));
    }
}

#[actix_web::test]
async fn a_request_without_an_s256_challenge_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let shared = shared(&scratch);
    for (name, value, error) in [
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
    ] {
        let answer = get(&shared, &with(authorization(), name, value)).await;
        assert_eq!(returned(&answer, "error").as_deref(), Some(error), "{name}");
    }
}

#[actix_web::test]
async fn a_code_goes_to_the_client_that_asked_and_to_nobody_else() {
    let scratch = tempfile::tempdir().unwrap();
    let shared = shared(&scratch);
    for (name, value, status) in [
        ("client_secret", "guessed", 401),
        ("client_id", "other", 401),
        ("code_verifier", "guessed", 400),
        ("redirect_uri", "http://127.0.0.1:8080/api/cloudlink/redirect/other", 400),
        ("grant_type", "password", 400),
    ] {
        let code = returned(&decided(&shared, "allow").await, "code").unwrap();
        let answer = post(&shared, "/token", &with(redemption(&code), name, value)).await;
        assert_eq!(answer.status().as_u16(), status, "{name}");
    }
}

#[actix_web::test]
async fn a_consent_page_counts_once() {
    let scratch = tempfile::tempdir().unwrap();
    let shared = shared(&scratch);
    let page = text(get(&shared, &authorization()).await).await;
    let request = page.split("name=\"request\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = vec![("request", request), ("decision", "allow")];
    assert_eq!(post(&shared, "/decision", &form).await.status(), 303);
    assert_eq!(post(&shared, "/decision", &form).await.status(), 410);
}

#[actix_web::test]
async fn any_plugin_of_this_cloudlink_may_be_sent_back_to() {
    let scratch = tempfile::tempdir().unwrap();
    let other = "http://127.0.0.1:8080/api/cloudlink/redirect/thermostat";
    let answer = get(&shared(&scratch), &with(authorization(), "redirect_uri", other)).await;
    assert_eq!(answer.status(), 200);
}

#[actix_web::test]
async fn the_api_answers_who_has_an_access_token() {
    let scratch = tempfile::tempdir().unwrap();
    let shared = shared(&scratch);
    let code = returned(&decided(&shared, "allow").await, "code").unwrap();
    let tokens: Value = test::read_body_json(post(&shared, "/token", &redemption(&code)).await).await;
    let app = test::init_service(App::new().app_data(shared.clone()).configure(configure)).await;
    for (member, status) in [("access_token", 200), ("refresh_token", 401)] {
        let bearer = format!("Bearer {}", tokens[member].as_str().unwrap());
        let request = test::TestRequest::get().uri("/thermostats").insert_header(("authorization", bearer));
        assert_eq!(test::call_service(&app, request.to_request()).await.status(), status, "{member}");
    }
}
