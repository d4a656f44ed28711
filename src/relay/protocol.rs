//! The frames of `cloudlink.v1` as types: what the relay says and what it hears.
//!
//! Members stand on the wire in the order of the contract's examples. What is heard is parsed strictly: a
//! frame is one of the known ones with all its members right, or a [`FrameError`] that goes back as an
//! `error` frame. Frames hold tokens, so their `Debug` shows the kind alone.

use std::{fmt, str::FromStr, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};

use super::event::Event;
use crate::domain::{
    ids::{SlotName, Version},
    json::{self, Object},
};

/// The WebSocket subprotocol that a client must offer.
pub const SUBPROTOCOL: &str = "cloudlink.v1";

/// Bytes of the largest message that a client may send.
pub const LARGEST_MESSAGE: usize = 64 * 1024;

/// What a client gave as the `id` of a call, to find the reply by: an integer or a short text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CallId(Value);

impl CallId {
    fn parse(value: Option<Value>) -> Option<Self> {
        match value {
            Some(Value::Number(number)) if !number.is_f64() => Some(Self(Value::Number(number))),
            Some(Value::String(text)) if (1..=64).contains(&text.len()) => Some(Self(Value::String(text))),
            Some(_) | None => None,
        }
    }
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// A stable `snake_case` word.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub detail: String,
}

impl CallError {
    /// The answer for a slot that does not exist, is somebody else's, or lies outside the token's topics.
    pub fn not_found() -> Self {
        Self { code: "not_found", detail: "There is no such slot.".to_owned() }
    }
}

/// What the relay says.
#[derive(Clone, PartialEq)]
pub enum ServerFrame {
    /// The first frame of a connection.
    Hello {
        /// Seconds between the server's pings.
        heartbeat: u64,
    },
    /// An event.
    Event(Event),
    /// A frame was not understood or not accepted; the connection stays.
    Error(FrameError),
    /// The server is about to close.
    Goodbye {
        /// Why.
        reason: &'static str,
        /// When to come back, milliseconds from now.
        reconnect_after_ms: u64,
    },
    /// A `request` or a `command`, as it is sent.
    Inquiry(Arc<str>),
    /// The answer to a `settings` or `token` frame.
    Reply {
        /// The call's own id.
        id: CallId,
        /// What came of it.
        outcome: Result<Object, CallError>,
    },
}

impl ServerFrame {
    /// The frame as it is sent.
    pub fn to_text(&self) -> String {
        match self {
            // Straight to text: an event is large, and there are many.
            Self::Event(event) => return serde_json::to_string(event).unwrap_or_default(),
            Self::Inquiry(text) => return text.to_string(),
            Self::Hello { heartbeat } => json!({"type": "hello", "heartbeat": heartbeat}),
            Self::Error(error) => json!({"type": "error", "code": error.code, "detail": error.detail}),
            Self::Goodbye { reason, reconnect_after_ms } => {
                json!({"type": "goodbye", "reason": reason, "reconnect_after_ms": reconnect_after_ms})
            }
            Self::Reply { id, outcome: Ok(data) } => {
                json!({"type": "reply", "id": id, "ok": true, "data": data})
            }
            Self::Reply { id, outcome: Err(CallError { code, detail }) } => {
                json!({"type": "reply", "id": id, "ok": false, "code": code, "detail": detail})
            }
        }
        .to_string()
    }
}

impl fmt::Debug for ServerFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { .. } => f.write_str("hello"),
            Self::Event(event) => event.fmt(f),
            Self::Error(error) => write!(f, "error {}", error.code),
            Self::Inquiry(_) => f.write_str("inquiry"),
            Self::Goodbye { .. } => f.write_str("goodbye"),
            Self::Reply { outcome: Ok(_), .. } => f.write_str("reply ok"),
            Self::Reply { outcome: Err(error), .. } => write!(f, "reply {}", error.code),
        }
    }
}

/// What the relay hears.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientFrame {
    /// All versions of the slot up to this one have arrived.
    Ack {
        /// The slot.
        slot: SlotName,
        /// The highest version that arrived.
        version: Version,
    },
    /// Something to be answered by a `reply`.
    Call(Call),
}

/// A frame that wants a `reply`.
#[derive(Clone, PartialEq)]
pub struct Call {
    /// The reply's id.
    pub id: CallId,
    /// The slot it is about.
    pub slot: SlotName,
    /// What is asked.
    pub request: Request,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = match self.request {
            Request::Settings(_) => "settings",
            Request::Token => "token",
        };
        write!(f, "{request} {}", self.slot)
    }
}

/// What a call asks.
#[derive(Clone, PartialEq)]
pub enum Request {
    /// Merge this patch into the slot's overrides (RFC 7396).
    Settings(Object),
    /// The access token, refreshed first if it is due.
    Token,
}

/// A frame that is not understood or not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct FrameError {
    /// A stable `snake_case` word.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub detail: String,
}

impl FrameError {
    /// An error with a fixed sentence.
    pub(super) fn new(code: &'static str, detail: &str) -> Self {
        Self { code, detail: detail.to_owned() }
    }

    /// An answer to what was not asked on this connection, or is answered already.
    pub(super) fn unknown_request() -> Self {
        Self::new("unknown_request", "No request with this id waits for a response.")
    }
}

impl FromStr for ClientFrame {
    type Err = FrameError;

    fn from_str(text: &str) -> Result<Self, FrameError> {
        let mut members = json::parse_object(text.as_bytes())
            .map_err(|error| FrameError::new("invalid_json", &format!("Send a JSON object: {error}.")))?;
        let kind = members.shift_remove("type");
        match kind.as_ref().and_then(Value::as_str) {
            Some("ack") => Ok(Self::Ack { slot: slot(&members)?, version: version(&members)? }),
            Some("settings") => {
                let Some(Value::Object(patch)) = members.shift_remove("patch") else {
                    return Err(FrameError::new("invalid_frame", "patch must be a JSON object."));
                };
                call(members, Request::Settings(patch))
            }
            Some("token") => call(members, Request::Token),
            Some("response") => Err(FrameError::unknown_request()),
            Some(_) | None => {
                Err(FrameError::new("unknown_type", "type must be one of ack, settings, token, response."))
            }
        }
    }
}

fn call(mut members: Object, request: Request) -> Result<ClientFrame, FrameError> {
    let slot = slot(&members)?;
    let id = CallId::parse(members.shift_remove("id")).ok_or_else(|| {
        FrameError::new("invalid_frame", "id must be an integer or a text of 1 to 64 bytes.")
    })?;
    Ok(ClientFrame::Call(Call { id, slot, request }))
}

fn slot(members: &Object) -> Result<SlotName, FrameError> {
    let name = members.get("slot").and_then(Value::as_str).and_then(|name| name.parse().ok());
    name.ok_or_else(|| FrameError::new("invalid_frame", "slot must be the name of a slot."))
}

fn version(members: &Object) -> Result<Version, FrameError> {
    let version = members.get("version").and_then(Value::as_i64);
    version.map(Version).ok_or_else(|| FrameError::new("invalid_frame", "version must be an integer."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::event::Change, *};

    fn members(value: Value) -> Object {
        let Value::Object(members) = value else { panic!("an object") };
        members
    }

    fn event(version: i64, change: Change) -> String {
        ServerFrame::Event(Event { slot: "ecobee".parse().unwrap(), version: Version(version), change })
            .to_text()
    }

    #[test]
    fn frames_look_like_the_contracts_examples() {
        let data = members(json!({"a": 1}));
        for (frame, expected) in [
            (ServerFrame::Hello { heartbeat: 30 }.to_text(), r#"{"type":"hello","heartbeat":30}"#),
            (
                event(6, Change::Configuration(data.clone())),
                r#"{"type":"event","slot":"ecobee","version":6,"event":"customns","key":"oauth","data":{"a":1}}"#,
            ),
            (
                event(7, Change::Tokens(data.clone())),
                r#"{"type":"event","slot":"ecobee","version":7,"event":"customns","key":"oauthTokens","data":{"a":1}}"#,
            ),
            (
                event(8, Change::Consent(data.clone())),
                r#"{"type":"event","slot":"ecobee","version":8,"event":"oauth","data":{"a":1}}"#,
            ),
            (
                event(9, Change::Reauthorize { reason: "invalid_grant".to_owned() }),
                r#"{"type":"event","slot":"ecobee","version":9,"event":"reauthorize","data":{"reason":"invalid_grant"}}"#,
            ),
            (
                event(10, Change::Unlinked),
                r#"{"type":"event","slot":"ecobee","version":10,"event":"unlinked","data":{}}"#,
            ),
            (
                ServerFrame::Goodbye { reason: "draining", reconnect_after_ms: 1500 }.to_text(),
                r#"{"type":"goodbye","reason":"draining","reconnect_after_ms":1500}"#,
            ),
            (
                ServerFrame::Reply { id: CallId(json!(1)), outcome: Ok(data) }.to_text(),
                r#"{"type":"reply","id":1,"ok":true,"data":{"a":1}}"#,
            ),
            (
                ServerFrame::Reply { id: CallId(json!("x")), outcome: Err(CallError::not_found()) }.to_text(),
                r#"{"type":"reply","id":"x","ok":false,"code":"not_found","detail":"There is no such slot."}"#,
            ),
        ] {
            assert_eq!(frame, expected);
        }
    }

    #[test]
    fn a_frame_is_known_and_whole_or_an_error_that_says_what_is_wrong() {
        let code = |text: &str| text.parse::<ClientFrame>().unwrap_err().code;
        for text in ["", "[]", "{", r#"{"type":"ack","type":"ack"}"#, r#"{"type":"ack"} x"#] {
            assert_eq!(code(text), "invalid_json", "{text}");
        }
        for text in ["{}", r#"{"type":1}"#, r#"{"type":"hello"}"#, r#"{"type":"Ack"}"#] {
            assert_eq!(code(text), "unknown_type", "{text}");
        }
        for text in [
            r#"{"type":"ack","slot":"A","version":1}"#,
            r#"{"type":"ack","slot":"a","version":1.5}"#,
            r#"{"type":"ack","slot":"a","version":"1"}"#,
            r#"{"type":"settings","slot":"a","id":1,"patch":[]}"#,
            r#"{"type":"token","slot":"a"}"#,
            r#"{"type":"token","slot":"a","id":1.5}"#,
            r#"{"type":"token","slot":"a","id":""}"#,
        ] {
            assert_eq!(code(text), "invalid_frame", "{text}");
        }
        assert_eq!(code(r#"{"type":"response","id":"1"}"#), "unknown_request");
    }

    #[test]
    fn known_frames_are_understood() {
        let slot: SlotName = "ecobee".parse().unwrap();
        assert_eq!(
            r#"{"type":"ack","slot":"ecobee","version":8}"#.parse(),
            Ok(ClientFrame::Ack { slot: slot.clone(), version: Version(8) })
        );
        let call = |id, request| ClientFrame::Call(Call { id: CallId(id), slot: slot.clone(), request });
        assert_eq!(
            r#"{"type":"settings","slot":"ecobee","id":1,"patch":{"scope":null}}"#.parse(),
            Ok(call(json!(1), Request::Settings(members(json!({"scope": null})))))
        );
        assert_eq!(
            r#"{"type":"token","slot":"ecobee","id":"t","more":1}"#.parse(),
            Ok(call(json!("t"), Request::Token))
        );
    }

    #[test]
    fn j01_debug_shows_no_data() {
        let data = members(json!({"access_token": "canary"}));
        let slot: SlotName = "a".parse().unwrap();
        let event = Event { slot: slot.clone(), version: Version(1), change: Change::Consent(data.clone()) };
        let reply = ServerFrame::Reply { id: CallId(json!(1)), outcome: Ok(data.clone()) };
        let call = Call { id: CallId(json!(1)), slot, request: Request::Settings(data) };
        let shown = format!("{event:?} {reply:?} {call:?} {:?}", ServerFrame::Event(event.clone()));
        assert!(!shown.contains("canary"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<ClientFrame>();
        }
    }
}
