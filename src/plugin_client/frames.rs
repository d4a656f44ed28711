//! The relay's frames as a plugin reads and writes them. Frames of unknown types are skipped.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::{
    ids::{SlotName, Version},
    json::Object,
};

/// What a caller is told of a plugin that takes no requests.
const NOT_TAKEN: &str = "The plugin takes no such requests.";

/// An event, and the text it came as. `Debug` leaves out both data and text, which hold tokens.
pub struct Event {
    text: String,
    body: EventBody,
}

#[derive(Deserialize)]
struct EventBody {
    slot: SlotName,
    version: i64,
    event: String,
    key: Option<String>,
    #[serde(default)]
    data: Object,
}

impl Event {
    /// The frame as it came, on one line.
    pub fn line(&self) -> String {
        // Inside of JSON's strings there is no bare line end.
        self.text.replace(['\n', '\r'], " ")
    }

    /// Whose state it is.
    pub fn slot(&self) -> &SlotName {
        &self.body.slot
    }

    /// What to acknowledge.
    pub fn version(&self) -> Version {
        Version(self.body.version)
    }

    /// `customns`, `oauth`, `reauthorize` or `unlinked`.
    pub fn name(&self) -> &str {
        &self.body.event
    }

    /// Of `customns`: `oauth` or `oauthTokens`.
    pub fn key(&self) -> Option<&str> {
        self.body.key.as_deref()
    }

    /// The configuration, the tokens, or the reason.
    pub fn data(&self) -> &Object {
        &self.body.data
    }

    /// Whether it brings tokens.
    pub fn has_tokens(&self) -> bool {
        self.name() == "oauth" || self.key() == Some("oauthTokens")
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventBody { slot, version, event, key, .. } = &self.body;
        write!(f, "{slot} {event} {key:?} version {version} [redacted]")
    }
}

/// A request of a web service, or a command for the hub. `Debug` and the line for a person leave out what it holds.
pub struct Inquiry {
    text: String,
    body: InquiryBody,
    is_command: bool,
}

#[derive(Deserialize)]
struct InquiryBody {
    id: String,
    slot: Option<SlotName>,
    method: Option<String>,
    name: Option<String>,
}

impl Inquiry {
    /// The frame as it came, on one line.
    pub fn line(&self) -> String {
        self.text.replace(['\n', '\r'], " ")
    }

    /// For which slot; none where it is a command for the hub.
    pub fn slot(&self) -> Option<&SlotName> {
        self.body.slot.as_ref()
    }

    /// The method of a request, the name of a command.
    pub fn name(&self) -> &str {
        self.body.method.as_deref().or(self.body.name.as_deref()).unwrap_or_default()
    }

    /// The answer of who has nothing to say: 200 with an empty object, or a command that was not done.
    pub(super) fn plain_answer(&self) -> String {
        let answer = if self.is_command {
            json!({"type": "response", "id": self.body.id, "ok": false, "data": {}})
        } else {
            self.response(200, "application/json", "{}")
        };
        answer.to_string()
    }

    /// The answer of who takes no requests: 501, or a command that was not done.
    pub(super) fn refusal(&self) -> String {
        let answer = if self.is_command {
            json!({"type": "response", "id": self.body.id, "ok": false, "data": {"detail": NOT_TAKEN}})
        } else {
            self.response(501, "text/plain; charset=utf-8", NOT_TAKEN)
        };
        answer.to_string()
    }

    fn response(&self, status: u16, content_type: &str, body: &str) -> Value {
        let headers = json!({ "content-type": content_type });
        let body = STANDARD.encode(body);
        json!({"type": "response", "id": self.body.id, "status": status, "headers": headers, "body": body})
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:?} [redacted]", self.name(), self.body.slot)
    }
}

/// A frame from the server.
#[derive(Debug)]
pub(super) enum Frame {
    Hello { heartbeat: Duration },
    Event(Event),
    Inquiry(Inquiry),
    Error { code: String },
    Goodbye { reconnect_after: Duration },
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Known {
    Hello {
        heartbeat: u32,
    },
    Event(EventBody),
    Request(InquiryBody),
    Command(InquiryBody),
    Error {
        code: String,
    },
    Goodbye {
        #[serde(default)]
        reconnect_after_ms: u32,
    },
    #[serde(other)]
    Other,
}

impl Frame {
    /// Reads a text frame; what is no frame at all counts as an unknown one.
    pub(super) fn read(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(Known::Hello { heartbeat }) => {
                Self::Hello { heartbeat: Duration::from_secs(heartbeat.into()) }
            }
            Ok(Known::Event(body)) => Self::Event(Event { text: text.to_owned(), body }),
            Ok(Known::Request(body)) => {
                Self::Inquiry(Inquiry { text: text.to_owned(), body, is_command: false })
            }
            Ok(Known::Command(body)) => {
                Self::Inquiry(Inquiry { text: text.to_owned(), body, is_command: true })
            }
            Ok(Known::Error { code }) => {
                Self::Error { code: code.chars().filter(char::is_ascii_graphic).take(64).collect() }
            }
            Ok(Known::Goodbye { reconnect_after_ms }) => {
                Self::Goodbye { reconnect_after: Duration::from_millis(reconnect_after_ms.into()) }
            }
            Ok(Known::Other) | Err(_) => Self::Other,
        }
    }
}

/// The acknowledgement of all versions of `slot` up to `version`.
pub(super) fn ack(slot: &SlotName, version: Version) -> String {
    let ack: Value = json!({"type": "ack", "slot": slot, "version": version.0});
    ack.to_string()
}

/// An event as a test writes it.
#[cfg(test)]
pub(crate) fn event(text: &str) -> Event {
    let Frame::Event(event) = Frame::read(text) else { panic!("{text} is no event") };
    event
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKENS: &str = r#"{"type":"event","slot":"s","version":7,"event":"customns","key":"oauthTokens",
        "data":{"z":1,"access_token":"canary"}}"#;

    #[test]
    fn an_event_keeps_its_text_on_one_line() {
        let event = event(TOKENS);
        assert!(!event.line().contains('\n') && event.line().contains(r#""data":{"z":1,"access_token"#));
        assert_eq!((event.slot().as_str(), event.version(), event.has_tokens()), ("s", Version(7), true));
        assert!(!format!("{event:?}").contains("canary"));
    }

    #[test]
    fn each_frame_of_the_contract_is_understood() {
        let read = Frame::read;
        let heartbeat = Duration::from_secs(30);
        assert!(
            matches!(read(r#"{"type":"hello","heartbeat":30}"#), Frame::Hello { heartbeat: h } if h == heartbeat)
        );
        let goodbye = r#"{"type":"goodbye","reason":"draining","reconnect_after_ms":1500}"#;
        assert!(
            matches!(read(goodbye), Frame::Goodbye { reconnect_after } if reconnect_after.as_millis() == 1500)
        );
        let error = r#"{"type":"error","code":"too_\u001bfast","detail":"…"}"#;
        assert!(matches!(read(error), Frame::Error { code } if code == "too_fast"));
        let request = r#"{"type":"request","id":"1","slot":"s","method":"POST","headers":{"a":"canary"}}"#;
        let Frame::Inquiry(request) = read(request) else { panic!("a request") };
        assert_eq!((request.name(), request.slot().unwrap().as_str()), ("POST", "s"));
        let headers = r#""headers":{"content-type":"application/json"}"#;
        let plain = format!(r#"{{"type":"response","id":"1","status":200,{headers},"body":"e30="}}"#);
        assert_eq!(request.plain_answer(), plain);
        assert!(request.refusal().starts_with(r#"{"type":"response","id":"1","status":501,"#));
        assert!(!format!("{request:?}").contains("canary"));
        let Frame::Inquiry(command) = read(r#"{"type":"command","id":"2","name":"reboot","data":{}}"#) else {
            panic!("a command")
        };
        assert_eq!(command.plain_answer(), r#"{"type":"response","id":"2","ok":false,"data":{}}"#);
        assert!(command.refusal().starts_with(r#"{"type":"response","id":"2","ok":false,"data":{"detail":"#));
        assert!(matches!(read(r#"{"type":"request","id":1}"#), Frame::Other));
        assert!(matches!(read("{"), Frame::Other));
    }

    #[test]
    fn an_ack_names_slot_and_version() {
        let ack = ack(&"ecobee".parse().unwrap(), Version(8));
        assert_eq!(ack, r#"{"type":"ack","slot":"ecobee","version":8}"#);
    }

    proptest! {
        #[test]
        fn any_text_is_some_frame(text in ".{0,200}") {
            let _ = Frame::read(&text);
        }
    }
}
