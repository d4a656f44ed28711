//! Every call of the public listener that a program makes, in the order in which a reader meets them.

use super::call::{
    Body::{Form, Json, MergePatch, OptionalJson},
    By::{Anyone, Key, Owner, OwnerOrCode, OwnerOrDevice, OwnerOrKey},
    Call, Group, Parameter,
    Refusal::{Oauth, Problem},
    Shape::{Empty, List, One},
};

/// A call with none of the rarer parts.
const PLAIN: Call = Call {
    method: "GET",
    path: "",
    about: "",
    by: Owner,
    query: &[],
    body: None,
    answers: &[],
    refusal: Problem,
};

/// The table.
pub(super) const GROUPS: [Group; 6] = [
    Group { title: "Plugins", calls: &PLUGINS },
    Group { title: "Signing in", calls: &SIGNING_IN },
    Group { title: "Devices", calls: &DEVICES },
    Group { title: "Slots and flows", calls: &SLOTS },
    Group { title: "Events", calls: &EVENTS },
    Group { title: "About the service", calls: &SERVICE },
];

const PLUGINS: [Call; 5] = [
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
];

const SIGNING_IN: [Call; 4] = [
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
];

const DEVICES: [Call; 10] = [
    Call {
        method: "POST",
        path: "/api/enrolment-codes",
        about: "Make a one-time code that lets one device in",
        answers: &[(201, "The code, shown once", One("EnrolmentCode"))],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/devices",
        about: "Enrol a device",
        by: OwnerOrCode,
        body: Some(Json("NewDevice")),
        answers: &[(201, "Enrolled", One("NamedDevice"))],
        ..PLAIN
    },
    Call {
        path: "/api/devices",
        about: "List the devices",
        answers: &[(200, "The devices", List("Device"))],
        ..PLAIN
    },
    Call {
        path: "/api/devices/{device}",
        about: "Show a device",
        by: OwnerOrDevice,
        answers: &[(200, "The device", One("Device"))],
        ..PLAIN
    },
    Call {
        method: "PATCH",
        path: "/api/devices/{device}",
        about: "Rename a device",
        by: OwnerOrDevice,
        body: Some(Json("Renaming")),
        answers: &[(200, "Renamed", One("NamedDevice"))],
        ..PLAIN
    },
    Call {
        method: "DELETE",
        path: "/api/devices/{device}",
        about: "Remove a device with its keys, slots, tokens and flows",
        answers: &[(204, "Removed", Empty)],
        ..PLAIN
    },
    Call {
        method: "PUT",
        path: "/api/devices/{device}/password",
        about: "Change a device's password",
        by: OwnerOrDevice,
        body: Some(Json("PasswordChange")),
        answers: &[(204, "Changed", Empty)],
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/api/devices/{device}/keys",
        about: "Trust a public key to speak for a device",
        by: OwnerOrDevice,
        body: Some(Json("NewKey")),
        answers: &[(201, "Trusted", One("AddedKey"))],
        ..PLAIN
    },
    Call {
        path: "/api/devices/{device}/keys",
        about: "List a device's trusted keys",
        by: OwnerOrDevice,
        answers: &[(200, "The keys", List("Key"))],
        ..PLAIN
    },
    Call {
        method: "DELETE",
        path: "/api/devices/{device}/keys/{key_hash}",
        about: "Stop trusting a key; its tokens and connections end within five seconds",
        by: OwnerOrDevice,
        answers: &[(204, "Not trusted any more", Empty)],
        ..PLAIN
    },
];

const SLOTS: [Call; 10] = [
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
];

const EVENTS: [Call; 3] = [
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
];

const SERVICE: [Call; 4] = [
    Call {
        path: "/api/audit",
        about: "Read who did what, newest first",
        query: &[
            Parameter {
                name: "before",
                about: "The last id of the page before",
                schema: r#"{"type":"integer","format":"int64"}"#,
            },
            Parameter {
                name: "limit",
                about: "Entries",
                schema: r#"{"type":"integer","minimum":1,"maximum":200,"default":50}"#,
            },
        ],
        answers: &[(200, "Entries", List("AuditEntry"))],
        ..PLAIN
    },
    Call {
        path: "/healthz",
        about: "Does the process answer?",
        by: Anyone,
        answers: &[(200, "It does", Empty)],
        ..PLAIN
    },
    Call {
        path: "/readyz",
        about: "Can it do its work?",
        by: Anyone,
        answers: &[(200, "It can", One("Readiness")), (503, "Something is missing", One("Readiness"))],
        ..PLAIN
    },
    Call {
        path: "/api/openapi.json",
        about: "This reference, for programs (OpenAPI 3.1)",
        by: Anyone,
        answers: &[(200, "The description", One("OpenApi"))],
        ..PLAIN
    },
];
