//! The cookie that ties a flow to one browser, and what else a browser's request must have.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpRequest,
    cookie::{Cookie, SameSite},
    dev::Payload,
    http::header::ORIGIN,
};

use super::{error::Problem, frame::Frame};
use crate::domain::{clock::Entropy, public_url::PublicUrl, secret::BrowserCookie};

/// What a browser's request says of itself.
#[derive(Debug)]
pub struct Browser {
    /// Its cookie, where it has one of ours.
    pub cookie: Option<BrowserCookie>,
    /// Where the form that it posts came from.
    pub origin: FormOrigin,
}

/// Where a posted form came from, as the browser says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormOrigin {
    /// From a page of ours, or the browser keeps it to itself (`null`, or nothing: privacy settings do that).
    OursOrUnsaid,
    /// From somebody else's page.
    Foreign,
}

impl FromRequest for Browser {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Frame::of(request).map(|frame| Self {
            cookie: cookie(request, &frame.public_url),
            origin: origin(request, &frame.public_url),
        }))
    }
}

fn cookie(request: &HttpRequest, public_url: &PublicUrl) -> Option<BrowserCookie> {
    let value = request.cookie(cookie_name(public_url))?;
    let drawn_here = value.value().len() == 43
        && value.value().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    drawn_here.then(|| BrowserCookie::new(value.value()))
}

fn origin(request: &HttpRequest, public_url: &PublicUrl) -> FormOrigin {
    let said = request.headers().get(ORIGIN).map(|origin| origin.to_str().unwrap_or("?"));
    match said {
        None | Some("null") => FormOrigin::OursOrUnsaid,
        Some(origin) if origin == public_url.origin() => FormOrigin::OursOrUnsaid,
        Some(_) => FormOrigin::Foreign,
    }
}

/// With TLS the browser itself keeps other hosts from setting it (RFC 6265bis, `__Host-`).
fn cookie_name(public_url: &PublicUrl) -> &'static str {
    if public_url.is_https() { "__Host-cloudlink" } else { "cloudlink" }
}

/// A new browser's cookie. It lives until the browser is closed.
pub fn new_cookie(entropy: &dyn Entropy, public_url: &PublicUrl) -> (BrowserCookie, Cookie<'static>) {
    let value = BrowserCookie::draw(entropy);
    let cookie = Cookie::build(cookie_name(public_url), value.expose().to_owned())
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(public_url.is_https())
        .finish();
    (value, cookie)
}
