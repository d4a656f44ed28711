//! What earns a token of cloudlink's own, and what ends one.

use crate::http::reference::call::{
    Body::{Form, Json},
    By::Anyone,
    Call, PLAIN,
    Refusal::Oauth,
    Shape::{Empty, One},
};

pub(super) const CALLS: &[Call] = &[
    Call {
        method: "POST",
        path: "/api/login",
        about: "Trade the owner's name and password for a token",
        by: Anyone,
        body: Some(Json("OwnerLogin")),
        answers: &[(200, "A token", One("Login"))],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/devices/{device}/login",
        about: "Trade a device's password for a token that reaches its name, password and keys",
        by: Anyone,
        body: Some(Json("DeviceLogin")),
        answers: &[(200, "A token", One("Login"))],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/token",
        about: "Trade an assertion that a trusted key signed for a token",
        by: Anyone,
        body: Some(Form("TokenRequest")),
        answers: &[(200, "A token", One("TokenAnswer"))],
        refusal: Oauth,
        ..PLAIN
    },
    Call {
        path: "/.well-known/jwks.json",
        about: "The public keys that cloudlink's tokens are signed with",
        by: Anyone,
        answers: &[(200, "A JWK set", One("Jwks"))],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/device_authorization",
        about: "Start signing in at a terminal: a code to type into a browser elsewhere (RFC 8628)",
        by: Anyone,
        body: Some(Form("DeviceAuthorizationRequest")),
        answers: &[(200, "Started", One("DeviceAuthorization"))],
        refusal: Oauth,
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/revoke",
        about: "Give an access token back before its time (RFC 7009)",
        by: Anyone,
        body: Some(Form("Revocation")),
        answers: &[(200, "It is worth nothing now, if it ever was", Empty)],
        refusal: Oauth,
        ..PLAIN
    },
];
