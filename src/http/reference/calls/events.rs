//! How a plugin hears and answers.

use crate::http::reference::call::{
    Body::{Form, Json},
    By::{Anyone, Key},
    Call, PLAIN, Parameter,
    Refusal::Oauth,
    Shape::{Empty, One},
};

pub(super) const CALLS: &[Call] = &[
    Call {
        path: "/api/cloudlink/relay",
        about: "Open the relay: a WebSocket with the subprotocol cloudlink.v1",
        by: Key,
        answers: &[(101, "The relay", Empty)],
        ..PLAIN
    },
    Call {
        path: "/api/cloudlink/events",
        about: "Poll for events",
        by: Key,
        query: &[
            Parameter {
                name: "wait",
                about: "Seconds to wait for one",
                schema: r#"{"type":"integer","minimum":0,"maximum":60,"default":0}"#,
            },
            Parameter {
                name: "state",
                about: "all: each slot's newest state, acknowledged or not",
                schema: r#"{"enum":["all"]}"#,
            },
        ],
        answers: &[(200, "Events", One("Events")), (204, "Nothing to tell", Empty)],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/ack",
        about: "Acknowledge a slot's events up to a version",
        by: Key,
        body: Some(Json("Acknowledgement")),
        answers: &[(204, "Acknowledged, or it already was", Empty)],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/cloudlink/token",
        about: "Refresh, for a plugin's stock OAuth library, with the slot's own credentials (RFC 6749 §6)",
        by: Anyone,
        body: Some(Form("RefreshRequest")),
        answers: &[(200, "Tokens", One("TokenAnswer"))],
        refusal: Oauth,
        ..PLAIN
    },
];
