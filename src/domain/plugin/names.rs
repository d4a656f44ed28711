//! The members of OAuth requests that the broker sets by itself, and the renaming of them.
//!
//! Guarantees (A08): no extra member of a request, and no new name of a member, is one that the broker sets.
//! Names are compared as the most forgiving servers read them: without case, with `.` and space as `_`, and
//! up to the first `[`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    configuration::ParameterNames,
    reader::{Reader, text_error},
};
use crate::domain::json::Object;

/// The longest name of a parameter, bytes.
pub(super) const MAX_NAME: usize = 128;
/// The most members in one map.
pub(super) const MAX_MEMBERS: usize = 64;

const AUTHORIZATION: [&str; 7] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
];
const TOKEN: [&str; 10] = [
    "grant_type",
    "code",
    "redirect_uri",
    "client_id",
    "client_secret",
    "code_verifier",
    "refresh_token",
    "scope",
    "client_assertion",
    "client_assertion_type",
];
const CALLBACK: [&str; 4] = ["code", "error", "iss", "state"];

/// The name as a forgiving server reads it.
pub(super) fn as_read(name: &str) -> String {
    let name = name.trim().split('[').next().unwrap_or_default();
    name.to_lowercase().replace(['.', ' ', '+'], "_")
}

/// Whether only the broker sets this member of an authorization request.
pub(super) fn is_reserved_for_authorization(name: &str) -> bool {
    let name = as_read(name);
    matches!(name.as_str(), "redirect_uri" | "state" | "request" | "request_uri" | "client_secret")
        || name.starts_with("code_challenge")
}

/// Whether only the broker sets this member of a token request.
pub(super) fn is_reserved_for_token(name: &str) -> bool {
    matches!(as_read(name).as_str(), "code" | "redirect_uri" | "refresh_token" | "code_verifier")
}

/// Which standard member the provider's `name` stands for, where one was renamed to it.
pub(super) fn renamed_to<'n>(names: &'n BTreeMap<String, Option<String>>, name: &str) -> Option<&'n str> {
    let read = as_read(name);
    names
        .iter()
        .find(|(_, to)| to.as_deref().is_some_and(|to| as_read(to) == read))
        .map(|(from, _)| from.as_str())
}

/// Parses `parameter_names`.
pub(super) fn parameter_names(reader: &mut Reader<'_, '_>) -> ParameterNames {
    let mut names = ParameterNames::default();
    let Some(groups) = reader.object("parameter_names", MAX_MEMBERS) else { return names };
    let at = reader.pointer("parameter_names");
    let mut groups = Reader::new(groups, at, reader.findings);
    groups.warn_of_unknown(&["authorization", "token", "callback"]);
    names.authorization = group(&mut groups, "authorization", &AUTHORIZATION, &["state", "code_challenge"]);
    names.token = group(&mut groups, "token", &TOKEN, &["code", "code_verifier", "refresh_token"]);
    let callback = group(&mut groups, "callback", &CALLBACK, &CALLBACK);
    names.callback = callback.into_iter().filter_map(|(from, to)| to.map(|to| (from, to))).collect();
    names
}

/// One group of new names; `needed` can't be left out.
fn group(
    groups: &mut Reader<'_, '_>,
    which: &str,
    standard: &[&str],
    needed: &[&str],
) -> BTreeMap<String, Option<String>> {
    let Some(members) = groups.object(which, MAX_MEMBERS) else { return BTreeMap::new() };
    let at = groups.pointer(which);
    let mut reader = Reader::new(members, at, groups.findings);
    reader.warn_of_unknown(standard);
    let mut names = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (from, to) in members.iter().filter(|(from, _)| standard.contains(&from.as_str())) {
        match new_name(from, to, members, standard, needed) {
            Ok(None) => {
                names.insert(from.clone(), None);
            }
            Ok(Some(to)) if taken.insert(as_read(&to)) => {
                names.insert(from.clone(), Some(to));
            }
            Ok(Some(_)) => reader.error(from, "must be a name that no other member has"),
            Err(detail) => reader.error(from, detail),
        }
    }
    names
}

fn new_name(
    from: &str,
    to: &Value,
    members: &Object,
    standard: &[&str],
    needed: &[&str],
) -> Result<Option<String>, String> {
    if from == "state" {
        return Err("can't be renamed or left out: state ties the callback to its flow".to_owned());
    }
    match to {
        Value::Null if from.starts_with("code_challenge") || from == "code_verifier" => {
            Err("can't be left out by name: set pkce to false instead".to_owned())
        }
        Value::Null if needed.contains(&from) => Err("can't be left out".to_owned()),
        Value::Null => Ok(None),
        Value::String(to) => {
            let read = as_read(to);
            if let Some(detail) = name_error(to) {
                return Err(detail);
            }
            // A standard name may be used again only by its own member.
            let reserved = standard.contains(&read.as_str())
                || members.contains_key(&read)
                || is_reserved_for_authorization(to)
                || is_reserved_for_token(to);
            if reserved && read != from {
                return Err("must not be the name of another standard member".to_owned());
            }
            Ok(Some(to.clone()))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err("must be the provider's name as a string, or null to leave the member out".to_owned())
        }
    }
}

/// What is wrong with the name of a parameter, where anything is.
pub(super) fn name_error(name: &str) -> Option<String> {
    if name.is_empty() { Some("must have a name".to_owned()) } else { text_error(name, MAX_NAME) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a08_a_reserved_name_is_known_in_every_spelling_a_server_reads_as_it() {
        for name in [
            "state",
            "State",
            " state",
            "state[]",
            "redirect_uri",
            "redirect.uri",
            "redirect uri",
            "Request_URI",
            "code_challenge_x",
        ] {
            assert!(is_reserved_for_authorization(name), "{name}");
        }
        for name in ["code", "CODE", "code[0]", "refresh.token", "code_verifier", "redirect_uri"] {
            assert!(is_reserved_for_token(name), "{name}");
        }
        for name in ["statement", "scope", "response_type", "codes"] {
            assert!(!is_reserved_for_authorization(name), "{name}");
        }
        for name in ["grant_type", "client_secret", "scope", "codec"] {
            assert!(!is_reserved_for_token(name), "{name}");
        }
    }
}
