//! JSON that means one thing: an object with a member twice is refused, as is trailing text (J06).

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON object.
pub type Object = Map<String, Value>;

/// Why a text is no JSON that we read. The text itself is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl JsonError {
    /// JSON, but not of the form that was expected at this place.
    pub fn misplaced() -> Self {
        Self("this JSON has another form than expected".to_owned())
    }
}

/// Parses JSON; at most 128 levels deep, no member twice, nothing behind the value.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict.deserialize(&mut deserializer).map_err(|error| describe(&error))?;
    deserializer.end().map_err(|error| describe(&error))?;
    Ok(value)
}

/// Parses a JSON object.
pub fn parse_object(text: &[u8]) -> Result<Object, JsonError> {
    match parse(text)? {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(JsonError("a JSON object is expected".to_owned()))
        }
    }
}

/// Whether lists and objects are nested more than `levels` deep; `[]` has one level, a text none.
pub fn is_deeper_than(levels: usize, value: &Value) -> bool {
    let inner = |value: &Value| levels.checked_sub(1).is_none_or(|levels| is_deeper_than(levels, value));
    match value {
        Value::Array(elements) => levels == 0 || elements.iter().any(inner),
        Value::Object(members) => levels == 0 || members.values().any(inner),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// `serde_json`'s own messages quote the text they stumble over; ours name the place only.
fn describe(error: &serde_json::Error) -> JsonError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends too early",
        serde_json::error::Category::Data => "an object has the same member twice",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "this is no JSON",
    };
    JsonError(format!("{what} (line {}, column {})", error.line(), error.column()))
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(Strict)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom("duplicate member"));
            }
            let value = members.next_value_seed(Strict)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn j06_a_member_given_twice_is_refused() {
        let error = parse(br#"{"a":{"b":1,"b":2}}"#).unwrap_err();
        assert!(error.to_string().contains("same member twice"), "{error}");
        assert!(parse(br#"{"a":1} {"a":2}"#).is_err());
    }

    #[test]
    fn e07_a_hundred_thousand_levels_are_an_error_and_no_crash() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse(br#"{"a":"\ud800"}"#).is_err());
    }

    #[test]
    fn levels_are_counted_through_lists_and_objects() {
        for (levels, text) in [(0, "\"[]\""), (1, "[]"), (1, r#"{"a":1}"#), (3, r#"[1,{"a":[]},[]]"#)] {
            let value = parse(text.as_bytes()).unwrap();
            assert!(!is_deeper_than(levels, &value), "{text}");
            assert!(levels == 0 || is_deeper_than(levels - 1, &value), "{text}");
        }
    }

    #[test]
    fn an_error_does_not_quote_the_text() {
        let error = parse(br#"{"client_secret":"s3cr3t-canary",}"#).unwrap_err();
        assert!(!error.to_string().contains("canary"));
    }

    proptest! {
        #[test]
        fn whatever_the_stock_parser_writes_is_read_back(number in any::<i64>(), text in ".*", list in proptest::collection::vec(any::<bool>(), 0..5)) {
            let value = serde_json::json!({"n": number, "t": text, "l": list, "o": {"x": null}});
            prop_assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
        }
    }
}
