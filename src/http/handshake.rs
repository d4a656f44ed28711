//! A WebSocket's handshake (RFC 6455 §4.2), at either listener.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Version,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    web,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::error::Problem;
use crate::relay::{HangUp, Upgraded, WebSocket};

/// The `Sec-WebSocket-Accept` of a right handshake (§4.2.1). There is no body, which a proxy in front could take for
/// the next request, and `websocket` is the one protocol that is asked for, so that all who read the head agree on what
/// follows it.
pub(super) fn accept(headers: &HeaderMap) -> Result<String, Problem> {
    let only = |name: HeaderName| {
        let mut lines = headers.get_all(name);
        lines.next().filter(|_| lines.next().is_none())
    };
    let names = |name: HeaderName, word: &str| {
        let lines = headers.get_all(name).filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
    };
    let bodiless = !headers.contains_key(header::TRANSFER_ENCODING)
        && (!headers.contains_key(header::CONTENT_LENGTH)
            || only(header::CONTENT_LENGTH).is_some_and(|length| length == "0"));
    let upgrade =
        only(header::UPGRADE).is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = only(header::SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16));
    match key {
        Some(key)
            if bodiless
                && upgrade
                && headers.contains_key(header::HOST)
                && names(header::CONNECTION, "upgrade")
                && names(header::SEC_WEBSOCKET_VERSION, "13") =>
        {
            Ok(derive_accept_key(key.as_bytes()))
        }
        Some(_) | None => {
            Err(Problem::websocket_required()
                .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")))
        }
    }
}

/// A WebSocket that begins with its answer.
pub(super) struct Begun {
    pub(super) socket: WebSocket<Upgraded>,
    /// 101, to be sent.
    pub(super) answer: HttpResponse,
}

/// Makes a request of the HTTP server a WebSocket.
pub(super) fn upgrade(request: &HttpRequest, payload: web::Payload) -> Result<Begun, Problem> {
    if request.version() != Version::HTTP_11 {
        return Err(Problem::websocket_required());
    }
    let accept = accept(request.headers())?;
    let (upgraded, body) = Upgraded::new(payload, request.conn_data::<HangUp>().cloned());
    let answer = HttpResponse::SwitchingProtocols()
        .upgrade("websocket")
        .insert_header((header::SEC_WEBSOCKET_ACCEPT, accept))
        .body(body);
    Ok(Begun { socket: WebSocket::new(upgraded, Vec::new()), answer })
}
