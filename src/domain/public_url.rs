//! Where the world finds this service. All its own URLs are made from this and never from a request (D08).

use std::{fmt, str::FromStr};

use url::{Host, Url};

use super::{ids::PluginId, plugin::RedirectUriKind};

/// Path of the shared redirect URI; a plugin's own one is below it.
pub const REDIRECT_PATH: &str = "/api/cloudlink/redirect";

/// The origin of this service, `https://cloudlink.example`: no path, no trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    loopback: bool,
    https: bool,
}

/// Why a text is no public URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an http or https URL with a host and nothing behind it, like https://cloudlink.example")]
pub struct PublicUrlError;

impl PublicUrl {
    /// The origin, as browsers write it in `Origin`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it is served over TLS.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether it names this machine alone.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// A URL of ours; `path` begins with a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// One of a plugin's two redirect URIs.
    pub fn redirect_uri(&self, kind: RedirectUriKind, plugin: &PluginId) -> String {
        match kind {
            RedirectUriKind::Shared => self.join(REDIRECT_PATH),
            RedirectUriKind::Own => format!("{}{REDIRECT_PATH}/{plugin}", self.origin),
        }
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;
    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let url = Url::parse(text).map_err(|_| PublicUrlError)?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let https = url.scheme() == "https";
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => return Err(PublicUrlError),
        };
        if bare && (https || url.scheme() == "http") {
            Ok(Self { origin: url.origin().ascii_serialization(), loopback, https })
        } else {
            Err(PublicUrlError)
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_urls_begin_with_the_origin() {
        let url: PublicUrl = "https://Cloudlink.example:443/".parse().unwrap();
        assert_eq!(url.origin(), "https://cloudlink.example");
        let plugin = "ecobee".parse().unwrap();
        assert_eq!(
            url.redirect_uri(RedirectUriKind::Own, &plugin),
            "https://cloudlink.example/api/cloudlink/redirect/ecobee"
        );
        assert_eq!(
            url.redirect_uri(RedirectUriKind::Shared, &plugin),
            "https://cloudlink.example/api/cloudlink/redirect"
        );
    }

    #[test]
    fn anything_behind_the_host_is_refused() {
        for bad in [
            "",
            "cloudlink.example",
            "ftp://h/",
            "https://h/path",
            "https://h/?q",
            "https://h/#f",
            "https://u@h/",
        ] {
            assert_eq!(bad.parse::<PublicUrl>(), Err(PublicUrlError), "{bad}");
        }
    }

    #[test]
    fn loopback_is_known_by_its_address_or_name() {
        for (text, loopback) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("http://localhost.evil.example", false),
            ("http://192.168.1.2", false),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
