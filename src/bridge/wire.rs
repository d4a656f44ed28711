//! PG3's words: the topics of a plugin, what comes there, and what its hub answers.
//!
//! Reading never fails: what is no JSON, too long, retained where nothing is, or of no known meaning is nothing.

use serde_json::{Value, json};

use crate::domain::json::{Object, is_deeper_than, parse_object};

/// The longest message that is read, in bytes: a plugin's documentation has a tenth of it.
pub(super) const LONGEST: usize = 1024 * 1024;
/// The most requests that one message may hold.
const MOST: usize = 256;
/// The most levels of lists and objects in a value. It is kept, sent on and read again inside of others, and parsers
/// have an end.
pub const DEEPEST: usize = 64;

/// How a plugin is called on the wire: `{uuid}_{profile number}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PluginName(pub(super) String);

impl PluginName {
    /// Where the plugin listens.
    pub(super) fn inbox(&self) -> String {
        format!("udi/pg3/ns/clients/{}", self.0)
    }

    /// Where the plugin speaks of its custom data.
    pub(super) fn custom(&self) -> String {
        format!("udi/pg3/ns/custom/{}", self.0)
    }

    /// Where the plugin says that it is there, retained.
    fn presence(&self) -> String {
        format!("udi/pg3/connections/ns/{}", self.0)
    }

    /// What a hub listens to.
    pub(super) fn of_the_plugin(&self) -> [String; 4] {
        let speaks = |kind| format!("udi/pg3/ns/{kind}/{}", self.0);
        [speaks("system"), speaks("command"), self.custom(), self.presence()]
    }

    /// What whoever stands beside a hub listens to.
    pub(super) fn of_both(&self) -> [String; 3] {
        [self.custom(), self.presence(), self.inbox()]
    }

    /// Reads a message. `retained` are those that lay there when the subscription was made.
    pub(super) fn read(&self, topic: &str, payload: &[u8], retained: bool) -> Option<Message> {
        if topic == self.presence() {
            let said = parse_object(payload.get(..LONGEST.min(payload.len()))?).ok()?;
            return match (said.contains_key("connected"), said.contains_key("disconnected")) {
                (true, false) => Some(Message::Presence { running: true }),
                (false, true) => Some(Message::Presence { running: false }),
                (true, true) | (false, false) => None,
            };
        }
        // Requests and answers are for whoever listens at the time.
        if retained {
            return None;
        }
        if payload.len() > LONGEST {
            return Some(Message::Junk("it is longer than 1 MiB"));
        }
        let Ok(said) = parse_object(payload) else { return Some(Message::Junk("it is no JSON object")) };
        if topic == self.inbox() {
            return Some(Message::Answers(answers(said)));
        }
        Some(Message::Requests(requests(said)))
    }
}

/// What came.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// The plugin came or went.
    Presence {
        /// Whether it is there.
        running: bool,
    },
    /// What the plugin wants.
    Requests(Vec<Request>),
    /// What PG3 told the plugin.
    Answers(Vec<Answer>),
    /// Nothing that can be understood, and why.
    Junk(&'static str),
}

/// What a plugin wants of its hub.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    /// How it is set up.
    Config,
    /// All its custom data.
    All,
    /// To keep a value of its custom data.
    Set(String, Value),
    /// To keep a value that is nested more than [`DEEPEST`] levels deep.
    SetTooDeep,
    /// What else its hub can answer without knowing more: the answer.
    Plain(Value),
}

/// What PG3 told a plugin that concerns us.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// A value of the custom data.
    Value(String, Value),
    /// A value was kept.
    Kept(String),
}

fn requests(said: Object) -> Vec<Request> {
    let mut wanted = Vec::new();
    for (name, what) in said {
        match name.as_str() {
            "config" => wanted.push(Request::Config),
            "getAll" => wanted.push(Request::All),
            "set" => wanted.extend(pairs(what).map(|(key, value)| {
                if is_deeper_than(DEEPEST, &value) { Request::SetTooDeep } else { Request::Set(key, value) }
            })),
            "getNsInfo" => wanted.push(Request::Plain(json!({"getNsInfo": {}}))),
            // No controller: a plugin that asks for one is told that it may not.
            "getIsyInfo" => wanted.push(Request::Plain(json!({"getIsyInfo": null}))),
            // Done, as far as there is something to do.
            "addnode" | "removenode" | "setLogLevel" | "setPoll" | "setController" => {
                wanted.push(Request::Plain(json!({ name: what })));
            }
            "renamenode" => {
                let nodes: Vec<Value> = elements(what).into_iter().map(successful).collect();
                wanted.push(Request::Plain(json!({ name: nodes })));
            }
            "installprofile" => wanted.push(Request::Plain(json!({"installprofile": {"success": true}}))),
            _ => {}
        }
    }
    wanted.truncate(MOST);
    wanted
}

fn answers(said: Object) -> Vec<Answer> {
    let mut told = Vec::new();
    for (name, what) in said {
        match name.as_str() {
            "getAll" => {
                let values = pairs(what).filter(|(_, value)| !is_deeper_than(DEEPEST, value));
                told.extend(values.map(|(key, value)| Answer::Value(key, value)));
            }
            "set" => told.extend(elements(what).into_iter().flat_map(kept)),
            _ => {}
        }
    }
    told.truncate(MOST);
    told
}

/// `[{"key":…,"value":…},…]`; a value may be written as a JSON text.
fn pairs(list: Value) -> impl Iterator<Item = (String, Value)> {
    elements(list).into_iter().filter_map(|pair| {
        let Value::Object(mut pair) = pair else { return None };
        let key = pair.get("key")?.as_str()?.to_owned();
        let value = match pair.shift_remove("value").unwrap_or_default() {
            Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            value
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => value,
        };
        Some((key, value))
    })
}

/// `{"oauth":…,"success":true}`
fn kept(said: Value) -> Vec<Answer> {
    let Value::Object(said) = said else { return Vec::new() };
    if said.get("success") != Some(&Value::Bool(true)) {
        return Vec::new();
    }
    said.into_iter().map(|(key, _)| key).filter(|key| key != "success").map(Answer::Kept).collect()
}

fn elements(list: Value) -> Vec<Value> {
    match list {
        Value::Array(elements) => elements,
        one @ Value::Object(_) => vec![one],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn successful(mut node: Value) -> Value {
    if let Value::Object(node) = &mut node {
        node.insert("success".to_owned(), true.into());
    }
    node
}

/// `{"getAll":[…]}`
pub(super) fn all(custom: impl IntoIterator<Item = (String, Value)>) -> Value {
    let pairs = custom.into_iter().map(|(key, value)| json!({"key": key, "value": value}));
    json!({ "getAll": pairs.collect::<Vec<_>>() })
}

/// `{"set":[{"key":…,"value":…}]}`
pub(super) fn set(key: &str, value: &Value) -> Value {
    json!({"set": [{"key": key, "value": value}]})
}

/// That these were kept. The values, which plugins write to their logs, are not repeated.
pub(super) fn confirmed(keys: &[String]) -> Value {
    let each = keys.iter().map(|key| json!({key.as_str(): "kept", "success": true}));
    json!({ "set": each.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plugin() -> PluginName {
        PluginName("00:21:b9:02:03:04_3".to_owned())
    }

    fn on(topic: &str, payload: &str) -> Option<Message> {
        plugin().read(&format!("udi/pg3/{topic}/00:21:b9:02:03:04_3"), payload.as_bytes(), false)
    }

    #[test]
    fn presence_is_read_retained_or_not_and_nothing_else_is_retained() {
        let read = |payload: &str, retained| {
            plugin().read("udi/pg3/connections/ns/00:21:b9:02:03:04_3", payload.as_bytes(), retained)
        };
        assert_eq!(read(r#"{"connected":[{}]}"#, true), Some(Message::Presence { running: true }));
        assert_eq!(read(r#"{"disconnected":[{}]}"#, false), Some(Message::Presence { running: false }));
        for junk in ["", "connected", "[]", "{}", r#"{"connected":1,"disconnected":1}"#] {
            assert_eq!(read(junk, true), None, "{junk}");
        }
        let topic = plugin().custom();
        assert_eq!(plugin().read(&topic, br#"{"set":[{"key":"oauth","value":{}}]}"#, true), None);
    }

    #[test]
    fn what_is_set_may_be_an_object_or_a_text_with_one() {
        let said = r#"{"set":[{"key":"a","value":{"b":1}},{"key":"c","value":"{\"d\":2}"},{"key":"e","value":"f"},{"value":1},7]}"#;
        let set = |key: &str, value| Request::Set(key.to_owned(), value);
        let expected = vec![set("a", json!({"b": 1})), set("c", json!({"d": 2})), set("e", json!("f"))];
        assert_eq!(on("ns/custom", said), Some(Message::Requests(expected)));
    }

    #[test]
    fn a_value_that_is_nested_too_deep_is_refused_however_it_is_written() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (levels, kept) in [(DEEPEST, true), (DEEPEST + 1, false), (120, false)] {
            let text = json!(nested(levels)).to_string();
            for value in [nested(levels), text] {
                let said = |what| format!(r#"{{"{what}":[{{"key":"deep","value":{value}}}]}}"#);
                let Some(Message::Requests(wanted)) = on("ns/custom", &said("set")) else {
                    panic!("{levels}")
                };
                assert_eq!(matches!(wanted[..], [Request::Set(..)]), kept, "{levels}: {wanted:?}");
                assert_eq!(wanted[..] == [Request::SetTooDeep], !kept, "{levels}: {wanted:?}");
                let Some(Message::Answers(told)) = on("ns/clients", &said("getAll")) else {
                    panic!("{levels}")
                };
                assert_eq!(told.len(), usize::from(kept), "{levels}");
            }
        }
    }

    #[test]
    fn what_pg3_confirms_is_read_and_what_it_refuses_is_not() {
        let said = r#"{"set":[{"oauth":{},"success":true},{"notices":"x","success":false}]}"#;
        assert_eq!(on("ns/clients", said), Some(Message::Answers(vec![Answer::Kept("oauth".to_owned())])));
        let all = r#"{"getAll":[{"key":"notices","value":"{\"a\":\"b\"}"}]}"#;
        let notices = Answer::Value("notices".to_owned(), json!({"a": "b"}));
        assert_eq!(on("ns/clients", all), Some(Message::Answers(vec![notices])));
    }

    #[test]
    fn what_is_no_json_or_too_long_is_junk() {
        for junk in ["", "[1]", "{", "{\"a\":1,\"a\":2}", &"[".repeat(100_000)] {
            assert!(matches!(on("ns/custom", junk), Some(Message::Junk(_))), "{}", junk.len());
        }
        let long = format!(r#"{{"set":"{}"}}"#, "x".repeat(LONGEST));
        assert_eq!(on("ns/custom", &long), Some(Message::Junk("it is longer than 1 MiB")));
    }

    #[test]
    fn what_plugins_ask_at_their_start_is_answered() {
        assert_eq!(
            on("ns/system", r#"{"config":{"version":"1"}}"#),
            Some(Message::Requests(vec![Request::Config]))
        );
        assert_eq!(on("ns/custom", r#"{"getAll":{}}"#), Some(Message::Requests(vec![Request::All])));
        let node = json!({"addnode": [{"address": "a", "name": "A"}]});
        assert_eq!(on("ns/command", &node.to_string()), Some(Message::Requests(vec![Request::Plain(node)])));
    }

    #[test]
    fn a_confirmation_repeats_no_value() {
        assert_eq!(
            confirmed(&["oauthTokens".to_owned()]),
            json!({"set": [{"oauthTokens": "kept", "success": true}]})
        );
    }

    proptest! {
        #[test]
        fn any_bytes_on_any_topic_are_read(payload in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..4_usize, retained: bool) {
            let topics = plugin().of_the_plugin();
            let _ = plugin().read(&topics[kind], &payload, retained);
            let _ = plugin().read(&plugin().inbox(), &payload, retained);
        }

        #[test]
        fn no_message_holds_more_requests_than_are_answered(count in 0..600_usize) {
            let nodes: Vec<Value> = (0..count).map(|i| json!({"key": i.to_string(), "value": i})).collect();
            let Some(Message::Requests(wanted)) = on("ns/custom", &json!({"set": nodes}).to_string()) else {
                panic!("requests are read");
            };
            prop_assert_eq!(wanted.len(), count.min(MOST));
        }
    }
}
