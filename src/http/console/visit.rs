//! Who comes to the console, and whether what they post is theirs.

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::{
        header::{HOST, HeaderName, ORIGIN},
        uri::Authority,
    },
    web,
};
use futures_util::future::LocalBoxFuture;
use url::{Host, Url};

use super::{
    page::{Around, Done, Section},
    refused::Refused,
};
use crate::{
    domain::{
        audit::{Actor, Origin},
        binding::ClientNetwork,
        public_url::PublicUrl,
    },
    flows::Broker,
    http::{
        caller,
        error::Problem,
        extract::{Authorization, ClientAddress, FormBody, QueryPairs},
        frame::Frame,
    },
};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The owner, in a browser.
#[derive(Debug)]
pub(super) struct Visit {
    /// Where they are.
    pub(super) network: ClientNetwork,
    done: Option<Done>,
    csrf: String,
}

impl Visit {
    /// Who changes what they change, for the audit record.
    pub(super) fn origin(&self) -> Origin {
        Origin::of(Actor::Owner, self.network)
    }

    /// What stands around a page.
    pub(super) fn around(self, section: Section) -> Around {
        Around { section, done: self.done, csrf: self.csrf }
    }
}

impl FromRequest for Visit {
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            if !is_for_us(&request, &Frame::of(&request)?.public_url) {
                return Err(Refused::Elsewhere);
            }
            let broker = request.app_data::<web::Data<Broker>>().ok_or_else(Problem::not_found)?;
            let Authorization::Basic(credentials) = Authorization::of(request.headers()) else {
                return Err(Refused::no_login(broker));
            };
            match caller::owner(&request, broker, &credentials).await {
                Ok(_) => {}
                Err(problem) if problem.code() == Problem::unauthorized().code() => {
                    return Err(Refused::no_login(broker));
                }
                Err(problem) => return Err(problem.into()),
            }
            let query = QueryPairs::extract(&request).await?;
            let done = query.one("done").ok().flatten().and_then(Done::of);
            let network = ClientAddress::extract(&request).await?.0;
            Ok(Self { network, done, csrf: broker.console_csrf() })
        })
    }
}

/// A form that the owner filled in on a page of the console.
#[derive(Debug)]
pub(super) struct Posted {
    /// The owner.
    pub(super) visit: Visit,
    form: FormBody,
}

impl Posted {
    /// A field; empty where the form has none of that name.
    pub(super) fn field(&self, name: &str) -> &str {
        self.form.get(name).unwrap_or_default()
    }

    /// The fields whose names begin with `prefix`, without it.
    pub(super) fn fields_below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.form.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
    }
}

impl FromRequest for Posted {
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let visit = Visit::extract(&request).await?;
            if is_from_elsewhere(&request) {
                return Err(Refused::Foreign);
            }
            let form = FormBody::from_request(&request, &mut payload).await;
            let form = form.map_err(|problem| match problem.code() {
                // What is no form has no csrf either.
                "unsupported_media_type" => Refused::Stale,
                _ => problem.into(),
            })?;
            let broker = request.app_data::<web::Data<Broker>>().ok_or_else(Problem::not_found)?;
            if !form.get("csrf").is_some_and(|given| broker.is_console_csrf(given)) {
                return Err(Refused::Stale);
            }
            Ok(Self { visit, form })
        })
    }
}

/// The host that a request names, as browsers write it.
fn host(request: &HttpRequest) -> Option<&str> {
    let line = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    line.or_else(|| request.uri().authority().map(Authority::as_str))
}

/// Whether the request names this machine by address, by `localhost` or by the public name. Any other name may be
/// one that a stranger points here, to make a browser believe that their page and this one are the same site.
fn is_for_us(request: &HttpRequest, public_url: &PublicUrl) -> bool {
    let named = host(request).and_then(|host| Url::parse(&format!("http://{host}/")).ok());
    let public = Url::parse(public_url.origin()).ok();
    match named.as_ref().and_then(Url::host) {
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        Some(Host::Domain(name)) => {
            name == "localhost"
                || name.ends_with(".localhost")
                || public.as_ref().and_then(Url::host_str) == Some(name)
        }
        None => false,
    }
}

/// Whether the browser says that another site's page sends this. `Origin: null` says nothing: our own pages tell no
/// referrer, so that is what their forms have.
fn is_from_elsewhere(request: &HttpRequest) -> bool {
    let said = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = said(FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = said(ORIGIN).is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let ours =
            authority.zip(host(request)).is_some_and(|(theirs, ours)| theirs.eq_ignore_ascii_case(ours));
        origin != "null" && !ours
    });
    site || origin
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_console_answers_to_addresses_and_to_names_of_its_own_alone() {
        let public: PublicUrl = "https://link.example".parse().unwrap();
        for (name, ours) in [
            ("127.0.0.1:8081", true),
            ("[::1]:8081", true),
            ("192.168.1.7", true),
            ("localhost:8081", true),
            ("LOCALHOST", true),
            ("cloudlink.localhost", true),
            ("link.example", true),
            ("link.example:8443", true),
            ("evil.example:8081", false),
            ("localhost.evil.example", false),
            ("link.example.evil.example", false),
            ("a b", false),
            ("", false),
        ] {
            let request = TestRequest::default().insert_header((HOST, name)).to_http_request();
            assert_eq!(is_for_us(&request, &public), ours, "{name:?}");
        }
    }

    #[test]
    fn i06_what_a_browser_says_of_another_site_is_believed() {
        let asked = |headers: &[(&str, &str)]| {
            let mut request = TestRequest::default().insert_header((HOST, "127.0.0.1:8081"));
            for header in headers {
                request = request.insert_header(*header);
            }
            is_from_elsewhere(&request.to_http_request())
        };
        for ours in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:8081")],
            &[("origin", "null"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(!asked(ours), "{ours:?}");
        }
        for theirs in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "http://127.0.0.1:8081"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(asked(theirs), "{theirs:?}");
        }
    }
}
