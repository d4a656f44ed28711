//! What an authorization server says of itself (RFC 8414, `OpenID` Connect Discovery), as far as it matters here.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

use crate::domain::json::Object;

/// The longest URL that is believed, bytes.
const MAX_URL: usize = 2048;
/// The longest list that is read.
const MAX_LIST: usize = 1000;

/// An authorization server's metadata. Holds parsed values only; what does not fit is as if it were absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMetadata {
    /// The issuer, as plain text that is a URL.
    pub issuer: String,
    /// Where people are sent.
    pub authorization_endpoint: Option<Url>,
    /// Where codes are exchanged.
    pub token_endpoint: Option<Url>,
    /// Where tokens are revoked.
    pub revocation_endpoint: Option<Url>,
    /// How clients may authenticate; `None` where nothing is said.
    pub token_auth_methods: Option<BTreeSet<String>>,
    /// Code challenge methods; `None` where nothing is said.
    pub code_challenge_methods: Option<BTreeSet<String>>,
    /// Scopes; `None` where nothing is said. Servers need not name all (RFC 8414 §2).
    pub scopes: Option<BTreeSet<String>>,
    /// Grant types; `None` where nothing is said.
    pub grant_types: Option<BTreeSet<String>>,
    /// Whether redirects carry `iss` (RFC 9207 §3).
    pub sends_iss: bool,
}

impl ServerMetadata {
    /// Reads a document. `None` where it has no usable issuer: then it is no metadata.
    pub fn parse(document: &Object) -> Option<Self> {
        let issuer = document.get("issuer")?.as_str()?;
        url(issuer)?;
        let endpoint = |name: &str| document.get(name).and_then(Value::as_str).and_then(url);
        let words = |name: &str| words(document.get(name)?);
        Some(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: endpoint("authorization_endpoint"),
            token_endpoint: endpoint("token_endpoint"),
            revocation_endpoint: endpoint("revocation_endpoint"),
            token_auth_methods: words("token_endpoint_auth_methods_supported"),
            code_challenge_methods: words("code_challenge_methods_supported"),
            scopes: words("scopes_supported"),
            grant_types: words("grant_types_supported"),
            sends_iss: document.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
        })
    }
}

/// An http(s) URL in plain ASCII without user info.
fn url(text: &str) -> Option<Url> {
    let plain = text.len() <= MAX_URL && text.bytes().all(|b| b.is_ascii_graphic());
    let url = Url::parse(text).ok().filter(|_| plain)?;
    let fits =
        matches!(url.scheme(), "https" | "http") && url.username().is_empty() && url.password().is_none();
    fits.then_some(url)
}

fn words(list: &Value) -> Option<BTreeSet<String>> {
    let list = list.as_array().filter(|list| list.len() <= MAX_LIST)?;
    Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Where metadata of one authorization server may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataLocation {
    /// RFC 8414 §3.1: the well-known path stands between host and path.
    pub oauth: Url,
    /// `OpenID` Connect Discovery §4: it stands behind the path.
    pub openid: Url,
}

impl MetadataLocation {
    /// For the issuer, or any URL at its origin where `origin_only`.
    pub fn of(issuer: &Url, origin_only: bool) -> Self {
        let path = if origin_only { "" } else { issuer.path().trim_end_matches('/') };
        let at = |path: &str| {
            let mut url = issuer.clone();
            url.set_query(None);
            url.set_fragment(None);
            url.set_path(path);
            url
        };
        Self {
            oauth: at(&format!("/.well-known/oauth-authorization-server{path}")),
            openid: at(&format!("{path}/.well-known/openid-configuration")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(document: &Value) -> Option<ServerMetadata> {
        ServerMetadata::parse(document.as_object().unwrap())
    }

    #[test]
    fn what_does_not_fit_is_as_if_it_were_absent() {
        let metadata = parse(&json!({
            "issuer": "https://p.example/i", "authorization_endpoint": "javascript:alert(1)",
            "token_endpoint": "https://u:p@p.example/", "revocation_endpoint": ["https://p.example"],
            "scopes_supported": ["a", 7, null], "grant_types_supported": "code",
            "authorization_response_iss_parameter_supported": "true",
        }))
        .unwrap();
        assert_eq!(metadata.authorization_endpoint, None);
        assert_eq!((metadata.token_endpoint, metadata.revocation_endpoint), (None, None));
        assert_eq!(metadata.scopes, Some(BTreeSet::from(["a".to_owned()])));
        assert_eq!((metadata.grant_types, metadata.sends_iss), (None, false));
        for issuer in [json!(null), json!(7), json!("p.example"), json!("https://p.example/\u{e9}")] {
            assert_eq!(parse(&json!({ "issuer": issuer })), None, "{issuer}");
        }
        assert_eq!(parse(&json!({"issuer": format!("https://p.example/{}", "a".repeat(3000))})), None);
    }

    #[test]
    fn metadata_lies_between_host_and_path_or_behind_the_path() {
        let issuer = Url::parse("https://p.example/realms/home/?x=1#y").unwrap();
        let location = MetadataLocation::of(&issuer, false);
        let oauth = "https://p.example/.well-known/oauth-authorization-server/realms/home";
        assert_eq!(location.oauth.as_str(), oauth);
        assert_eq!(
            location.openid.as_str(),
            "https://p.example/realms/home/.well-known/openid-configuration"
        );
        let location = MetadataLocation::of(&issuer, true);
        assert_eq!(location.oauth.as_str(), "https://p.example/.well-known/oauth-authorization-server");
        assert_eq!(location.openid.as_str(), "https://p.example/.well-known/openid-configuration");
    }
}
