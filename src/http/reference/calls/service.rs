//! The record, health, and this reference.

use crate::http::reference::call::{
    By::Anyone,
    Call, PLAIN, Parameter,
    Shape::{Empty, List, One},
};

pub(super) const CALLS: &[Call] = &[
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
