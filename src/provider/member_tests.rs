//! What each member of a configuration changes in the requests, and what those mean that are about answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, normalise,
    transcript::{Given, NOW, parsed, requests},
};
use crate::domain::{plugin::KNOWN_MEMBERS, tokens::TokenSet};

/// Paragraphs: a JSON object of members, perhaps what is given, then the lines that go and come.
const EFFECTS: &str = include_str!("member_effects.txt");

/// RFC 8410 §10.3.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----";

/// The members that change no request: they say how answers, callbacks and tokens are taken.
const OF_ANSWERS: [(&str, &str); 6] = [
    ("name", "\"Other\""),
    ("response_fields", r#"{"access_token": "data.token"}"#),
    ("default_expires_in", "60"),
    ("refresh_margin", "300"),
    ("iss_required", "true"),
    ("custody", "\"device\""),
];

#[derive(Default, Deserialize)]
struct Bring {
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    callback: BTreeMap<String, String>,
    refresh_token: Option<bool>,
}

struct Effect {
    members: Value,
    given: Bring,
    lines: Vec<&'static str>,
}

fn effects() -> Vec<Effect> {
    let mut effects: Vec<Effect> = Vec::new();
    for line in EFFECTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('{') {
            let mut members: Value = serde_json::from_str(line).unwrap();
            if members["private_key"] == "$KEY" {
                members["private_key"] = ED25519.into();
            }
            effects.push(Effect { members, given: Bring::default(), lines: Vec::new() });
        } else if let Some(given) = line.strip_prefix("given ") {
            effects.last_mut().unwrap().given = serde_json::from_str(given).unwrap();
        } else {
            effects.last_mut().unwrap().lines.push(line);
        }
    }
    effects
}

fn with(changes: &Value) -> Value {
    let mut members = json!({
        "name": "Acme", "client_id": "id", "client_secret": "secret", "scope": "a b",
        "auth_endpoint": "https://p.example/authorize", "token_endpoint": "https://p.example/token",
        "revocation_endpoint": "https://p.example/revoke", "addRedirect": false,
    });
    members.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    members
}

fn lines(members: &Value, given: &Bring) -> Vec<String> {
    let pairs = |map: &BTreeMap<String, String>| map.clone().into_iter().collect::<Vec<_>>();
    let given = Given {
        plugin: "acme",
        variables: &pairs(&given.variables),
        callback: &pairs(&given.callback),
        without_refresh_token: given.refresh_token == Some(false),
    };
    let told = requests(&parsed(members), &given);
    told.into_iter()
        .flat_map(|(what, lines)| lines.into_iter().map(move |line| format!("{what} {line}")))
        .collect()
}

/// `-` and a line that these changes take away, then `+` and one that they bring.
fn difference(changes: &Value, given: &Bring) -> Vec<String> {
    let (before, after) = (lines(&with(&json!({})), &Bring::default()), lines(&with(changes), given));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{line}"));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+{line}"));
    gone.chain(come).collect()
}

#[test]
fn each_member_changes_the_requests_as_it_should_and_nothing_else() {
    for Effect { members, given, lines } in effects() {
        assert_eq!(difference(&members, &given), lines, "{members}");
    }
    for (member, value) in OF_ANSWERS {
        let changes = json!({ member: serde_json::from_str::<Value>(value).unwrap() });
        assert_eq!(difference(&changes, &Bring::default()), [""; 0], "{changes}");
    }
}

#[test]
fn no_member_is_without_a_test_of_its_effect() {
    let effects = effects();
    let tried = effects.iter().flat_map(|effect| effect.members.as_object().unwrap().keys());
    let tried: BTreeSet<&str> =
        tried.map(String::as_str).chain(OF_ANSWERS.iter().map(|(member, _)| *member)).collect();
    assert_eq!(tried, BTreeSet::from(KNOWN_MEMBERS));
}

fn taken(changes: &Value, answer: &Value, callback: &[(&str, &str)]) -> TokenSet {
    let callback: BTreeMap<_, _> =
        callback.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let answer = Answer { status: 200, retry_after: None, body: answer.to_string().into_bytes().into() };
    normalise(&answer, &parsed(&with(changes)), &callback, NOW).unwrap()
}

#[test]
fn members_about_answers_say_where_tokens_stand_how_long_they_live_and_what_the_callback_adds() {
    let nested = json!({"response_fields": {"access_token": "data.token", "expires_at": "data.until"}});
    let tokens = taken(&nested, &json!({"data": {"token": "A", "until": "2026-01-02T03:05:05Z"}}), &[]);
    assert_eq!((tokens.access_token().expose(), tokens.expires_in(NOW)), ("A", 60));
    let silent = json!({"access_token": "A"});
    assert_eq!(taken(&json!({"default_expires_in": 60}), &silent, &[]).expires_in(NOW), 60);
    let added = taken(&json!({"callback_parameters": ["realm"]}), &silent, &[("realm", "7"), ("stray", "1")]);
    assert_eq!(Value::Object(added.members().clone()), json!({"access_token": "A", "realm": "7"}));
}

#[test]
fn a_scope_that_comes_as_a_list_is_one_text_to_us_and_a_list_to_the_plugin() {
    let tokens = taken(&json!({}), &json!({"access_token": "A", "scope": ["a", "b"]}), &[]);
    assert_eq!(tokens.scope(), Some("a b"));
    assert_eq!(tokens.members()["scope"], json!(["a", "b"]));
    for odd in [json!([]), json!([1]), json!({}), json!(null)] {
        assert_eq!(taken(&json!({}), &json!({"access_token": "A", "scope": odd}), &[]).scope(), None);
    }
}
