//! Devices, and the keys that speak for them.

use crate::http::reference::call::{
    Body::Json,
    By::{OwnerOrCode, OwnerOrDevice},
    Call, PLAIN,
    Shape::{Empty, List, One},
};

pub(super) const CALLS: &[Call] = &[
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
