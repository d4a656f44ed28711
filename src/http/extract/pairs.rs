//! Queries and form bodies: pairs of a name and a value, where a name means one thing or nothing.
//!
//! A parameter twice is an error (RFC 6749 §3.1), as is one in query and body (J06). Values may be codes,
//! states and passwords: `Debug` shows names only.

use std::{collections::BTreeSet, fmt};

use actix_web::{FromRequest, HttpRequest, ResponseError, dev::Payload, http::StatusCode};
use futures_util::future::{LocalBoxFuture, Ready, ready};
use url::form_urlencoded;

use super::body::{is_media_type, limited_body};
use crate::http::{
    error::Problem,
    frame::Frame,
    oauth_error::{OauthError, OauthErrorCode},
};

/// How many pairs a query or a form may have.
pub const MAX_PAIRS: usize = 64;

/// A parameter stands there more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a parameter is given more than once")]
pub struct Repeated;

impl From<Repeated> for Problem {
    fn from(_: Repeated) -> Self {
        Self::bad_request("repeated_parameter", "A parameter is given more than once.")
    }
}

#[derive(Clone, Default)]
struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Decodes `application/x-www-form-urlencoded`; nothing where there are too many.
    fn parse(text: &[u8]) -> Option<Self> {
        let pairs: Vec<_> = form_urlencoded::parse(text).take(MAX_PAIRS + 1).collect();
        let few = pairs.len() <= MAX_PAIRS;
        few.then(|| Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Repeated),
            (value, None) => Ok(value),
        }
    }

    fn has_repeats(&self) -> bool {
        let names: BTreeSet<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.len() != self.0.len()
    }

    fn has_any_of(&self, other: &Self) -> bool {
        self.0.iter().any(|(name, _)| other.0.iter().any(|(known, _)| known == name))
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The query of a request: at most [`MAX_PAIRS`] pairs, repeats kept so that they can be refused.
#[derive(Debug, Clone)]
pub struct QueryPairs(Pairs);

impl QueryPairs {
    /// The value of `name`, decoded; an error where it stands there twice.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        self.0.one(name)
    }

    /// All pairs, decoded, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromRequest for QueryPairs {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(query(request).map(Self))
    }
}

fn query(request: &HttpRequest) -> Result<Pairs, Problem> {
    let text = request.query_string();
    if text.len() > Frame::of(request)?.limits.uri_bytes {
        return Err(Problem::of_status(StatusCode::URI_TOO_LONG));
    }
    let many = || Problem::bad_request("too_many_parameters", "The query has too many parameters.");
    Pairs::parse(text.as_bytes()).ok_or_else(many)
}

/// A form body of a page: `application/x-www-form-urlencoded`, no name twice, none also in the query.
#[derive(Debug, Clone)]
pub struct FormBody(Pairs);

impl FormBody {
    /// The value of `name`, decoded.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.one(name).ok().flatten()
    }

    /// All pairs, decoded, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromRequest for FormBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            if !is_media_type(&request, "application/x-www-form-urlencoded") {
                let detail = "Send a form, with Content-Type: application/x-www-form-urlencoded.";
                return Err(Problem::unsupported_media_type(detail));
            }
            let body = limited_body(&request, payload).await?;
            let many = || Problem::bad_request("too_many_parameters", "The form has too many members.");
            let pairs = Pairs::parse(&body).ok_or_else(many)?;
            if pairs.has_repeats() || pairs.has_any_of(&query(&request)?) {
                return Err(Repeated.into());
            }
            Ok(Self(pairs))
        })
    }
}

/// As [`FormBody`], for token endpoints: refused in the form of RFC 6749 §5.2, and any query at all is
/// refused, because parameters of these endpoints belong into the body (§3.2, §2.3.1).
#[derive(Debug, Clone)]
pub struct OauthForm(FormBody);

impl OauthForm {
    /// The value of `name`, decoded; nothing where it is empty (RFC 6749 §3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).filter(|value| !value.is_empty())
    }
}

impl FromRequest for OauthForm {
    type Error = OauthError;
    type Future = LocalBoxFuture<'static, Result<Self, OauthError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let has_query = !request.query_string().is_empty();
        let form = FormBody::from_request(request, payload);
        Box::pin(async move {
            if has_query {
                return Err(OauthError::invalid_request(
                    "parameters belong into the body, not into the query",
                ));
            }
            form.await.map(Self).map_err(|problem| match problem.status_code() {
                StatusCode::INTERNAL_SERVER_ERROR => {
                    OauthError::new(OauthErrorCode::ServerError, "something went wrong here")
                }
                _ => OauthError::invalid_request(
                    "send application/x-www-form-urlencoded, each parameter once, at most 64 KiB",
                ),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a04_a_repeated_parameter_has_no_value() {
        let pairs = Pairs::parse(b"state=a&code=x&state=b").unwrap();
        assert_eq!(pairs.one("state"), Err(Repeated));
        assert_eq!(pairs.one("code"), Ok(Some("x")));
        assert_eq!(pairs.one("iss"), Ok(None));
        assert!(pairs.has_repeats());
    }

    #[test]
    fn a_name_written_in_another_way_is_the_same_name() {
        assert_eq!(Pairs::parse(b"state=a&st%61te=b").unwrap().one("state"), Err(Repeated));
    }

    #[test]
    fn sixty_five_pairs_are_too_many() {
        assert!(Pairs::parse("a=1&".repeat(64).as_bytes()).is_some());
        assert!(Pairs::parse("a=1&".repeat(65).as_bytes()).is_none());
    }

    #[test]
    fn j01_debug_shows_no_value() {
        let pairs = Pairs::parse(b"code=canary").unwrap();
        assert_eq!(format!("{pairs:?}"), r#"["code"]"#);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(name in ".{1,20}", value in ".{0,40}") {
            let text = form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
            let pairs = Pairs::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(pairs.one(&name), Ok(Some(value.as_str())));
        }
    }
}
