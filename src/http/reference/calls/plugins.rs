//! The plugin store, the owner's.

use crate::http::reference::call::{
    Body::Json,
    Call, PLAIN,
    Shape::{Empty, List, One},
};

pub(super) const CALLS: &[Call] = &[
    Call {
        path: "/api/plugins",
        about: "List the plugins of the store",
        answers: &[(200, "The plugins", List("Plugin"))],
        ..PLAIN
    },
    Call {
        method: "PUT",
        path: "/api/plugins/{plugin}",
        about: "Add a plugin, or replace its configuration; slots keep the copy they made",
        body: Some(Json("OauthConfiguration")),
        answers: &[(201, "Added", One("Plugin")), (200, "Replaced", One("Plugin"))],
        ..PLAIN
    },
    Call {
        path: "/api/plugins/{plugin}",
        about: "Show a plugin, its secrets masked",
        answers: &[(200, "The plugin", One("Plugin"))],
        ..PLAIN
    },
    Call {
        method: "DELETE",
        path: "/api/plugins/{plugin}",
        about: "Remove a plugin from the store; slots keep their copies",
        answers: &[(204, "Removed", Empty)],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/plugins/{plugin}/approve",
        about: "Lift a plugin's quarantine for what is stored now",
        answers: &[(204, "Approved", Empty)],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/plugins/{plugin}/doctor",
        about: "Say what will go wrong with a plugin's configuration, before a person meets it",
        answers: &[(200, "The findings, worst first", List("Finding"))],
        ..PLAIN
    },
];
