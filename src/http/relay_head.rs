//! The head of a relay handshake, and the answer to it, in bytes: for the listener that serves nothing else.
//!
//! `httparse` reads the head; what a WebSocket's handshake is stands in `handshake`.

use actix_web::http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    error::{PROBLEM_JSON, Problem},
    frame::Limits,
    frame::RequestId,
    hardening::{Edge, dress},
};
use crate::relay::SUBPROTOCOL;

/// The one path that is served.
pub(super) const PATH: &str = "/api/cloudlink/relay";
/// Headers of one request, as many as the other listeners take.
const MOST_HEADERS: usize = 96;

/// A head that came whole. No `Debug`: the access token is in it.
pub(super) struct Head {
    pub(super) headers: HeaderMap,
    /// Its bytes; what comes behind them are frames.
    pub(super) size: usize,
    is_relay: bool,
}

/// Reads a head from the beginning of `bytes`; `None` while it is not whole.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Option<Head>, Problem> {
    let mut lines = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut lines);
    let size = match request.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if bytes.len() > limits.uri_bytes + limits.header_bytes => {
            return Err(Problem::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Problem::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        Err(_) => return Err(Problem::of_status(StatusCode::BAD_REQUEST)),
    };
    let target = request.path.unwrap_or_default();
    if target.len() > limits.uri_bytes {
        return Err(Problem::of_status(StatusCode::URI_TOO_LONG));
    }
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for line in request.headers.iter() {
        let name =
            HeaderName::try_from(line.name).map_err(|_| Problem::of_status(StatusCode::BAD_REQUEST))?;
        let value =
            HeaderValue::from_bytes(line.value).map_err(|_| Problem::of_status(StatusCode::BAD_REQUEST))?;
        headers.append(name, value);
    }
    let read: usize = request.headers.iter().map(|line| line.name.len() + line.value.len() + 4).sum();
    if read > limits.header_bytes {
        return Err(Problem::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    let path = target.split('?').next();
    let is_relay = request.method == Some("GET") && path == Some(PATH) && request.version == Some(1);
    Ok(Some(Head { headers, size, is_relay }))
}

impl Head {
    /// Whether this is for the one path, by the one method. Everything else does not exist here.
    pub(super) fn is_relay(&self) -> bool {
        self.is_relay
    }
}

/// 101, with what every answer has.
pub(super) fn switching(accept: &str, id: &RequestId, edge: Edge) -> Vec<u8> {
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    written(StatusCode::SWITCHING_PROTOCOLS, headers, "", id, edge)
}

/// A refusal; the connection ends with it.
pub(super) fn refusal(problem: &Problem, id: &RequestId, edge: Edge) -> Vec<u8> {
    let body = problem.body();
    let mut headers = HeaderMap::new();
    for (name, value) in problem.headers() {
        headers.append(name.clone(), value.clone());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    written(problem.status(), headers, &body, id, edge)
}

fn written(status: StatusCode, mut headers: HeaderMap, body: &str, id: &RequestId, edge: Edge) -> Vec<u8> {
    dress(&mut headers, id, edge);
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::handshake;

    const RFC: &str = "GET /api/cloudlink/relay?x=y HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    #[test]
    fn the_rfcs_example_is_accepted_with_the_rfcs_answer() {
        let bytes = [RFC.as_bytes(), b"frames"].concat();
        let head = read(&bytes, &Limits::default()).unwrap().unwrap();
        assert!(head.is_relay() && head.size == RFC.len());
        assert_eq!(handshake::accept(&head.headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_head_is_not_read_before_its_end() {
        for end in 0..RFC.len() {
            assert!(matches!(read(&RFC.as_bytes()[..end], &Limits::default()), Ok(None)), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_refused_has_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for bytes in [bytes.clone(), [b"GET / HTTP/1.1\r\n", &bytes[..], b"\r\n\r\n"].concat()] {
                if let Err(problem) = read(&bytes, &Limits::default()) {
                    prop_assert!(problem.status().is_client_error());
                }
            }
        }
    }
}
