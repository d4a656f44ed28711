//! The members that say which values fill placeholders: `variables`, which each slot gives, and
//! `callback_parameters`, which come with the redirect; and `response_fields`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    configuration::{FieldPath, Variable},
    names::{MAX_MEMBERS, as_read, name_error},
    pattern::Pattern,
    reader::{Reader, text_error},
    template::is_variable_name,
};

/// The most variables, and the most callback parameters: each may bring a compiled pattern.
const MAX_VARIABLES: usize = 32;
/// The longest value of a variable, bytes.
pub(super) const MAX_VALUE: usize = 1024;
/// The longest title, bytes.
const MAX_TITLE: usize = 256;
/// The deepest path into an answer.
const MAX_DEPTH: usize = 8;

/// Members of a callback and of a token object that have a meaning of their own.
const RESERVED_CALLBACK_PARAMETERS: [&str; 14] = [
    "code",
    "state",
    "error",
    "error_description",
    "error_uri",
    "iss",
    "access_token",
    "refresh_token",
    "id_token",
    "token_type",
    "expires_in",
    "expires_at",
    "expiry",
    "scope",
];

/// Parses `variables`.
pub(super) fn variables(reader: &mut Reader<'_, '_>) -> BTreeMap<String, Variable> {
    let mut variables = BTreeMap::new();
    let Some(members) = reader.object("variables", MAX_VARIABLES) else { return variables };
    let at = reader.pointer("variables");
    let mut reader = Reader::new(members, at, reader.findings);
    for (name, value) in members {
        if !is_variable_name(name) {
            reader.error(name, "must be named by a letter or _, then up to 31 letters, digits, _ and -");
            continue;
        }
        let Some(definition) = reader.object(name, MAX_MEMBERS) else {
            if value.is_null() {
                reader.error(name, "must be a JSON object, {} at least");
            }
            continue;
        };
        let at = reader.pointer(name);
        variables.insert(name.clone(), variable(&mut Reader::new(definition, at, reader.findings)));
    }
    variables
}

fn variable(reader: &mut Reader<'_, '_>) -> Variable {
    reader.warn_of_unknown(&["title", "pattern", "default", "enum"]);
    let title = reader.string_up_to("title", MAX_TITLE).map(str::to_owned);
    let pattern = pattern(reader);
    let default = reader.string_up_to("default", MAX_VALUE).map(str::to_owned);
    let mut allowed = BTreeSet::new();
    let fits = |value: &str| pattern.as_ref().is_none_or(|pattern| pattern.matches(value));
    match reader.value("enum") {
        None => {}
        Some(Value::Array(values)) if values.len() <= MAX_MEMBERS => {
            for value in values {
                match value
                    .as_str()
                    .filter(|value| !value.is_empty() && text_error(value, MAX_VALUE).is_none())
                {
                    Some(value) if fits(value) => {
                        allowed.insert(value.to_owned());
                    }
                    Some(_) => reader.error("enum", "must hold values that match the pattern only"),
                    None => reader.error("enum", format!("must hold strings of 1 to {MAX_VALUE} bytes")),
                }
            }
        }
        Some(_) => reader.error("enum", format!("must be an array of at most {MAX_MEMBERS} strings")),
    }
    if let Some(default) = &default
        && !(fits(default) && (allowed.is_empty() || allowed.contains(default)))
    {
        reader.error("default", "must itself match pattern and enum");
    }
    Variable { title, pattern, default, allowed }
}

fn pattern(reader: &mut Reader<'_, '_>) -> Option<Pattern> {
    let text = reader.string("pattern")?;
    match Pattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(detail) => {
            reader.error("pattern", detail);
            None
        }
    }
}

/// Parses `callback_parameters`, a list of names or a map from name to `{"pattern"}`.
pub(super) fn callback_parameters(
    reader: &mut Reader<'_, '_>,
    renamed: &BTreeMap<String, String>,
) -> BTreeMap<String, Option<Pattern>> {
    const MEMBER: &str = "callback_parameters";
    let mut parameters = BTreeMap::new();
    let refused = |name: &str| {
        let read = as_read(name);
        let reserved = RESERVED_CALLBACK_PARAMETERS.contains(&read.as_str());
        let reserved = reserved || renamed.values().any(|to| as_read(to) == read);
        name_error(name).or_else(|| reserved.then(|| "has a meaning of its own: leave it out".to_owned()))
    };
    match reader.value(MEMBER) {
        Some(Value::Array(names)) if names.len() <= MAX_VARIABLES => {
            for (index, name) in names.iter().enumerate() {
                let at = format!("{}/{index}", reader.pointer(MEMBER));
                match name.as_str().map(|name| (name, refused(name))) {
                    Some((name, None)) => {
                        parameters.insert(name.to_owned(), None);
                    }
                    Some((_, Some(detail))) => reader.findings.error(at, detail),
                    None => reader.findings.error(at, "must be the name of a query member, a string"),
                }
            }
        }
        Some(Value::Object(members)) if members.len() <= MAX_VARIABLES => {
            let at = reader.pointer(MEMBER);
            let mut reader = Reader::new(members, at, reader.findings);
            for name in members.keys() {
                if let Some(detail) = refused(name) {
                    reader.error(name, detail);
                    continue;
                }
                let mut found = None;
                if let Some(definition) = reader.object(name, MAX_MEMBERS) {
                    let at = reader.pointer(name);
                    let mut reader = Reader::new(definition, at, reader.findings);
                    reader.warn_of_unknown(&["pattern"]);
                    found = pattern(&mut reader);
                }
                parameters.insert(name.clone(), found);
            }
        }
        Some(_) => {
            let detail = format!(
                "must be a list of names, or an object from name to {{\"pattern\"}}; at most {MAX_VARIABLES}"
            );
            reader.error(MEMBER, detail);
        }
        None => {}
    }
    parameters
}

/// Parses `response_fields`: any name → dotted path.
pub(super) fn response_fields(reader: &mut Reader<'_, '_>) -> BTreeMap<String, FieldPath> {
    let mut fields = BTreeMap::new();
    let Some(members) = reader.object("response_fields", MAX_MEMBERS) else { return fields };
    let at = reader.pointer("response_fields");
    let mut reader = Reader::new(members, at, reader.findings);
    for name in members.keys() {
        if let Some(detail) = name_error(name) {
            reader.error(name, detail);
            continue;
        }
        let Some(path) = reader.string_up_to(name, 256) else { continue };
        let segments: Vec<_> = path.split('.').map(str::to_owned).collect();
        if segments.len() > MAX_DEPTH || segments.iter().any(String::is_empty) {
            reader.error(name, format!("must be a path of 1 to {MAX_DEPTH} names with dots between them"));
        } else {
            fields.insert(name.clone(), FieldPath(segments));
        }
    }
    fields
}
