//! Plugins installed on a device, their links and their tokens.

use crate::http::reference::call::{
    Body::{Json, MergePatch, OptionalJson},
    By::{Key, OwnerOrKey},
    Call, PLAIN, Parameter,
    Shape::{Empty, List, One},
};

pub(super) const CALLS: &[Call] = &[
    Call {
        path: "/api/devices/{device}/slots",
        about: "List the slots that the token covers",
        by: OwnerOrKey,
        query: &[Parameter {
            name: "writable",
            about: "true: only those that the token may publish to",
            schema: r#"{"type":"boolean"}"#,
        }],
        answers: &[(200, "The slots", List("Slot"))],
        ..PLAIN
    },
    Call {
        method: "PUT",
        path: "/api/devices/{device}/slots/{slot}",
        about: "Install a plugin in a slot, or copy its configuration anew",
        by: OwnerOrKey,
        body: Some(Json("Installation")),
        answers: &[(201, "Installed", One("Slot")), (200, "Installed anew", One("Slot"))],
        ..PLAIN
    },
    Call {
        path: "/api/devices/{device}/slots/{slot}",
        about: "Show a slot",
        by: OwnerOrKey,
        answers: &[(200, "The slot", One("Slot"))],
        ..PLAIN
    },
    Call {
        method: "DELETE",
        path: "/api/devices/{device}/slots/{slot}",
        about: "Remove a slot with its tokens and flows",
        by: OwnerOrKey,
        answers: &[(204, "Removed", Empty)],
        ..PLAIN
    },
    Call {
        path: "/api/devices/{device}/slots/{slot}/oauth",
        about: "Show a slot's effective configuration, its secrets masked",
        by: OwnerOrKey,
        answers: &[(200, "The configuration", One("EffectiveConfiguration"))],
        ..PLAIN
    },
    Call {
        method: "PATCH",
        path: "/api/devices/{device}/slots/{slot}/oauth",
        about: "Change a slot's overrides",
        by: OwnerOrKey,
        body: Some(MergePatch("Overrides")),
        answers: &[(200, "The configuration", One("EffectiveConfiguration"))],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/devices/{device}/slots/{slot}/connect",
        about: "Start a flow: a link for a browser, and a code to type",
        by: OwnerOrKey,
        body: Some(OptionalJson("ConnectRequest")),
        answers: &[(201, "Started", One("Connection"))],
        ..PLAIN
    },
    Call {
        path: "/api/devices/{device}/slots/{slot}/flows/{flow}",
        about: "Ask how far a flow is",
        by: OwnerOrKey,
        answers: &[(200, "Its status", One("Flow"))],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/devices/{device}/slots/{slot}/flows/{flow}/confirm",
        about: "Type the six digits that the browser shows after consent",
        by: OwnerOrKey,
        body: Some(Json("Confirmation")),
        answers: &[(204, "Linked", Empty)],
        ..PLAIN
    },
    Call {
        path: "/api/devices/{device}/slots/{slot}/token",
        about: "Get the access token of a slot",
        by: Key,
        answers: &[(200, "The token", One("SlotToken"))],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/devices/{device}/slots/{slot}/refresh",
        about: "Refresh a slot's access token now, and get it",
        by: Key,
        answers: &[(200, "The token", One("SlotToken"))],
        ..PLAIN
    },
    Call {
        method: "PUT",
        path: "/api/devices/{device}/slots/{slot}/tokens",
        about: "Take over tokens that a plugin already had",
        by: Key,
        body: Some(Json("TokenObject")),
        answers: &[(204, "Taken over", Empty)],
        ..PLAIN
    },
    Call {
        method: "DELETE",
        path: "/api/devices/{device}/slots/{slot}/tokens",
        about: "Unlink a slot: its tokens are erased and its plugin is told",
        by: OwnerOrKey,
        answers: &[(204, "Unlinked, or it already was", Empty)],
        ..PLAIN
    },
];
