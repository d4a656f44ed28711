//! Where secrets stand in a configuration, and what is shown in their place.
//!
//! Guarantees: one list of places ([`secret_places`]) serves showing and taking back, so that whatever is
//! shown as [`MASK`] can be sent back as [`MASK`]. The list is by name and rather too long than too short: a
//! harmless member that is masked keeps its value all the same.
//!
//! Does not look into values: a secret that an author writes into an endpoint's query is shown.

use serde_json::Value;

use super::findings::member_of;
use crate::domain::json::Object;

/// What is shown in place of a secret; sent back, it means "unchanged".
pub const MASK: &str = "********";

/// The members whose values are secrets by definition.
const SECRET_MEMBERS: [&str; 2] = ["client_secret", "private_key"];
/// The maps from a name to a definition, with the definition's members.
const DEFINITIONS: [(&str, &[&str]); 2] =
    [("variables", &["title", "pattern", "default", "enum"]), ("callback_parameters", &["pattern"])];
/// The maps from one name to another: all of them public.
const NAMES: [&str; 2] = ["parameter_names", "response_fields"];

/// The members that a configuration may have; any other is kept, and warned of.
pub const KNOWN_MEMBERS: [&str; 28] = [
    "name",
    "client_id",
    "client_secret",
    "auth_endpoint",
    "token_endpoint",
    "scope",
    "addScope",
    "addRedirect",
    "parameters",
    "token_parameters",
    "token_auth",
    "private_key",
    "token_format",
    "pkce",
    "variables",
    "callback_parameters",
    "parameter_names",
    "refresh_endpoint",
    "refresh_parameters",
    "response_fields",
    "default_expires_in",
    "refresh_margin",
    "token_headers",
    "revocation_endpoint",
    "issuer",
    "iss_required",
    "redirect_uri",
    "custody",
];

/// The JSON pointers of all values that are secrets, whether or not they are masked already.
pub(super) fn secret_places(document: &Object) -> Vec<String> {
    let mut places = Vec::new();
    for (name, value) in document {
        let at = member_of("", name);
        let name = name.as_str();
        if SECRET_MEMBERS.contains(&name) {
            places.extend(holds_something(value).then_some(at));
        } else if name == "token_headers" {
            every_member(value, &at, &mut places);
        } else if let Some((_, known)) = DEFINITIONS.iter().find(|(map, _)| *map == name) {
            for (definition, value) in value.as_object().into_iter().flatten() {
                let at = member_of(&at, definition);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !known.contains(&name.as_str()) {
                        by_name(name, value, member_of(&at, name), &mut places);
                    }
                }
            }
        } else if name.ends_with("parameters") {
            inside(value, &at, &mut places);
        } else if !NAMES.contains(&name) && !KNOWN_MEMBERS.contains(&name) {
            by_name(name, value, at, &mut places);
        }
    }
    places
}

/// The secret places where [`MASK`] stands.
pub(super) fn masked_places(document: &Object) -> Vec<String> {
    let root = Value::Object(document.clone());
    let mut places = secret_places(document);
    places.retain(|place| root.pointer(place).and_then(Value::as_str) == Some(MASK));
    places
}

fn every_member(value: &Value, at: &str, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| holds_something(value));
            places.extend(members.map(|(name, _)| member_of(at, name)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            places.extend(holds_something(value).then(|| at.to_owned()));
        }
    }
}

fn by_name(name: &str, value: &Value, at: String, places: &mut Vec<String>) {
    if is_secret_name(name) && holds_something(value) {
        places.push(at);
    } else {
        inside(value, &at, places);
    }
}

fn inside(value: &Value, at: &str, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                by_name(name, value, member_of(at, name), places);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                inside(value, &format!("{at}/{index}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether there is anything to hide: an empty value shows that nothing is stored, a boolean is no secret.
pub(super) fn holds_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// Anywhere in a name, these make it a secret's.
const SECRET_STEMS: [&str; 9] =
    ["secret", "password", "passwd", "passphrase", "token", "credential", "assertion", "signature", "bearer"];
/// As a word of their own.
const SECRET_WORDS: [&str; 9] =
    ["keys", "pwd", "pass", "pin", "jwt", "hmac", "cookie", "auth", "authorization"];
/// As the last word, these say that the value is about a secret and isn't one: `token_type`.
const ABOUT: [&str; 10] =
    ["type", "format", "method", "lifetime", "expiry", "expires", "ttl", "hint", "alg", "endpoint"];

/// Whether a member of this name is likely to hold a secret. Words are told apart by capitals and by
/// whatever is no letter or digit.
pub(super) fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    if words.last().is_some_and(|last| ABOUT.contains(&last.as_str())) {
        return false;
    }
    let joined = words.concat();
    SECRET_STEMS.iter().any(|stem| joined.contains(stem))
        || words.iter().any(|word| SECRET_WORDS.contains(&word.as_str()) || word.ends_with("key"))
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous_lower = false;
    for c in name.chars() {
        let starts_word = c.is_uppercase() && previous_lower;
        if !c.is_alphanumeric() || starts_word {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        previous_lower = c.is_lowercase() || c.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn i09_names_of_secrets_are_known_in_any_spelling() {
        for name in [
            "secret",
            "client_secret",
            "clientSecret",
            "CLIENT-SECRET",
            "clientsecret",
            "appsecret_proof",
            "password",
            "user.password",
            "token",
            "access_token",
            "api_key",
            "apiKey",
            "APIKEY",
            "X-Api-Key",
            "Subscription-Key",
            "key",
            "Keys",
            "client_assertion",
            "credentials",
            "authToken",
            "Authorization",
            "jwt",
            "PIN",
            "auth2Token",
            "secret_id",
            "token_id",
            "pass",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn harmless_names_are_shown() {
        for name in [
            "audience",
            "token_type",
            "token_access_type",
            "subject_token_type",
            "client_assertion_type",
            "grant_type",
            "access_type",
            "prompt",
            "response_type",
            "duration",
            "passenger",
            "spin",
            "keyboard",
            "author",
            "scope",
            "include_granted_scopes",
            "resource",
            "tokenFormat",
            "compass",
            "",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn i09_every_place_of_a_secret_is_found() {
        let document = json!({
            "name": "x", "client_secret": "s", "private_key": "", "token_endpoint": "t", "token_auth": "post",
            "token_format": "form",
            "token_headers": {"X-Region": "eu", "Authorization": "b"},
            "token_parameters": {"audience": "a", "api/key": "k", "nested": [{"password": "p"}]},
            "future_parameters": {"secret": "s"},
            "variables": {"token": {"default": "d", "pattern": "p", "secret": "x"}},
            "callback_parameters": {"token": {"pattern": "p"}},
            "parameter_names": {"token": {"client_secret": "app_secret"}},
            "response_fields": {"access_token": "authed_user.access_token"},
            "cloudlink": true, "use_token": true, "api_key": 7, "extra": {"deep": {"password": "p"}, "secrets": [1]}
        });
        let Value::Object(document) = document else { panic!() };
        assert_eq!(
            secret_places(&document),
            [
                "/client_secret",
                "/token_headers/X-Region",
                "/token_headers/Authorization",
                "/token_parameters/api~1key",
                "/token_parameters/nested/0/password",
                "/future_parameters/secret",
                "/variables/token/secret",
                "/api_key",
                "/extra/deep/password",
                "/extra/secrets",
            ]
        );
    }
}
