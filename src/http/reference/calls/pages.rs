//! What a person's browser is sent to. Programs make the links, and read none of the pages.

use crate::http::reference::call::{
    By::Anyone,
    Call, PLAIN, Parameter,
    Refusal::Page as ByPage,
    Shape::{Empty, Page},
};

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, schema: r#"{ "type": "string" }"# }
}

/// What a provider sends a browser back with (RFC 6749 §4.1.2, RFC 9207).
const CALLBACK: &[Parameter] = &[
    text("state", "As it was sent"),
    text("code", "The authorization code, if the person agreed"),
    text("error", "Why there is none"),
    text("iss", "Who says so"),
];

/// What both redirect URIs do.
const COMING_BACK: Call = Call {
    by: Anyone,
    query: CALLBACK,
    answers: &[(303, "On to the page that says how it went, or to `return_url`", Empty)],
    refusal: ByPage,
    ..PLAIN
};

pub(super) const CALLS: &[Call] = &[
    Call {
        path: "/connect/{handle}",
        about: "Ask a person whether a slot may be linked; later, say how that went",
        by: Anyone,
        answers: &[(200, "The page", Page)],
        refusal: ByPage,
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/connect/{handle}",
        about: "Take the answer, by the page's own form",
        by: Anyone,
        answers: &[(303, "On to the provider", Empty)],
        refusal: ByPage,
        ..PLAIN
    },
    Call {
        path: "/link",
        about: "Ask for a user code",
        by: Anyone,
        query: &[text("user_code", "Filled in, so that nobody has to type it")],
        answers: &[(200, "The page", Page)],
        refusal: ByPage,
        ..PLAIN
    },
    Call {
        method: "POST",
        path: "/link",
        about: "Find what a user code is for, by the page's own form",
        by: Anyone,
        answers: &[(303, "On to its page", Empty)],
        refusal: ByPage,
        ..PLAIN
    },
    Call {
        path: "/api/cloudlink/redirect",
        about: "Come back from a provider, at the redirect URI that all plugins share",
        ..COMING_BACK
    },
    Call {
        path: "/api/cloudlink/redirect/{plugin}",
        about: "Come back from a provider, at a plugin's own redirect URI",
        ..COMING_BACK
    },
    Call {
        path: "/api/authorize",
        about: "Sign in on this machine for a program on it (RFC 8252, with PKCE)",
        by: Anyone,
        query: &[
            text("response_type", "`code`"),
            text("redirect_uri", "On this machine's loopback, with any port"),
            text("code_challenge", "RFC 7636"),
            text("code_challenge_method", "`S256`"),
            text("state", "Comes back as it is"),
            text("scope", "What the program wants to do"),
            text("client_id", "What the program calls itself"),
        ],
        answers: &[(303, "On to the page that asks, or back with an `error`", Empty)],
        refusal: ByPage,
        ..PLAIN
    },
    Call {
        path: "/docs",
        about: "Show this reference",
        by: Anyone,
        answers: &[(200, "The page", Page)],
        refusal: ByPage,
        ..PLAIN
    },
];
