//! The reference as a page: every call with what it takes and gives. No script; nothing is loaded from elsewhere.

use askama::Template;
use serde_json::Value;

use super::call::{Call, Group, Shape};
use crate::http::pages::{Forms, assets, content_security_policy, html};

/// `GET /docs`.
#[derive(Template)]
#[template(path = "docs.html")]
pub(super) struct DocsPage<'a> {
    pub(super) groups: &'a [Group],
    pub(super) schemas: &'a Value,
}

/// A member of a body.
struct Member<'a> {
    name: &'a str,
    kind: String,
    need: &'static str,
    about: &'a str,
}

impl<'a> DocsPage<'a> {
    /// The page's HTML.
    pub(super) fn render(&self) -> String {
        html(self)
    }

    /// The policy to send with it.
    pub(super) fn policy() -> &'static str {
        content_security_policy(Forms::Nowhere)
    }

    /// The place of a call on the page: `post-api-ack`.
    fn anchor(call: &Call) -> String {
        let words = call.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        std::iter::once(call.method).chain(words).collect::<Vec<_>>().join("-").to_lowercase()
    }

    /// The members of a schema, in its order.
    fn members(&self, schema: &str) -> Vec<Member<'a>> {
        let Some(shape) = self.schemas.get(schema) else { return Vec::new() };
        let required = |name: &str| {
            let names = shape.get("required").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|required| required == name))
        };
        let properties = shape.get("properties").and_then(Value::as_object);
        let member = |(name, schema): (&'a String, &'a Value)| Member {
            name,
            kind: kind(schema),
            need: if required(name) { "" } else { "optional" },
            about: self.about(schema),
        };
        properties.map(|properties| properties.iter().map(member).collect()).unwrap_or_default()
    }

    /// What a schema says of itself, or what the one says that it refers to.
    fn about(&self, schema: &'a Value) -> &'a str {
        let referred = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
        let schema = referred.and_then(|name| self.schemas.get(name)).unwrap_or(schema);
        schema.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// What a whole body is, where that is said.
    fn about_schema(&self, name: &str) -> &'a str {
        self.schemas.get(name).map(|schema| self.about(schema)).unwrap_or_default()
    }

    /// Whether the members shown are those of each element.
    fn list_mark(shape: &Shape) -> &'static str {
        match shape {
            Shape::List(_) => ": a list, each with",
            Shape::Empty | Shape::One(_) | Shape::Page => "",
        }
    }
}

/// A member's type in a word or two.
fn kind(schema: &Value) -> String {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    }
    match schema.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join(" or ")
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            "string".to_owned()
        }
    }
}
