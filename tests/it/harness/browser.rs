//! A browser: a cookie jar, no scripts, redirects followed by the test.

use std::collections::BTreeMap;

use reqwest::{
    Method,
    header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE},
};
use url::Url;

use super::Service;

/// A browser with an empty jar.
#[derive(Default, Clone)]
pub(crate) struct Browser {
    /// `name=value`, where the service has set one.
    pub(crate) cookie: Option<String>,
    /// Sent with every request, like `x-forwarded-for`.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// What it shows.
pub(crate) struct Page {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The HTML.
    pub(crate) html: String,
}

/// Where it was sent with the authorization request.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// The whole URL.
    pub(crate) url: Url,
    /// Its query.
    pub(crate) query: BTreeMap<String, String>,
}

impl Browser {
    /// Loads a page. `address` is a path, or one of the service's own public URLs.
    pub(crate) async fn open(&mut self, service: &Service, address: &str) -> Page {
        self.send(service, Method::GET, address, None).await
    }

    /// Posts a form.
    pub(crate) async fn post(&mut self, service: &Service, address: &str, form: &[(&str, &str)]) -> Page {
        self.send(service, Method::POST, address, Some(form)).await
    }

    /// Sends any request.
    pub(crate) async fn send(
        &mut self,
        service: &Service,
        method: Method,
        address: &str,
        form: Option<&[(&str, &str)]>,
    ) -> Page {
        let mut request = service.request(method, path(service, address));
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(form) = form {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        if let Some(set) = headers.get(SET_COOKIE) {
            self.cookie = set.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        Page { status, headers, html: answer.text().await.unwrap() }
    }

    /// Opens the connect page and presses Continue: where does the provider's page open?
    pub(crate) async fn consent(&mut self, service: &Service, connect_url: &str) -> Sent {
        let page = self.open(service, connect_url).await;
        assert_eq!(page.status, 200, "{}", page.html);
        let answer = self.decide(service, connect_url, &page, "continue").await;
        assert_eq!(answer.status, 303, "{}", answer.html);
        Sent::to(answer.location())
    }

    /// Presses a button of the connect page.
    pub(crate) async fn decide(&mut self, service: &Service, url: &str, page: &Page, decision: &str) -> Page {
        let csrf = page.csrf();
        self.post(service, url, &[("csrf", csrf.as_str()), ("decision", decision)]).await
    }

    /// Comes back from the provider with these members of the query, `state` apart.
    pub(crate) async fn callback(
        &mut self,
        service: &Service,
        sent: &Sent,
        members: &[(&str, &str)],
    ) -> Page {
        let address = sent.callback(members);
        self.open(service, &address).await
    }
}

impl Page {
    /// Where the browser is sent.
    #[track_caller]
    pub(crate) fn location(&self) -> &str {
        let location = self.headers.get(LOCATION).map(|location| location.to_str().unwrap());
        location.unwrap_or_else(|| panic!("no Location; {} {}", self.status, self.html))
    }

    /// The hidden value of the page's form.
    #[track_caller]
    pub(crate) fn csrf(&self) -> String {
        let at = self.html.find("name=\"csrf\"").expect("the page has a csrf field");
        let rest = &self.html[at..];
        let value = rest.split("value=\"").nth(1).expect("with a value");
        value.split('"').next().unwrap().to_owned()
    }
}

impl Sent {
    /// Reads an authorization request.
    pub(crate) fn to(location: &str) -> Self {
        let url = Url::parse(location).unwrap();
        let query = url.query_pairs().into_owned().collect();
        Self { url, query }
    }

    /// The callback URL that a provider would redirect to.
    pub(crate) fn callback(&self, members: &[(&str, &str)]) -> String {
        let mut url = Url::parse(&self.query["redirect_uri"]).unwrap();
        url.query_pairs_mut().extend_pairs(members).append_pair("state", &self.query["state"]);
        url.into()
    }
}

fn path<'a>(service: &Service, address: &'a str) -> &'a str {
    address.strip_prefix(service.public_url()).unwrap_or(address)
}
