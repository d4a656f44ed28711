//! What Home Assistant's cloud client calls, where `account_link.enabled` is set; else all of it is 404.

use crate::http::reference::call::{
    Body::Json,
    By::Anyone,
    Call, PLAIN,
    Shape::{Empty, List, One},
};

pub(super) const CALLS: &[Call] = &[
    Call {
        path: "/services",
        about: "List the integrations that can be linked here",
        by: Anyone,
        answers: &[(200, "Services", List("AccountLinkService"))],
        ..PLAIN
    },
    Call {
        path: "/v1",
        about: "Link an account: a WebSocket for one attempt, without subprotocol",
        by: Anyone,
        answers: &[(101, "The attempt", Empty)],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/refresh_token/{service}",
        about: "Refresh with the refresh token that Home Assistant keeps",
        by: Anyone,
        body: Some(Json("AccountRefresh")),
        answers: &[(200, "The provider's new tokens", One("AccountTokens"))],
        ..PLAIN
    },
];
