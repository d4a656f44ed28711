use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::{
    domain::{
        address::EgressPolicy,
        plugin::EndpointTemplate,
        secret::{ClientSecret, PrivateKeyPem},
    },
    provider::fake::{FixedEntropy, Setup},
};

const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

fn exchange(setup: &Setup) -> TokenRequest {
    let code = AuthorizationCode::new("the-code");
    let verifier = CodeVerifier::new("the-verifier");
    setup.registration().exchange(&code, Some(&verifier), NOW, &FixedEntropy(1)).unwrap()
}

fn refresh(setup: &Setup, granted: Option<&str>) -> TokenRequest {
    let token = RefreshToken::new("the-refresh");
    setup.registration().refresh(Some(&token), granted, NOW, &FixedEntropy(1)).unwrap()
}

fn members(request: &TokenRequest) -> BTreeMap<String, String> {
    let pairs: Vec<_> = form_urlencoded::parse(&request.body).into_owned().collect();
    let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(pairs.len(), map.len(), "a member stands twice");
    map
}

fn names(request: &TokenRequest) -> Vec<String> {
    members(request).into_keys().collect()
}

#[test]
fn an_exchange_by_default_is_a_form_with_the_secret_in_the_body_alone() {
    let request = exchange(&Setup::new().scope("a b"));
    let members = members(&request);
    assert_eq!(members["grant_type"], "authorization_code");
    assert_eq!(members["code"], "the-code");
    assert_eq!(members["code_verifier"], "the-verifier");
    assert_eq!(members["scope"], "a b");
    assert_eq!(members["client_id"], "the-client");
    assert_eq!(members["client_secret"], "the-secret");
    assert!(!members.contains_key("redirect_uri"));
    assert_eq!(request.headers[ACCEPT], "application/json");
    assert!(request.headers[USER_AGENT].to_str().unwrap().starts_with("cloudlink/"));
    assert!(!request.headers.contains_key(AUTHORIZATION));
}

#[test]
fn add_redirect_and_add_scope_decide_in_both_requests() {
    let mut setup = Setup::new().scope("a");
    setup.configuration.add_redirect = true;
    setup.configuration.add_scope = false;
    for request in [exchange(&setup), refresh(&setup, None)] {
        let members = members(&request);
        assert_eq!(members["redirect_uri"], "https://broker.example/api/cloudlink/redirect");
        assert!(!members.contains_key("scope"));
    }
}

#[test]
fn e10_basic_sends_the_credential_in_the_header_only() {
    let mut setup = Setup::new();
    setup.configuration.client_id = "i:%+ ä".to_owned();
    setup.configuration.token_auth = ClientAuthentication::Basic(ClientSecret::new("s:%+ ä"));
    let request = exchange(&setup);
    let header = request.headers[AUTHORIZATION].to_str().unwrap();
    let pair = STANDARD.decode(header.strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(String::from_utf8(pair).unwrap(), "i%3A%25%2B+%C3%A4:s%3A%25%2B+%C3%A4");
    assert_eq!(names(&request), ["code", "code_verifier", "grant_type"]);
    assert_eq!(request.endpoint.query(), None);
}

#[test]
fn a_public_client_sends_its_id_and_no_secret() {
    let mut setup = Setup::new();
    setup.configuration.token_auth = ClientAuthentication::None;
    assert_eq!(names(&exchange(&setup)), ["client_id", "code", "code_verifier", "grant_type"]);
}

#[test]
fn b10_an_assertion_names_the_issuer_or_else_the_very_endpoint() {
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let der = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let mut setup = Setup::new();
    setup.configuration.token_auth = ClientAuthentication::PrivateKeyJwt(PrivateKeyPem::new(pem));
    for (issuer, audience) in
        [(None, "https://p.example/token"), (Some("https://p.example/i"), "https://p.example/i")]
    {
        setup.configuration.issuer = issuer.map(str::to_owned);
        let members = members(&exchange(&setup));
        assert_eq!(members["client_assertion_type"], ASSERTION_TYPE);
        assert!(!members.contains_key("client_secret"));
        let payload = members["client_assertion"].split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!(claims["aud"], audience);
    }
}

#[test]
fn a08_token_parameters_override_grant_type_and_scope_but_not_the_code() {
    let mut setup = Setup::new().scope("a");
    for (name, value) in [("grant_type", "custom"), ("scope", ""), ("code", "evil"), ("action", "{what}")] {
        setup.configuration.token_parameters.insert(name.into(), SecretValue::new(value));
    }
    let setup = setup.variable("what", "requesttoken");
    let members = members(&exchange(&setup));
    assert_eq!(members["grant_type"], "custom");
    assert_eq!(members["code"], "the-code");
    assert_eq!(members["action"], "requesttoken");
    assert!(!members.contains_key("scope"));
}

#[test]
fn json_and_renamed_members() {
    let mut setup = Setup::new();
    setup.configuration.token_format = TokenFormat::Json;
    let names = &mut setup.configuration.parameter_names.token;
    names.insert("client_id".into(), Some("client_key".into()));
    names.insert("code_verifier".into(), None);
    let request = exchange(&setup);
    assert_eq!(request.headers[CONTENT_TYPE], "application/json");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&request.body).unwrap(),
        serde_json::json!({"grant_type": "authorization_code", "code": "the-code",
                           "client_key": "the-client", "client_secret": "the-secret"})
    );
}

#[test]
fn e09_a_header_takes_a_variable_but_no_line_break_and_never_frames_the_message() {
    let mut setup = Setup::new().variable("key", "k1");
    setup.configuration.token_headers.insert("x-api-key".into(), SecretValue::new("{key}"));
    let request = exchange(&setup);
    assert_eq!(request.headers["x-api-key"], "k1");
    assert!(request.headers["x-api-key"].is_sensitive());

    let result = |setup: &Setup| {
        let code = AuthorizationCode::new("c");
        setup.registration().exchange(&code, Some(&CodeVerifier::new("v")), NOW, &FixedEntropy(1))
    };
    setup.variables.insert("key".into(), "k\r\nx: y".into());
    assert!(matches!(result(&setup), Err(RequestError::Header)));
    setup.configuration.token_headers = BTreeMap::from([("host".into(), SecretValue::new("evil"))]);
    assert!(matches!(result(&setup), Err(RequestError::Header)));
}

#[test]
fn a_refresh_takes_the_token_parameters_but_for_their_grant_type() {
    let mut setup = Setup::new();
    setup.configuration.token_parameters.insert("audience".into(), SecretValue::new("api"));
    setup.configuration.token_parameters.insert("grant_type".into(), SecretValue::new("custom"));
    let members = members(&refresh(&setup, None));
    assert_eq!(members["grant_type"], "refresh_token");
    assert_eq!(members["refresh_token"], "the-refresh");
    assert_eq!(members["audience"], "api");
    assert!(!members.contains_key("code"));
}

#[test]
fn a_refresh_has_an_endpoint_and_parameters_of_its_own_where_given() {
    let mut setup = Setup::new();
    setup.configuration.token_parameters.insert("audience".into(), SecretValue::new("api"));
    setup.configuration.refresh_parameters =
        Some(BTreeMap::from([("grant_type".into(), SecretValue::new("renew"))]));
    setup.configuration.refresh_endpoint =
        Some(EndpointTemplate::parse("https://p.example/renew", EgressPolicy::PublicOnly).unwrap());
    let request = refresh(&setup, None);
    assert_eq!(request.endpoint.path(), "/renew");
    assert_eq!(members(&request)["grant_type"], "renew");
    assert!(!members(&request).contains_key("audience"));
    assert!(setup.registration().refresh(None, None, NOW, &FixedEntropy(1)).is_ok());
    setup.configuration.refresh_parameters = None;
    let without = setup.registration().refresh(None, None, NOW, &FixedEntropy(1));
    assert!(matches!(without, Err(RequestError::RefreshToken)));
}

#[test]
fn f06_a_refresh_never_asks_for_more_than_was_granted() {
    let comma = Setup::new().scope("read,write,admin");
    assert_eq!(members(&refresh(&comma, Some("write read")))["scope"], "read,write");
    assert_eq!(members(&refresh(&comma, Some("else")))["scope"], "read,write,admin");
    assert_eq!(members(&refresh(&comma, None))["scope"], "read,write,admin");
}

#[test]
fn f07_a_revocation_names_the_token_and_authenticates_the_client() {
    let mut setup = Setup::new();
    let token = RefreshToken::new("the-refresh");
    let build = |setup: &Setup| {
        let token = Revocable::RefreshToken(&token);
        setup.registration().revocation(token, NOW, &FixedEntropy(1)).unwrap()
    };
    assert!(build(&setup).is_none());
    setup.configuration.revocation_endpoint =
        Some(EndpointTemplate::parse("https://p.example/revoke", EgressPolicy::PublicOnly).unwrap());
    let members = members(&build(&setup).unwrap());
    assert_eq!((&*members["token"], &*members["token_type_hint"]), ("the-refresh", "refresh_token"));
    assert_eq!(members["client_secret"], "the-secret");
}

#[test]
fn no_secret_shows_in_debug() {
    let request = exchange(&Setup::new());
    let shown = format!("{request:?} {:?}", request.headers);
    assert!(!shown.contains("the-"), "{shown}");
}

proptest! {
    #[test]
    fn e10_whatever_the_secret_basic_decodes_to_it(id in ".+", secret in ".+") {
        let header = basic(&id, &secret).unwrap();
        let pair = STANDARD.decode(header.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        let pair = String::from_utf8(pair).unwrap();
        let (left, right) = pair.split_once(':').unwrap();
        let decoded = |text: &str| {
            form_urlencoded::parse(format!("x={text}").as_bytes()).next().unwrap().1.into_owned()
        };
        prop_assert_eq!(decoded(left), id);
        prop_assert_eq!(decoded(right), secret);
    }
}
