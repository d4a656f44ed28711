//! What is brought to a plugin over its relay connection for somebody who waits, and what it answers.
//!
//! A [`Request`] is what a web service sent to a slot's webhook, a [`Command`] what somebody wants of a hub. Both
//! leave as one frame of text; the answer is the `response` frame with the same id. Bodies, headers and data may
//! hold anything: `Debug` shows none of them.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    flow::{UnknownWord, words},
    ids::{InquiryId, SlotName},
    json::Object,
};

/// Bytes of the largest body, of a request and of its answer.
pub const LARGEST_BODY: usize = 256 * 1024;
/// Bytes of the largest `response` frame: the body in base64, and 64 KiB for the rest.
pub const LARGEST_RESPONSE: usize = LARGEST_BODY / 3 * 4 + 4 + 64 * 1024;
/// Headers that an answer may have.
const MOST_HEADERS: usize = 64;

words! {
    /// What is expected back.
    Wanted {
        /// An answer for a web service.
        Response = "response",
        /// What came of a command.
        Outcome = "outcome",
        /// Nothing: it is over once a connection has it.
        Nothing = "nothing",
    }
}

/// What a web service sent.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// To which slot.
    pub slot: SlotName,
    /// By which method.
    pub method: String,
    /// With which headers, names in lower case.
    pub headers: Object,
    /// With which query: a text for each name, a list of them where a name is repeated.
    pub query: Object,
    /// With which body.
    pub body: Vec<u8>,
    /// Whether it waits for an answer.
    pub wanted: Wanted,
}

/// What a hub is to do.
#[derive(Clone, PartialEq)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// What goes with it, checked.
    pub data: Object,
}

/// A request or a command.
#[derive(Clone, PartialEq)]
pub enum Inquiry {
    /// For a slot's plugin.
    Request(Request),
    /// For the hub itself.
    Command(Command),
}

impl Inquiry {
    /// For which slot; none where it is for the hub.
    pub fn slot(&self) -> Option<&SlotName> {
        match self {
            Self::Request(request) => Some(&request.slot),
            Self::Command(_) => None,
        }
    }

    /// What is expected back.
    pub fn wanted(&self) -> Wanted {
        match self {
            Self::Request(request) => request.wanted,
            Self::Command(_) => Wanted::Outcome,
        }
    }

    /// `request` or `command`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Command(_) => "command",
        }
    }

    /// The frame that brings it.
    pub fn frame(&self, id: InquiryId) -> String {
        match self {
            Self::Request(Request { slot, method, headers, query, body, .. }) => json!({
                "type": "request", "id": id, "slot": slot, "method": method, "headers": headers, "query": query,
                "body": STANDARD.encode(body),
            }),
            Self::Command(Command { name, data }) => {
                json!({"type": "command", "id": id, "name": name, "data": data})
            }
        }
        .to_string()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.method, self.slot)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(request) => request.fmt(f),
            Self::Command(command) => command.fmt(f),
        }
    }
}

/// What a plugin answers to a web service.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// As the plugin wrote them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes", self.status, self.body.len())
    }
}

/// What came back.
#[derive(Clone, PartialEq)]
pub enum Reply {
    /// To a request.
    Response(Response),
    /// To a command.
    Outcome {
        /// Whether it was done.
        ok: bool,
        /// What the hub says.
        data: Object,
    },
    /// Nothing was asked for.
    HandedOver,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(response) => response.fmt(f),
            Self::Outcome { ok, .. } => write!(f, "ok: {ok}"),
            Self::HandedOver => f.write_str("handed over"),
        }
    }
}

impl Reply {
    /// Reads the members of a `response` frame. What is wrong is told to the plugin, which may answer again.
    ///
    /// # Errors
    /// Which member has to be what.
    pub fn read(wanted: Wanted, members: &Object) -> Result<Self, &'static str> {
        match wanted {
            Wanted::Response => response(members).map(Self::Response),
            Wanted::Outcome => {
                let ok = members.get("ok").and_then(Value::as_bool).ok_or("ok must be true or false.")?;
                let data = match members.get("data") {
                    None | Some(Value::Null) => Object::new(),
                    Some(Value::Object(data)) => data.clone(),
                    Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                        return Err("data must be a JSON object.");
                    }
                };
                Ok(Self::Outcome { ok, data })
            }
            Wanted::Nothing => Ok(Self::HandedOver),
        }
    }
}

fn response(members: &Object) -> Result<Response, &'static str> {
    let status = match members.get("status") {
        None => Some(200),
        Some(status) => status.as_u64().and_then(|status| u16::try_from(status).ok()),
    };
    let status = status.filter(|status| (200..=599).contains(status));
    let status = status.ok_or("status must be an integer from 200 to 599.")?;
    let texts = "headers must be a JSON object of texts, at most 64 of them.";
    let headers = match members.get("headers") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(headers)) if headers.len() <= MOST_HEADERS => headers
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or(texts)?,
        Some(_) => return Err(texts),
    };
    let body = match members.get("body") {
        None | Some(Value::Null) => Vec::new(),
        Some(body) => {
            let bytes = body.as_str().and_then(|text| STANDARD.decode(text).ok());
            bytes
                .filter(|bytes| bytes.len() <= LARGEST_BODY)
                .ok_or("body must be base64 with padding, of at most 256 KiB.")?
        }
    };
    Ok(Response { status, headers, body })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::json::parse_object;

    fn members(value: Value) -> Object {
        let Value::Object(members) = value else { panic!("an object") };
        members
    }

    fn request(body: &[u8]) -> Inquiry {
        Inquiry::Request(Request {
            slot: "ecobee".parse().unwrap(),
            method: "POST".to_owned(),
            headers: members(json!({"x-a": "1"})),
            query: members(json!({"q": "canary"})),
            body: body.to_vec(),
            wanted: Wanted::Response,
        })
    }

    const ID: InquiryId = InquiryId(uuid::Uuid::from_u128(7));

    #[test]
    fn frames_look_like_the_contracts_examples() {
        assert_eq!(
            request(b"hi").frame(ID),
            r#"{"type":"request","id":"00000000-0000-0000-0000-000000000007","slot":"ecobee","method":"POST","headers":{"x-a":"1"},"query":{"q":"canary"},"body":"aGk="}"#
        );
        let command = Inquiry::Command(Command { name: "get_wifi_list", data: Object::new() });
        assert_eq!(
            command.frame(ID),
            r#"{"type":"command","id":"00000000-0000-0000-0000-000000000007","name":"get_wifi_list","data":{}}"#
        );
        assert_eq!((command.slot(), command.wanted()), (None, Wanted::Outcome));
    }

    #[test]
    fn what_is_left_out_of_an_answer_is_200_and_empty() {
        let Ok(Reply::Response(response)) = Reply::read(Wanted::Response, &Object::new()) else { panic!() };
        assert_eq!(response, Response { status: 200, headers: Vec::new(), body: Vec::new() });
    }

    #[test]
    fn an_answer_that_is_none_says_which_member_is_wrong() {
        let said = |value| Reply::read(Wanted::Response, &members(value)).unwrap_err();
        for status in [json!(199), json!(600), json!(101), json!("200"), json!(200.5), json!(null)] {
            assert!(said(json!({ "status": status })).starts_with("status "), "{status}");
        }
        for headers in [json!([]), json!({"a": 1}), json!({"a": ["b"]})] {
            assert!(said(json!({ "headers": headers })).starts_with("headers "), "{headers}");
        }
        let large = STANDARD.encode(vec![0; LARGEST_BODY + 1]);
        for body in [json!("a"), json!(7), json!("aGk"), json!(large)] {
            assert!(said(json!({ "body": body })).starts_with("body "));
        }
        let outcome = |value| Reply::read(Wanted::Outcome, &members(value));
        assert!(outcome(json!({"ok": 1})).unwrap_err().starts_with("ok "));
        assert!(outcome(json!({"ok": true, "data": []})).unwrap_err().starts_with("data "));
        assert_eq!(outcome(json!({"ok": false})), Ok(Reply::Outcome { ok: false, data: Object::new() }));
    }

    #[test]
    fn j01_debug_shows_no_data() {
        let reply = Reply::read(Wanted::Response, &members(json!({"headers": {"a": "canary"}}))).unwrap();
        let outcome = Reply::Outcome { ok: true, data: members(json!({"psk": "canary"})) };
        let shown = format!("{:?} {reply:?} {outcome:?}", request(b"canary"));
        assert!(!shown.contains("canary"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_body_arrives_as_it_was_and_the_largest_frames_fit(body in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let frame = parse_object(request(&body).frame(ID).as_bytes()).unwrap();
            prop_assert_eq!(STANDARD.decode(frame["body"].as_str().unwrap()).unwrap(), body.clone());
            let answer = members(json!({"status": 201, "body": frame["body"]}));
            let Ok(Reply::Response(response)) = Reply::read(Wanted::Response, &answer) else { panic!() };
            prop_assert_eq!(response.body, body);
        }

        #[test]
        fn no_answer_panics(text in ".{0,100}", status in any::<i64>()) {
            for wanted in [Wanted::Response, Wanted::Outcome, Wanted::Nothing] {
                let _ = Reply::read(wanted, &members(json!({"status": status, "body": text, "ok": text})));
            }
        }
    }

    #[test]
    fn the_largest_body_fits_into_the_largest_response() {
        let body = STANDARD.encode(vec![0; LARGEST_BODY]);
        let frame =
            json!({"type": "response", "id": ID, "status": 200, "headers": {}, "body": body}).to_string();
        assert!(frame.len() < LARGEST_RESPONSE - 60 * 1024);
        // Clients accept 512 KiB.
        assert!(request(&vec![0; LARGEST_BODY]).frame(ID).len() < 352 * 1024);
    }
}
