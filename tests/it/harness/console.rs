//! The owner's browser at the console: Basic with each request, forms filled in from the page.

use reqwest::Method;

use super::{OWNER, Service};

/// What the console answers.
pub(crate) struct Shown {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: reqwest::header::HeaderMap,
    /// The HTML.
    pub(crate) html: String,
}

impl Shown {
    /// A header as text; empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The page, if the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.html);
        self.html
    }

    /// The word of what was done, and where that is shown.
    #[track_caller]
    pub(crate) fn done(&self) -> (&str, &str) {
        assert_eq!(self.status, 303, "{}", self.html);
        self.header("location").split_once("?done=").expect("something was done")
    }

    /// The hidden value of the page's forms.
    #[track_caller]
    pub(crate) fn csrf(&self) -> String {
        let (_, rest) = self.html.split_once("name=\"csrf\" value=\"").expect("the page has a form");
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Service {
    /// A page of the console.
    pub(crate) async fn look(&self, path: &str) -> Shown {
        shown(self.admin(Method::GET, path).basic_auth(OWNER.0, Some(OWNER.1))).await
    }

    /// A form of the console, as its page sends it.
    pub(crate) async fn fill_in(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let csrf = self.look("/admin/enrolment").await.csrf();
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
        self.send_form(path, &fields).await
    }

    /// A form with these fields alone.
    pub(crate) async fn send_form(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        shown(form(self.admin(Method::POST, path).basic_auth(OWNER.0, Some(OWNER.1)), fields)).await
    }
}

/// Adds a form to a request.
pub(crate) fn form(request: reqwest::RequestBuilder, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

/// Sends a request and reads the answer.
pub(crate) async fn shown(request: reqwest::RequestBuilder) -> Shown {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Shown { status, headers, html: answer.text().await.unwrap() }
}
