//! How web services reach plugins, and how hubs are told what to do.

use crate::http::reference::call::{
    Body::Json,
    By::{Anyone, OwnerOrKey},
    Call, PLAIN,
    Shape::{Empty, One},
};

pub(super) const CALLS: &[Call] = &[
    Call {
        method: "POST",
        also: &["GET", "PUT", "PATCH", "DELETE"],
        path: "/api/eisy/pg3/webhook/response/{device}/{slot}",
        about: "Bring a web service's request to a plugin, and its answer back; any method, any body up to 256 KiB",
        by: Anyone,
        answers: &[(200, "What the plugin answered, with the status it chose", Empty)],
        ..PLAIN
    },
    Call {
        method: "POST",
        also: &["GET", "PUT", "PATCH", "DELETE"],
        path: "/api/eisy/pg3/webhook/noresponse/{device}/{slot}",
        about: "Bring a web service's request to a plugin without waiting for an answer; any method, any body up to 256 KiB",
        by: Anyone,
        answers: &[(200, "A connection of the plugin has it", Empty)],
        ..PLAIN
    },
    Call {
        path: "/api/devices/{device}/slots/{slot}/webhook",
        about: "Show a slot's webhook: its addresses, and what web services must prove, secrets masked",
        by: OwnerOrKey,
        answers: &[(200, "The webhook", One("Webhook"))],
        ..PLAIN
    },
    Call {
        method: "PUT",
        path: "/api/devices/{device}/slots/{slot}/webhook",
        about: "Decide what web services must prove: nothing, a secret, or a signature of the body",
        by: OwnerOrKey,
        body: Some(Json("WebhookSettings")),
        answers: &[(200, "The webhook", One("Webhook"))],
        ..PLAIN
    },
    Call {
        method: "DELETE",
        path: "/api/devices/{device}/slots/{slot}/webhook",
        about: "Take requests from anyone again",
        by: OwnerOrKey,
        answers: &[(204, "So it is", Empty)],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/devices/{device}/commands/{name}",
        about: "Send a command to a hub, and get what it answers",
        by: OwnerOrKey,
        body: Some(Json("CommandData")),
        answers: &[(200, "What the hub answered", One("CommandOutcome"))],
        ..PLAIN
    },
];
