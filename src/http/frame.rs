//! What the middleware and the extractors need to know, as plain values: one `web::Data<Frame>` per app.

use std::{fmt, sync::Arc, time::Duration};

use actix_web::{HttpRequest, web};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ipnet::IpNet;

use crate::{
    domain::{
        clock::{Entropy, draw},
        public_url::PublicUrl,
    },
    http::{error::Problem, load::Load},
};

/// How much of a request is read, and for how long (J04).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all header names and values together.
    pub header_bytes: usize,
    /// Bytes of path and query.
    pub uri_bytes: usize,
    /// Bytes of a JSON or form body.
    pub body_bytes: usize,
    /// From the first to the last byte of a body.
    pub body_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            uri_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            body_time: Duration::from_secs(30),
        }
    }
}

/// The values that every request is handled with.
#[derive(Clone)]
pub struct Frame {
    /// The public origin.
    pub public_url: PublicUrl,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Draws request ids.
    pub entropy: Arc<dyn Entropy>,
    /// How much is read.
    pub limits: Limits,
    /// How many requests are handled at once.
    pub load: Load,
}

impl Frame {
    /// The frame of the app that handles `request`. An app that was built without one answers 500.
    pub fn of(request: &HttpRequest) -> Result<&Self, Problem> {
        let frame = request.app_data::<web::Data<Self>>();
        frame.map(web::Data::get_ref).ok_or_else(|| Problem::internal(&FrameMissing))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { public_url, trusted_proxies, entropy: _, limits, load } = self;
        f.debug_struct("Frame")
            .field("public_url", public_url)
            .field("trusted_proxies", trusted_proxies)
            .field("limits", limits)
            .field("load", load)
            .finish_non_exhaustive()
    }
}

/// The app was built without `web::Data<Frame>`.
#[derive(Debug, thiserror::Error)]
#[error("the app has no frame")]
struct FrameMissing;

/// Names one request in its answer and in the log: 96 random bits, never what the caller sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// A new id.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self(URL_SAFE_NO_PAD.encode(draw::<12>(entropy)).into())
    }

    /// The id as text: 16 characters of base64url.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
