//! Reading members of a JSON object by type: what doesn't fit becomes a field error that says what is
//! expected, and reading goes on, so that all errors are found at once.
//!
//! `null` and the empty string count as absent.

use serde_json::Value;

use super::findings::{Findings, member_of};
use crate::domain::json::Object;

/// The longest ordinary string, bytes.
pub(super) const MAX_STRING: usize = 2048;

/// Reads one object.
pub(super) struct Reader<'a, 'f> {
    object: &'a Object,
    at: String,
    pub(super) findings: &'f mut Findings,
}

impl<'a, 'f> Reader<'a, 'f> {
    /// Reads the object that stands at the JSON pointer `at`.
    pub(super) fn new(object: &'a Object, at: impl Into<String>, findings: &'f mut Findings) -> Self {
        Self { object, at: at.into(), findings }
    }

    pub(super) fn pointer(&self, name: &str) -> String {
        member_of(&self.at, name)
    }

    pub(super) fn error(&mut self, name: &str, detail: impl Into<String>) {
        self.findings.error(member_of(&self.at, name), detail);
    }

    pub(super) fn warn(&mut self, name: &str, detail: impl Into<String>) {
        self.findings.warn(member_of(&self.at, name), detail);
    }

    /// The member, unless it is absent or `null`.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// How the author wrote `name`, a key of the map `member` but for its case.
    pub(super) fn written_name(&self, member: &str, name: &str) -> String {
        let map = self.value(member).and_then(Value::as_object);
        let mut keys = map.into_iter().flat_map(Object::keys);
        keys.find(|key| key.eq_ignore_ascii_case(name)).map_or(name, String::as_str).to_owned()
    }

    /// Names the members that are none of `known` in warnings.
    pub(super) fn warn_of_unknown(&mut self, known: &[&str]) {
        for name in self.object.keys().filter(|name| !known.contains(&name.as_str())) {
            self.findings.warn(
                member_of(&self.at, name),
                "is not known, and is kept without effect: check its spelling",
            );
        }
    }

    /// A string of at most `limit` bytes without control characters.
    pub(super) fn string_up_to(&mut self, name: &str, limit: usize) -> Option<&'a str> {
        let value = self.value(name)?;
        let Some(text) = value.as_str() else {
            self.error(name, "must be a string");
            return None;
        };
        match text_error(text, limit) {
            Some(detail) => {
                self.error(name, detail);
                None
            }
            None => Some(text).filter(|text| !text.is_empty()),
        }
    }

    pub(super) fn string(&mut self, name: &str) -> Option<&'a str> {
        self.string_up_to(name, MAX_STRING)
    }

    /// A string that must be there. After an error the answer is empty.
    pub(super) fn required(&mut self, name: &str) -> &'a str {
        let errors = self.findings.errors.len();
        let text = self.string(name);
        if text.is_none() && self.findings.errors.len() == errors {
            self.error(name, "is required");
        }
        text.unwrap_or_default()
    }

    pub(super) fn boolean(&mut self, name: &str, default: bool) -> bool {
        match self.value(name) {
            None => default,
            Some(Value::Bool(value)) => *value,
            Some(Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) | Value::Null) => {
                self.error(name, "must be true or false, without quotation marks");
                default
            }
        }
    }

    /// One of a few words, the first of which is the default.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, default: T, choices: &[(&str, T)]) -> T {
        let Some(value) = self.value(name).filter(|value| value.as_str() != Some("")) else { return default };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| value.as_str() == Some(word)) {
            return *choice;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.error(name, format!("must be one of {}", words.join(", ")));
        default
    }

    /// A whole number of seconds from 1 to `most`.
    pub(super) fn seconds(&mut self, name: &str, most: u32) -> Option<u32> {
        let value = self.value(name)?;
        let seconds = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=most).contains(n));
        if seconds.is_none() {
            self.error(name, format!("must be a whole number of seconds from 1 to {most}"));
        }
        seconds
    }

    /// An object of at most `limit` members.
    pub(super) fn object(&mut self, name: &str, limit: usize) -> Option<&'a Object> {
        match self.value(name)? {
            Value::Object(members) if members.len() <= limit => Some(members),
            Value::Object(_) => {
                self.error(name, format!("must have at most {limit} members"));
                None
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                self.error(name, "must be a JSON object");
                None
            }
        }
    }
}

/// What is wrong with a text, where anything is.
pub(super) fn text_error(text: &str, limit: usize) -> Option<String> {
    if text.len() > limit {
        return Some(format!("must be at most {limit} bytes long"));
    }
    // Controls that turn the direction of writing make one text look like another.
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|c| c.is_control() || turns(c)).then(|| "must not hold control characters".to_owned())
}
