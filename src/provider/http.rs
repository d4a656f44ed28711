//! The one HTTP client through which anything leaves for a provider.
//!
//! | guarantee | carried by |
//! | --- | --- |
//! | https only, no user info, no literal private address | [`ProviderClient::send`], before anything else |
//! | public addresses only, checked at each connection | `resolver`; no connection is kept for a second request |
//! | no redirect, proxy, cookie, referrer, second attempt | how the client is built |
//! | connecting, and the whole exchange, end in time | [`Limits`], wall clock, the wait for a place included |
//! | no body over the limit, after decompression | the body is counted as it comes; at most one chunk more is held |
//! | no header section over the limit | counted once read; HTTP/1.1 alone, so hyper's own bounds of 100 headers and 408 KiB hold before |
//! | one host can't take every task | `gate` |
//!
//! Interim (1xx) responses are read and dropped one by one in that same bounded buffer; how many come is
//! bounded by the deadline alone, which also closes the connection.

use std::{error::Error as _, fmt, sync::Arc, time::Duration};

use reqwest::{
    Certificate, Client, RequestBuilder, Response,
    header::{ACCEPT, RETRY_AFTER, USER_AGENT},
    redirect, retry,
};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{
    gate::HostGate,
    request::{TokenRequest, authority},
    resolver::{AddressRefused, GuardedResolver, Lookup, SystemLookup},
};
use crate::domain::{
    address::{EgressPolicy, is_public},
    secret::AccessToken,
};

/// What one request may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the connection stands, name resolution and TLS included.
    pub connect: Duration,
    /// For the whole, from the call to the last byte.
    pub exchange: Duration,
    /// Bytes of a body, decompressed.
    pub body: usize,
    /// Bytes of all header names and values.
    pub headers: usize,
    /// Requests to one host at a time.
    pub per_host: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            exchange: Duration::from_secs(30),
            body: 256 * 1024,
            headers: 64 * 1024,
            per_host: 32,
        }
    }
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The additional roots are no certificates.
    #[error("egress.extra_roots can't be read: give certificates in PEM")]
    Roots(#[source] reqwest::Error),
    /// There is text, and no certificate in it.
    #[error("egress.extra_roots holds no certificate: give certificates in PEM")]
    NoRoots,
    /// TLS could not be set up.
    #[error("the HTTP client can't be set up: is a bundle of CA certificates installed?")]
    Setup(#[source] reqwest::Error),
}

/// Why a request brought no answer. Holds no URL and nothing of the answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The endpoint is not one that may be asked: its scheme, or an address that is not public.
    #[error("the endpoint may not be asked: it must be https on a public address")]
    Blocked,
    /// No connection, or one that broke.
    #[error("the provider can't be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No whole answer in time.
    #[error("the provider did not answer in time")]
    TimedOut,
    /// What came is no HTTP, or does not decompress.
    #[error("the provider's answer is no HTTP")]
    Invalid(#[source] reqwest::Error),
    /// More than [`Limits`] allows.
    #[error("the provider's answer is too large")]
    TooLarge,
}

/// What a token endpoint answered.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// The body, decompressed. Empty where the status alone decides: all but 2xx and 4xx.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The guarded client. Cheap to share behind an `Arc`; one per process.
pub struct ProviderClient {
    client: Client,
    egress: EgressPolicy,
    limits: Limits,
    gate: HostGate,
}

impl ProviderClient {
    /// A client that trusts the machine's roots and `extra_roots`, a PEM bundle that may be empty.
    pub fn new(egress: EgressPolicy, limits: Limits, extra_roots: &[u8]) -> Result<Self, ClientError> {
        Self::with_lookup(egress, limits, extra_roots, Arc::new(SystemLookup))
    }

    pub(super) fn with_lookup(
        egress: EgressPolicy,
        limits: Limits,
        extra_roots: &[u8],
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, ClientError> {
        let roots = Certificate::from_pem_bundle(extra_roots).map_err(ClientError::Roots)?;
        if roots.is_empty() && !extra_roots.trim_ascii().is_empty() {
            return Err(ClientError::NoRoots);
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .https_only(egress == EgressPolicy::PublicOnly)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(limits.connect)
            .dns_resolver(Arc::new(GuardedResolver::new(lookup, egress)))
            .tls_certs_merge(roots)
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { client, egress, limits, gate: HostGate::new(limits.per_host) })
    }

    /// Which hosts this client asks.
    pub fn egress(&self) -> EgressPolicy {
        self.egress
    }

    /// Sends a request once and reads the whole answer, whatever its status.
    pub async fn send(&self, request: TokenRequest) -> Result<Answer, SendError> {
        self.check(&request.endpoint)?;
        let host = request.authority();
        let TokenRequest { endpoint, headers, body } = request;
        self.answer_to(&host, self.client.post(endpoint).headers(headers).body(body.to_vec())).await
    }

    /// Reads a document, with `bearer` where it is not for everybody.
    pub async fn get(&self, endpoint: Url, bearer: Option<&AccessToken>) -> Result<Answer, SendError> {
        self.check(&endpoint)?;
        let host = authority(&endpoint);
        let request = self.client.get(endpoint).header(ACCEPT, "application/json");
        let request = request.header(USER_AGENT, concat!("cloudlink/", env!("CARGO_PKG_VERSION")));
        let request = match bearer {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        self.answer_to(&host, request).await
    }

    async fn answer_to(&self, host: &str, request: RequestBuilder) -> Result<Answer, SendError> {
        let answer = async {
            let _place = self.gate.enter(host).await;
            self.read(request.send().await.map_err(classify)?).await
        };
        tokio::time::timeout(self.limits.exchange, answer).await.map_err(|_| SendError::TimedOut)?
    }

    /// A literal address never reaches the resolver, so it is checked here.
    fn check(&self, endpoint: &Url) -> Result<(), SendError> {
        let named = endpoint.username().is_empty() && endpoint.password().is_none();
        let allowed = match (self.egress, endpoint.scheme(), endpoint.host()) {
            (EgressPolicy::AllowPrivate, "http" | "https", Some(_))
            | (EgressPolicy::PublicOnly, "https", Some(Host::Domain(_))) => true,
            (EgressPolicy::PublicOnly, "https", Some(Host::Ipv4(address))) => is_public(address.into()),
            (EgressPolicy::PublicOnly, "https", Some(Host::Ipv6(address))) => is_public(address.into()),
            (EgressPolicy::PublicOnly | EgressPolicy::AllowPrivate, _, _) => false,
        };
        if named && allowed { Ok(()) } else { Err(SendError::Blocked) }
    }

    async fn read(&self, mut response: Response) -> Result<Answer, SendError> {
        let size: usize =
            response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if size > self.limits.headers {
            return Err(SendError::TooLarge);
        }
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let mut body = Zeroizing::new(Vec::new());
        if matches!(status, 200..=299 | 400..=499) {
            while let Some(chunk) = response.chunk().await.map_err(classify)? {
                if body.len() + chunk.len() > self.limits.body {
                    return Err(SendError::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
        }
        Ok(Answer { status, retry_after, body })
    }
}

/// The cause decides, not the layer that reports it.
fn classify(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<AddressRefused>() {
            return SendError::Blocked;
        }
        if let Some(http) = inner.downcast_ref::<hyper::Error>() {
            return match http {
                http if http.is_parse_too_large() => SendError::TooLarge,
                http if http.is_parse() => SendError::Invalid(error),
                _ => SendError::Unreachable(error),
            };
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        SendError::TimedOut
    } else if error.is_decode() {
        SendError::Invalid(error)
    } else {
        SendError::Unreachable(error)
    }
}
