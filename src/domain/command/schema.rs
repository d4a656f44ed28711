//! The few words of JSON Schema (2020-12) that commands need, on flat objects.
//!
//! `properties` of type `string` with `enum`, `pattern`, `format: ipv4`, `minLength`, `maxLength`; `required`;
//! `additionalProperties: false`; `allOf` of `if` and `then`, where `if` has `properties` with `const` and `required`.
//! A schema with another word does not start the tests: it would promise what is not checked. What is wrong is said
//! with the member's `description`, never with its value.

use std::net::Ipv4Addr;

use regex::Regex;
use serde_json::Value;

use crate::domain::{json::Object, plugin::FieldError};

/// A schema, ready to check with.
#[derive(Debug)]
pub(super) struct Schema {
    document: Value,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// What it must be, in words.
    rule: String,
    words: Vec<String>,
    pattern: Option<Regex>,
    is_ipv4: bool,
    length: std::ops::RangeInclusive<u64>,
}

impl Schema {
    /// Reads a schema that is part of the program.
    pub(super) fn of(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        let properties = document.get("properties").and_then(Value::as_object);
        let members = properties.into_iter().flatten().map(|(name, rules)| Member::of(name, rules)).collect();
        Self { document, members }
    }

    /// The schema as it is told.
    pub(super) fn document(&self) -> &Value {
        &self.document
    }

    /// What does not fit, each member once.
    pub(super) fn errors(&self, data: &Object) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut wrong = |name: &str, detail: &str| {
            let field = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            errors.push(FieldError { field, detail: detail.to_owned() });
        };
        for (name, value) in data {
            match self.members.iter().find(|member| member.name == *name) {
                None => wrong(name, "is not known here"),
                Some(member) if !member.takes(value) => wrong(name, &member.rule),
                Some(_) => {}
            }
        }
        for name in self.required(data) {
            if !data.contains_key(name) {
                wrong(name, "is required");
            }
        }
        errors
    }

    /// The members that must be there beside the others.
    fn required(&self, data: &Object) -> Vec<&str> {
        let conditions = self.document.get("allOf").and_then(Value::as_array).into_iter().flatten();
        let fulfilled = conditions.filter(|condition| {
            let given = condition.pointer("/if/properties").and_then(Value::as_object);
            given.into_iter().flatten().all(|(name, rule)| data.get(name) == rule.get("const"))
        });
        let thens = fulfilled.filter_map(|condition| condition.get("then"));
        let lists = std::iter::once(&self.document).chain(thens).filter_map(|schema| schema.get("required"));
        let mut names: Vec<&str> = Vec::new();
        for name in lists.filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Member {
    fn of(name: &str, rules: &Value) -> Self {
        let text = |rule: &str| rules.get(rule).and_then(Value::as_str);
        let number = |rule: &str, default| rules.get(rule).and_then(Value::as_u64).unwrap_or(default);
        let list = rules.get("enum").and_then(Value::as_array).into_iter().flatten();
        let words: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
        let rule = if words.is_empty() {
            format!("must be {}", text("description").unwrap_or_default())
        } else {
            format!("must be one of {}", words.join(", "))
        };
        Self {
            name: name.to_owned(),
            rule,
            words,
            pattern: text("pattern").and_then(|pattern| Regex::new(pattern).ok()),
            is_ipv4: text("format") == Some("ipv4"),
            length: number("minLength", 0)..=number("maxLength", u64::MAX),
        }
    }

    fn takes(&self, value: &Value) -> bool {
        let Some(text) = value.as_str() else { return false };
        (self.words.is_empty() || self.words.iter().any(|word| word == text))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
            && (!self.is_ipv4 || text.parse::<Ipv4Addr>().is_ok())
            && self.length.contains(&(text.chars().count() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(object: &Value, known: &[&str]) {
        for word in object.as_object().unwrap().keys() {
            assert!(known.contains(&word.as_str()), "{word} is not checked");
        }
    }

    #[test]
    fn the_schemas_promise_nothing_that_is_not_checked() {
        for (name, schema) in crate::domain::command::schemas() {
            let known = [
                "$schema",
                "title",
                "description",
                "type",
                "properties",
                "required",
                "additionalProperties",
                "allOf",
            ];
            only(schema, &known);
            assert_eq!(
                (&schema["type"], &schema["additionalProperties"]),
                (&"object".into(), &false.into()),
                "{name}"
            );
            for rules in schema["properties"].as_object().unwrap().values() {
                let known = [
                    "type",
                    "description",
                    "enum",
                    "pattern",
                    "format",
                    "minLength",
                    "maxLength",
                    "writeOnly",
                ];
                only(rules, &known);
                assert_eq!(rules["type"], "string");
                assert!(rules["description"].is_string());
                if let Some(pattern) = rules.get("pattern") {
                    Regex::new(pattern.as_str().unwrap()).unwrap();
                }
                assert!(rules.get("format").is_none_or(|format| format == "ipv4"));
            }
            for condition in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
                only(condition, &["if", "then"]);
                only(&condition["if"], &["properties", "required"]);
                only(&condition["then"], &["required"]);
                let given = condition["if"]["properties"].as_object().unwrap();
                given.values().for_each(|rule| only(rule, &["const"]));
                // Without `required` a member that is absent fulfils `properties`.
                let named: Vec<&String> = given.keys().collect();
                assert_eq!(condition["if"]["required"], serde_json::json!(named));
            }
        }
    }
}
