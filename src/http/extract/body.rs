//! JSON bodies.
//!
//! `Content-Type: application/json` is demanded of each: a page of another site cannot send it without a
//! preflight, which is never answered (I06). A body is read up to a size and within a time (J04), parsed by
//! [`json::parse_object`], and what does not fit is named by its JSON pointer, never quoted.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::{
        StatusCode,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName},
    },
    web::{Bytes, BytesMut},
};
use futures_util::{StreamExt as _, future::LocalBoxFuture};
use serde::{de::DeserializeOwned, de::value::MapDeserializer};

use crate::{
    domain::{
        json::{self, Object},
        plugin::FieldError,
    },
    http::{error::Problem, frame::Frame, load::Handled},
};

/// A JSON object as it came.
#[derive(Debug, Clone)]
pub struct JsonBody(pub Object);

/// A JSON object that became a `T`; whatever `T` refuses is a 422 with the member's name.
#[derive(Debug, Clone)]
pub struct StrictJson<T>(pub T);

/// As [`StrictJson`], for calls whose body may be left out.
#[derive(Debug, Clone)]
pub struct OptionalJson<T>(pub Option<T>);

impl FromRequest for JsonBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            demand_json(&request)?;
            object(&limited_body(&request, payload).await?).map(Self)
        })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for StrictJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = JsonBody::from_request(request, payload);
        Box::pin(async move { fit(body.await?.0).map(Self) })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = limited_body(&request, payload).await?;
            if body.is_empty() {
                return Ok(Self(None));
            }
            demand_json(&request)?;
            fit(object(&body)?).map(|value| Self(Some(value)))
        })
    }
}

/// The body of a request, at most `limit` bytes, all of it within `time`. 413 and 408 otherwise. While it comes, the
/// request has no place among those that are handled; 503 where there is none afterwards.
pub async fn read_body(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
    time: Duration,
) -> Result<Bytes, Problem> {
    let announced = header(request, CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Problem::too_large());
    }
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Problem::bad_request("bad_request", "The body ends too early."))?;
            if body.len() + chunk.len() > limit {
                return Err(Problem::too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let late = |_| Problem::of_status(StatusCode::REQUEST_TIMEOUT);
    let handled = request.extensions().get::<Rc<Handled>>().cloned();
    if let Some(handled) = &handled {
        handled.leave();
    }
    let body = tokio::time::timeout(time, reading).await.map_err(late)??;
    if handled.is_some_and(|handled| !handled.enter()) {
        return Err(Problem::unavailable("overloaded", 1));
    }
    Ok(body)
}

/// The body within the limits of the frame. A compressed body is refused: its size would be a lie.
pub(super) async fn limited_body(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    let limits = Frame::of(request)?.limits;
    if header(request, CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Problem::unsupported_media_type("Send the body without a content encoding."));
    }
    read_body(request, payload, limits.body_bytes, limits.body_time).await
}

/// Whether the body says that it is of this media type.
pub(super) fn is_media_type(request: &HttpRequest, expected: &str) -> bool {
    let mut lines = request.headers().get_all(CONTENT_TYPE);
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let essence = line.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(expected)
}

fn header(request: &HttpRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

fn demand_json(request: &HttpRequest) -> Result<(), Problem> {
    let json =
        is_media_type(request, "application/json") || is_media_type(request, "application/merge-patch+json");
    let refusal = || Problem::unsupported_media_type("Send JSON, with Content-Type: application/json.");
    json.then_some(()).ok_or_else(refusal)
}

fn object(body: &[u8]) -> Result<Object, Problem> {
    let refusal =
        |error: json::JsonError| Problem::bad_request("invalid_json", format!("Not accepted: {error}."));
    json::parse_object(body).map_err(refusal)
}

/// Deserializes member by member, so that the one that does not fit is known by name.
fn fit<T: DeserializeOwned>(object: Object) -> Result<T, Problem> {
    let current = RefCell::new(String::new());
    let members = object.into_iter().inspect(|(name, _)| current.borrow_mut().clone_from(name));
    T::deserialize(MapDeserializer::<_, serde_json::Error>::new(members)).map_err(|error| {
        let (field, detail) = explain(&error.to_string(), &current.borrow());
        Problem::invalid(vec![FieldError { field: pointer(&field), detail }])
    })
}

/// What of a `serde` message can be told: which member, and what would fit; never the value.
fn explain(message: &str, current: &str) -> (String, String) {
    let current = current.to_owned();
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split('`').next().map(str::to_owned);
    if let Some(missing) = quoted("missing field `") {
        return (missing, "is missing".to_owned());
    }
    if message.starts_with("unknown field `") {
        return (current, "is not known here".to_owned());
    }
    let typed = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant `"];
    if typed.iter().any(|prefix| message.starts_with(prefix)) {
        let expected = message.rsplit_once(", expected ").map_or("of another type", |(_, expected)| expected);
        return (current, format!("must be {expected}"));
    }
    (current, message.chars().take(200).collect())
}

/// A JSON pointer to a member of the outermost object (RFC 6901 §3).
fn pointer(member: &str) -> String {
    format!("/{}", member.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use actix_web::{error::PayloadError, test::TestRequest};
    use futures_util::{FutureExt as _, stream};
    use serde::Deserialize;

    use super::*;
    use crate::{domain::ids::PluginId, http::load::Load};

    #[actix_web::test]
    async fn j04_who_sends_slowly_keeps_nobody_out() {
        let load = Load::new("test", 1);
        let request = TestRequest::post().to_http_request();
        let slow = Rc::new(load.take("/api/login").unwrap());
        request.extensions_mut().insert(Rc::clone(&slow));
        let silent: Payload =
            Payload::Stream { payload: Box::pin(stream::pending::<Result<Bytes, PayloadError>>()) };
        let mut reading = Box::pin(read_body(&request, silent, 10, Duration::from_mins(1)));
        assert!((&mut reading).now_or_never().is_none());
        let other = load.take("/api/login").expect("a place");
        let refused = read_body(&request, Payload::None, 10, Duration::from_mins(1)).await.unwrap_err();
        assert_eq!(refused.code(), "overloaded");
        drop(other);
        assert!(read_body(&request, Payload::None, 10, Duration::from_mins(1)).await.is_ok());
        assert!(load.take("/api/login").is_none(), "it is handled again");
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only what refuses is looked at")]
    struct Order {
        plugin: PluginId,
        count: Option<u8>,
    }

    fn refusal(text: &str) -> String {
        fit::<Order>(object(text.as_bytes()).unwrap()).unwrap_err().body()
    }

    #[test]
    fn a_member_that_does_not_fit_is_named_and_not_quoted() {
        for (text, expected) in [
            (r#"{"plugin":"a","count":"canary"}"#, r#"{"field":"/count","detail":"must be u8"}"#),
            (r#"{"plugin":"a","count":1000}"#, r#"{"field":"/count","detail":"must be u8"}"#),
            (r#"{"count":1}"#, r#"{"field":"/plugin","detail":"is missing"}"#),
            (r#"{"plugin":"a","x~/y":"canary"}"#, r#"{"field":"/x~0~1y","detail":"is not known here"}"#),
            (r#"{"plugin":"Canary"}"#, r#"{"field":"/plugin","detail":"must be 1 to 63 characters"#),
        ] {
            let body = refusal(text);
            assert!(body.contains(expected.trim_end_matches('}')), "{body}");
            assert!(!body.to_lowercase().contains("canary"), "{body}");
        }
    }

    #[test]
    fn what_fits_fits() {
        let order: Order = fit(object(br#"{"plugin":"ecobee","count":null}"#).unwrap()).unwrap();
        assert_eq!((order.plugin.as_str(), order.count), ("ecobee", None));
    }
}
