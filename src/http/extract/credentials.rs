//! The `Authorization` header: Basic (RFC 7617), Bearer (RFC 6750 §2.1), or none. Nothing is checked here;
//! credentials in a query or a cookie are never looked at (H03).

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{AUTHORIZATION, HeaderMap},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::form_urlencoded;

use crate::{
    domain::secret::{BearerToken, Password},
    http::error::Problem,
};

const MAX_BYTES: usize = 8 * 1024;

/// What a request says about who sends it.
#[derive(Debug, Clone)]
pub enum Authorization {
    /// Nothing.
    Missing,
    /// Something that is neither Basic nor Bearer, malformed, over 8 KiB, or there twice.
    Unreadable,
    /// A name and a password.
    Basic(BasicCredentials),
    /// An access token.
    Bearer(BearerToken),
}

/// A name and a password (RFC 7617 §2).
#[derive(Debug, Clone)]
pub struct BasicCredentials {
    /// What stands before the first colon.
    pub user: String,
    /// What stands behind it.
    pub password: Password,
}

/// An access token; without one the request is a 401 with a Bearer challenge.
#[derive(Debug, Clone)]
pub struct Bearer(pub BearerToken);

impl Authorization {
    /// Reads the header.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(AUTHORIZATION);
        let line = match (lines.next(), lines.next()) {
            (None, _) => return Self::Missing,
            (Some(_), Some(_)) => return Self::Unreadable,
            (Some(line), None) => line.to_str().unwrap_or_default(),
        };
        let Some((scheme, rest)) = line.split_once(' ').filter(|_| line.len() <= MAX_BYTES) else {
            return Self::Unreadable;
        };
        let rest = rest.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") && is_b64token(rest) {
            Self::Bearer(BearerToken::new(rest))
        } else if scheme.eq_ignore_ascii_case("basic") {
            BasicCredentials::decode(rest).map_or(Self::Unreadable, Self::Basic)
        } else {
            Self::Unreadable
        }
    }
}

impl BasicCredentials {
    fn decode(text: &str) -> Option<Self> {
        let decoded = zeroize::Zeroizing::new(STANDARD.decode(text).ok()?);
        let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self { user: user.to_owned(), password: Password::new(password) })
    }

    /// Client id and secret: both parts were form-url-encoded before (RFC 6749 §2.3.1).
    pub fn form_decoded(&self) -> Self {
        Self { user: form_decoded(&self.user), password: Password::new(form_decoded(self.password.expose())) }
    }
}

/// `&` and `=` are plain characters here: there is one value, not a form.
fn form_decoded(text: &str) -> String {
    let whole = format!("={}", text.replace('&', "%26"));
    form_urlencoded::parse(whole.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

fn is_b64token(text: &str) -> bool {
    let core = text.trim_end_matches('=');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    !core.is_empty() && core.bytes().all(plain)
}

impl FromRequest for Authorization {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request.headers())))
    }
}

impl FromRequest for Bearer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match Authorization::of(request.headers()) {
            Authorization::Bearer(token) => Ok(Self(token)),
            Authorization::Missing | Authorization::Unreadable | Authorization::Basic(_) => {
                Err(Problem::unauthorized())
            }
        })
    }
}

/// For `/admin`: without credentials the request is a 401 with a Basic challenge.
impl FromRequest for BasicCredentials {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match Authorization::of(request.headers()) {
            Authorization::Basic(credentials) => Ok(credentials),
            Authorization::Missing | Authorization::Unreadable | Authorization::Bearer(_) => {
                Err(Problem::login_required())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Authorization {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
        }
        Authorization::of(&headers)
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        assert!(
            matches!(read(&["bEARER a.b-c_d"]), Authorization::Bearer(token) if token.expose() == "a.b-c_d")
        );
        let Authorization::Basic(basic) = read(&["basic b3duZXI6YTpi"]) else { panic!() };
        assert_eq!((basic.user.as_str(), basic.password.expose()), ("owner", "a:b"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_unreadable() {
        for lines in [
            &["Bearer a", "Bearer b"][..],
            &["Bearer a b"],
            &["Bearer "],
            &["Bearer"],
            &["Bearer ä"],
            &["Basic !"],
            &["Basic b3duZXI="],
            &["Digest x=y"],
        ] {
            assert!(matches!(read(lines), Authorization::Unreadable), "{lines:?}");
        }
        assert!(matches!(read(&[]), Authorization::Missing));
        assert!(matches!(read(&[&format!("Bearer {}", "a".repeat(9000))]), Authorization::Unreadable));
    }

    #[test]
    fn j01_debug_shows_no_password_and_no_token() {
        assert!(!format!("{:?}", read(&["Bearer canary"])).contains("canary"));
        assert!(!format!("{:?}", read(&["Basic b3duZXI6Y2FuYXJ5"])).contains("canary"));
    }

    proptest! {
        #[test]
        fn e10_a_client_secret_survives_both_encodings(id in ".{0,20}", secret in ".{0,20}") {
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let line = format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(&id), encode(&secret))));
            let Authorization::Basic(basic) = read(&[&line]) else { panic!() };
            let decoded = basic.form_decoded();
            prop_assert_eq!((decoded.user.as_str(), decoded.password.expose()), (id.as_str(), secret.as_str()));
        }

        #[test]
        fn e10_a_slots_own_secret_may_come_unencoded(secret in "[A-Za-z0-9_&=~.-]{0,40}") {
            let basic = BasicCredentials { user: "a".to_owned(), password: Password::new(secret.clone()) };
            let decoded = basic.form_decoded();
            prop_assert_eq!(decoded.password.expose(), secret.as_str());
        }
    }
}
