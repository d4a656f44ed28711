use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::json::Object;

mod placeholders;
mod requests;

fn object(value: Value) -> Object {
    let Value::Object(members) = value else { panic!("{value} is no object") };
    members
}

/// The required members, with `changes` in their place; `null` takes a member out.
fn document(changes: Value) -> Document {
    let mut members = object(json!({
        "name": "Thermostat", "client_id": "id-1", "client_secret": "canary", "addRedirect": true,
        "auth_endpoint": "https://auth.example.com/authorize", "token_endpoint": "https://auth.example.com/token"
    }));
    members.extend(object(changes));
    members.retain(|_, value| !value.is_null());
    Document::new(members)
}

fn parsed(changes: Value) -> Parsed {
    let text = changes.to_string();
    parse(&document(changes), EgressPolicy::PublicOnly).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn errors(changes: Value) -> Vec<FieldError> {
    let text = changes.to_string();
    match parse(&document(changes), EgressPolicy::PublicOnly) {
        Ok(_) => panic!("{text} was accepted"),
        Err(errors) => errors,
    }
}

fn fields(changes: Value) -> Vec<String> {
    errors(changes).into_iter().map(|error| error.field).collect()
}

fn warned(changes: Value) -> Vec<String> {
    parsed(changes).warnings.into_iter().map(|warning| warning.field).collect()
}

#[test]
fn the_ten_members_have_the_documented_defaults() {
    let Parsed { configuration, warnings } = parsed(json!({"addRedirect": null}));
    assert_eq!(configuration.name, "Thermostat");
    assert_eq!(configuration.client_id, "id-1");
    assert_eq!(configuration.token_auth, ClientAuthentication::Post(ClientSecret::new("canary")));
    assert_eq!(configuration.scope, None);
    assert!(configuration.add_scope && !configuration.add_redirect && !configuration.iss_required);
    assert!(configuration.parameters.is_empty() && configuration.token_parameters.is_empty());
    assert_eq!(configuration.refresh_parameters, None);
    assert_eq!(configuration.token_format, TokenFormat::Form);
    assert_eq!(configuration.pkce, Pkce::S256);
    assert_eq!(configuration.redirect_uri, RedirectUriKind::Shared);
    assert_eq!(configuration.custody, Custody::Broker);
    assert_eq!((configuration.default_expires_in, configuration.refresh_margin), (None, None));
    assert_eq!(warnings.into_iter().map(|warning| warning.field).collect::<Vec<_>>(), ["/addRedirect"]);
}

#[test]
fn every_further_member_is_read() {
    let configuration = parsed(json!({
        "scope": "a,b c", "addScope": false, "token_auth": "basic", "token_format": "json", "pkce": false,
        "variables": {"dc": {"title": "Region", "pattern": "[a-z]{2}", "default": "eu", "enum": ["eu", "us"]}},
        "callback_parameters": ["realmId"], "parameter_names": {
            "authorization": {"client_id": "client_key", "scope": null}, "token": {"client_id": "client_key"},
            "callback": {"code": "spapi_oauth_code"}},
        "auth_endpoint": "https://{dc}.auth.example.com/#/authorize", "refresh_endpoint": "https://r.example.com/",
        "refresh_parameters": {}, "revocation_endpoint": "https://v.example.com/", "response_fields": {
            "access_token": "authed_user.access_token"},
        "default_expires_in": 3600, "refresh_margin": 60, "token_headers": {"X-Region": "{dc}"},
        "issuer": "https://auth.example.com", "iss_required": true, "redirect_uri": "own", "custody": "device",
        "token_parameters": {"client_id": "id-1"}
    }))
    .configuration;
    assert_eq!(configuration.scope.as_deref(), Some("a,b c"));
    assert!(!configuration.add_scope);
    assert_eq!(configuration.token_auth, ClientAuthentication::Basic(ClientSecret::new("canary")));
    assert_eq!(configuration.token_format, TokenFormat::Json);
    assert_eq!(configuration.pkce, Pkce::Off);
    let variable = &configuration.variables["dc"];
    assert_eq!((variable.title.as_deref(), variable.default.as_deref()), (Some("Region"), Some("eu")));
    assert_eq!(variable.allowed.iter().collect::<Vec<_>>(), ["eu", "us"]);
    assert!(configuration.callback_parameters["realmId"].is_none());
    assert_eq!(configuration.parameter_names.authorization["client_id"].as_deref(), Some("client_key"));
    assert_eq!(configuration.parameter_names.authorization["scope"], None);
    assert_eq!(configuration.parameter_names.in_callback("code"), "spapi_oauth_code");
    assert_eq!(configuration.refresh_parameters.as_ref().map(Parameters::len), Some(0));
    assert_eq!(configuration.endpoints().count(), 4);
    assert_eq!(configuration.response_fields["access_token"].0, ["authed_user", "access_token"]);
    assert_eq!((configuration.default_expires_in, configuration.refresh_margin), (Some(3600), Some(60)));
    assert_eq!(configuration.token_headers["x-region"].expose(), "{dc}");
    assert_eq!(configuration.issuer.as_deref(), Some("https://auth.example.com"));
    assert!(configuration.iss_required);
    assert_eq!((configuration.redirect_uri, configuration.custody), (RedirectUriKind::Own, Custody::Device));
    assert_eq!(configuration.token_parameters["client_id"].expose(), "id-1");
}

#[test]
fn all_errors_come_at_once_with_their_places() {
    let found = fields(json!({
        "name": null, "client_id": 7, "client_secret": "", "auth_endpoint": "nope", "pkce": "false",
        "token_parameters": {"code": "x", "a": null}, "default_expires_in": 0, "custody": "home"
    }));
    assert_eq!(
        found,
        [
            "/name",
            "/client_id",
            "/auth_endpoint",
            "/client_secret",
            "/token_parameters/code",
            "/token_parameters/a",
            "/pkce",
            "/default_expires_in",
            "/custody"
        ]
    );
}

#[test]
fn a_wrong_type_or_size_is_an_error_that_says_what_is_expected() {
    let table = [
        (json!({"addScope": 1}), "/addScope", "true or false"),
        (json!({"scope": ["a"]}), "/scope", "a string"),
        (json!({"scope": "a".repeat(8193)}), "/scope", "8192"),
        (json!({"name": "a".repeat(2049)}), "/name", "2048"),
        (json!({"name": "a\u{202e}b"}), "/name", "control"),
        (json!({"client_secret": "a\nb"}), "/client_secret", "control"),
        (json!({"parameters": []}), "/parameters", "JSON object"),
        (json!({"parameters": {"a": {}}}), "/parameters/a", "a string, a number or a boolean"),
        (json!({"parameters": {"a\n": "b"}}), "/parameters/a\n", "control"),
        (json!({"token_auth": "digest"}), "/token_auth", "\"private_key_jwt\""),
        (json!({"token_format": true}), "/token_format", "\"json\""),
        (json!({"default_expires_in": 1.5}), "/default_expires_in", "whole number"),
        (json!({"refresh_margin": -1}), "/refresh_margin", "from 1 to 2592000"),
        (json!({"default_expires_in": 315_360_001}), "/default_expires_in", "315360000"),
        (json!({"redirect_uri": true}), "/redirect_uri", "a string"),
        (json!({"issuer": {}}), "/issuer", "a string"),
        (json!({"token_endpoint": "https://a.example.com/#/x"}), "/token_endpoint", "fragment"),
        (json!({"response_fields": {"access_token": "a..b"}}), "/response_fields/access_token", "path"),
        (json!({"unknown": "a".repeat(50_000)}), "", "49152"),
    ];
    for (changes, field, part) in table {
        let errors = errors(changes);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].field, field);
        assert!(errors[0].detail.contains(part), "{errors:?}");
    }
    let many: Object = (0..65).map(|n| (format!("p{n}"), json!("x"))).collect();
    assert_eq!(fields(json!({"parameters": many})), ["/parameters"]);
}

#[test]
fn what_is_odd_is_accepted_with_a_warning() {
    let found = warned(json!({
        "addRedirect": null, "cloudlink": true, "redirect_uri": "https://polyglot.isy.io/api/oauth/callback", "pkce": false,
        "variables": {"x": {"titel": "typo"}}, "private_key": "unused", "parameter_names": {"refresh": {}}
    }));
    let expected = [
        "/cloudlink",
        "/private_key",
        "/parameter_names/refresh",
        "/variables/x/titel",
        "/addRedirect",
        "/pkce",
        "/redirect_uri",
    ];
    assert_eq!(found, expected);
    assert!(warned(json!({"addScope": null, "redirect_uri": "own", "iss_required": true})).is_empty());
}

#[test]
fn each_client_authentication_needs_its_own_credential() {
    assert_eq!(fields(json!({"client_secret": null})), ["/client_secret"]);
    assert_eq!(fields(json!({"client_secret": "", "token_auth": "basic"})), ["/client_secret"]);
    parsed(json!({"client_secret": null, "token_auth": "none"}));
    let jwt = |key: &str| json!({"client_secret": null, "token_auth": "private_key_jwt", "private_key": key});
    for key in [
        "",
        "MC4C",
        "-----BEGIN RSA PRIVATE KEY-----\nMC4C\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n?\n-----END PRIVATE KEY-----",
    ] {
        assert_eq!(fields(jwt(key)), ["/private_key"], "{key}");
    }
    let pem = "-----BEGIN PRIVATE KEY-----\r\nMC4C\r\n-----END PRIVATE KEY-----\r\n";
    assert!(matches!(parsed(jwt(pem)).configuration.token_auth, ClientAuthentication::PrivateKeyJwt(_)));
}

#[test]
fn e01_development_lifts_scheme_and_address() {
    let local = document(
        json!({"auth_endpoint": "http://localhost:9000/auth", "token_endpoint": "http://127.0.0.1:9000/token"}),
    );
    assert!(parse(&local, EgressPolicy::AllowPrivate).is_ok());
    assert_eq!(parse(&local, EgressPolicy::PublicOnly).unwrap_err().len(), 2);
}

#[test]
fn no_finding_quotes_a_value() {
    let secret = "canary\u{7}";
    let mut changes = object(
        json!({"parameters": {"a": secret}, "token_headers": {"X-A": secret}, "variables": {
        "v": {"pattern": "(canary", "default": secret, "enum": [secret]}}, "private_key": "canary", "redirect_uri": "canary",
        "token_auth": "canary", "auth_endpoint": "https://canary:canary@a.example.com/"}),
    );
    changes.insert("client_secret".to_owned(), json!(secret));
    let text = format!("{:?}", errors(Value::Object(changes)));
    assert!(!text.contains("canary"), "{text}");
    assert!(!format!("{:?}", parsed(json!({}))).contains("canary"));
}

#[test]
fn the_configurations_that_plugins_use_today_are_accepted() {
    let table = [
        (
            json!({
                "name": "Netatmo", "client_id": "5f0c", "client_secret": "s", "addRedirect": true, "cloudlink": true,
                "auth_endpoint": "https://api.netatmo.com/oauth2/authorize", "scope": "read_station",
                "token_endpoint": "https://api.netatmo.com/oauth2/token"
            }),
            vec!["/cloudlink"],
        ),
        (
            json!({
                "name": "Tesla", "client_id": "7b1d", "client_secret": "s", "addRedirect": true,
                "auth_endpoint": "https://auth.tesla.com/oauth2/v3/authorize",
                "token_endpoint": "https://auth.tesla.com/oauth2/v3/token",
                "scope": "openid offline_access vehicle_device_data",
                "token_parameters": {"audience": "https://fleet-api.prd.{region}.vn.cloud.tesla.com"},
                "variables": {"region": {"title": "Region", "enum": ["na", "eu"], "default": "na"}}
            }),
            vec![],
        ),
        (
            json!({
                "name": "NuHeat", "client_id": "nu", "client_secret": "s",
                "auth_endpoint": "https://identity.mynuheat.com/connect/authorize",
                "token_endpoint": "https://identity.mynuheat.com/connect/token",
                "scope": "openapi openid profile offline_access"
            }),
            vec!["/addRedirect"],
        ),
        (
            json!({
                "name": "YouTube", "client_id": "1.apps.googleusercontent.com", "client_secret": "s", "addRedirect": true,
                "auth_endpoint": "https://accounts.google.com/o/oauth2/auth",
                "token_endpoint": "https://oauth2.googleapis.com/token", "addScope": false,
                "scope": "https://www.googleapis.com/auth/youtube.readonly",
                "parameters": {"access_type": "offline", "prompt": "consent", "include_granted_scopes": true}
            }),
            vec![],
        ),
    ];
    for (text, expected) in table {
        let Parsed { configuration, warnings } =
            parse(&Document::new(object(text)), EgressPolicy::PublicOnly).unwrap();
        let found: Vec<_> = warnings.iter().map(|warning| warning.field.as_str()).collect();
        assert_eq!(found, expected, "{}", configuration.name);
        let values = configuration.variables(&std::collections::BTreeMap::new()).unwrap();
        for endpoint in configuration.endpoints() {
            assert_eq!(
                endpoint.resolve(&values, EgressPolicy::PublicOnly).unwrap().as_str(),
                endpoint.as_str()
            );
        }
        if let Some(audience) = configuration.token_parameters.get("audience") {
            let rendered = super::super::render(audience, &values);
            assert_eq!(rendered.expose(), "https://fleet-api.prd.na.vn.cloud.tesla.com");
        }
        let origin = configuration.claim(&values).auth_origin;
        assert!(configuration.auth_endpoint.as_str().starts_with(&origin), "{origin}");
    }
}

proptest! {
    #[test]
    fn any_object_is_parsed_or_refused(
        known in proptest::sample::select(KNOWN_MEMBERS.as_slice()),
        (name, member) in ("\\PC{0,8}", "[a-z_]{0,12}"),
        text in "\\PC{0,40}",
        number in any::<f64>(),
    ) {
        let nested = json!({name.clone(): {member.clone(): text}});
        for value in [json!(text), json!(number), json!([text]), json!({name: text}), nested] {
            let _ = parse(&document(json!({known: value, member.clone(): text})), EgressPolicy::AllowPrivate);
        }
    }
}
