//! Whether a provider's endpoints answer at all.

use super::{
    Finding,
    Severity::{Error, Warning},
};

/// What became of a request without credentials. Any status proves that somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// A server answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Whether the answer, a 4xx, names the redirect URI.
        names_redirect_uri: bool,
    },
    /// The host has an address that is not public.
    Private,
    /// The certificate is not one to be trusted.
    BadCertificate,
    /// No connection, or one that broke.
    Unreachable,
    /// No whole answer in time.
    TimedOut,
    /// What came is no HTTP, or too much of it.
    NoHttp,
}

/// What reaching `member`'s host tells.
pub fn of_reach(member: &str, reached: Reached) -> Option<Finding> {
    let (severity, code, detail) = match reached {
        Reached::Answered { status: 500.., .. } => {
            (Warning, "server_error", "its server answers with an error of its own: try again later")
        }
        Reached::Answered { .. } => return None,
        Reached::Private => (
            Error,
            "private_address",
            "its host has an address that is not public; addresses of private networks need egress.allow_private",
        ),
        Reached::BadCertificate => (
            Error,
            "bad_certificate",
            "its certificate is expired, for another name, or of an authority that this machine does not trust; a \
             private authority goes into egress.extra_roots",
        ),
        Reached::Unreachable => (
            Error,
            "unreachable",
            "its host can't be reached from here: check the spelling, DNS and the firewall",
        ),
        Reached::TimedOut => (Error, "timed_out", "its host does not answer in time"),
        Reached::NoHttp => (Error, "no_http", "what its host answers is no HTTP: check scheme and port"),
    };
    Some(Finding::about(severity, code, format!("/{member}"), detail))
}

/// What the page that people are sent to tells. `redirect_uri`: the one that was sent, where one was.
pub fn of_authorization_page(reached: Reached, redirect_uri: Option<&str>) -> Option<Finding> {
    match (reached, redirect_uri) {
        (Reached::Answered { status: 400..=499, names_redirect_uri: true }, Some(uri)) => {
            let detail = format!(
                "the provider turns an authorization request away with a page that names redirect_uri: see that {uri} \
                 is registered there, letter for letter. A hint, no proof"
            );
            Some(Finding::about(Warning, "redirect_uri_refused", "/redirect_uri", detail))
        }
        (Reached::Answered { status: 404 | 410, .. }, _) => Some(Finding::about(
            Warning,
            "endpoint_not_found",
            "/auth_endpoint",
            "its server knows no such page: check the path",
        )),
        (
            Reached::Answered { .. }
            | Reached::Private
            | Reached::BadCertificate
            | Reached::Unreachable
            | Reached::TimedOut
            | Reached::NoHttp,
            _,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(finding: Option<Finding>) -> Option<&'static str> {
        finding.map(|finding| finding.code)
    }

    fn answered(status: u16, names_redirect_uri: bool) -> Reached {
        Reached::Answered { status, names_redirect_uri }
    }

    #[test]
    fn any_status_proves_that_somebody_is_there() {
        for status in [200, 302, 400, 401, 404, 405, 429] {
            assert_eq!(of_reach("token_endpoint", answered(status, true)), None, "{status}");
        }
        let found = of_reach("token_endpoint", answered(503, false)).unwrap();
        assert_eq!((found.severity, found.code), (Warning, "server_error"));
    }

    #[test]
    fn each_way_of_not_being_reached_is_an_error_of_its_own() {
        for (reached, expected) in [
            (Reached::Private, "private_address"),
            (Reached::BadCertificate, "bad_certificate"),
            (Reached::Unreachable, "unreachable"),
            (Reached::TimedOut, "timed_out"),
            (Reached::NoHttp, "no_http"),
        ] {
            let found = of_reach("refresh_endpoint", reached).unwrap();
            assert_eq!((found.severity, found.code), (Error, expected));
            assert_eq!(found.field.as_deref(), Some("/refresh_endpoint"));
            assert_eq!(of_authorization_page(reached, Some("https://b.example/r")), None);
        }
    }

    #[test]
    fn only_a_4xx_that_names_the_redirect_uri_hints_at_its_registration() {
        let uri = Some("https://b.example/r");
        let found = of_authorization_page(answered(400, true), uri).unwrap();
        assert_eq!((found.severity, found.code), (Warning, "redirect_uri_refused"));
        assert!(
            found.detail.contains("https://b.example/r") && found.detail.contains("no proof"),
            "{found:?}"
        );
        assert_eq!(of_authorization_page(answered(200, true), uri), None);
        assert_eq!(of_authorization_page(answered(400, false), uri), None);
        assert_eq!(of_authorization_page(answered(400, true), None), None, "none was sent");
        assert_eq!(code(of_authorization_page(answered(404, false), uri)), Some("endpoint_not_found"));
    }
}
