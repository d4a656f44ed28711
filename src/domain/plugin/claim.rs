//! Which client at which servers a configuration speaks for (B03; the contract's flow, 3).
//!
//! Origins are compared as text, `{name}` included where no value is known: at `connect` all variables have
//! one, so that only callback parameters and slots not yet set up leave a placeholder.

use std::collections::BTreeMap;

use url::Url;

use super::{
    configuration::OauthConfiguration,
    template::{Piece, pieces, placeholders},
};

/// Which client at which servers a configuration speaks for. Two plugins that claim the same
/// authorization server with different token servers, or the same client, cannot both be honest by
/// default (the contract's flow, 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Origin of `auth_endpoint`, ASCII; may hold `{name}` where no value is known.
    pub auth_origin: String,
    /// Origin of `token_endpoint`, likewise.
    pub token_origin: String,
    /// The client identifier.
    pub client_id: String,
}

impl OauthConfiguration {
    /// What this configuration claims with these values of its variables.
    pub fn claim(&self, values: &BTreeMap<String, String>) -> Claim {
        Claim {
            auth_origin: self.auth_endpoint.origin(values),
            token_origin: self.token_endpoint.origin(values),
            client_id: self.client_id.clone(),
        }
    }
}

impl Claim {
    /// Whether another plugin's claim stands against this one: the same authorization origin with the same
    /// client, or with a token origin that is not certainly the same. A token origin with a placeholder never
    /// is: its value comes with the callback, and two configurations may let different values through.
    pub fn conflicts_with(&self, other: &Claim) -> bool {
        let same_token_origin =
            self.token_origin == other.token_origin && placeholders(&self.token_origin).is_empty();
        may_be_equal(&self.auth_origin, &other.auth_origin)
            && (self.client_id == other.client_id || !same_token_origin)
    }
}

/// The serialised origin of the URL `text` where it is one; otherwise (placeholders) `text` without its default port.
pub(super) fn normal_origin(text: &str) -> String {
    if placeholders(text).is_empty()
        && let Ok(url) = Url::parse(text)
    {
        return url.origin().ascii_serialization();
    }
    let default_port = if text.starts_with("https://") { ":443" } else { ":80" };
    text.strip_suffix(default_port).unwrap_or(text).to_owned()
}

/// One letter of an origin, or any number of them.
#[derive(Clone, Copy)]
enum Letter {
    One(char),
    /// `{name}` within a host: any letters of a host.
    Host,
    /// `{name}` in place of a whole URL: any letters.
    Any,
}

impl Letter {
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::One(a), Self::One(b)) => a == b,
            (Self::Host, Self::One(c)) => c.is_ascii_alphanumeric() || c == '-' || c == '.',
            (Self::Any, Self::One(_)) | (Self::Host | Self::Any, Self::Host | Self::Any) => true,
            (Self::One(_), Self::Host | Self::Any) => false,
        }
    }

    fn repeats(self) -> bool {
        !matches!(self, Self::One(_))
    }
}

fn letters(origin: &str) -> Vec<Letter> {
    let whole = origin.starts_with('{');
    let mut letters = Vec::new();
    for piece in pieces(origin) {
        match piece {
            Piece::Text(text) => letters.extend(text.chars().map(Letter::One)),
            Piece::Placeholder(_) => letters.push(if whole { Letter::Any } else { Letter::Host }),
        }
    }
    letters
}

/// Whether some values make one and the same origin of both. `row[j]` says whether what was read of `a` can
/// equal the first `j` letters of `b`.
fn may_be_equal(a: &str, b: &str) -> bool {
    let (a, b) = (letters(a), letters(b));
    let mut row = vec![true];
    for letter in &b {
        row.push(letter.repeats() && row.last() == Some(&true));
    }
    for &left in &a {
        let mut next = vec![left.repeats() && row.first() == Some(&true)];
        for (&right, above) in b.iter().zip(row.windows(2)) {
            let (diagonal, up) = (above.first() == Some(&true), above.last() == Some(&true));
            let before = next.last() == Some(&true);
            let equal = match (left.repeats(), right.repeats()) {
                (false, false) => diagonal && left.covers(right),
                (true, false) => up || (before && left.covers(right)),
                (false, true) => before || (up && right.covers(left)),
                (true, true) => up || before,
            };
            next.push(equal);
        }
        row = next;
    }
    row.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(auth: &str, token: &str, client: &str) -> Claim {
        Claim { auth_origin: auth.into(), token_origin: token.into(), client_id: client.into() }
    }

    #[test]
    fn b03_the_same_client_at_the_same_server_belongs_to_one_plugin() {
        let honest = claim("https://auth.example", "https://auth.example", "a");
        assert!(honest.conflicts_with(&honest.clone()));
        assert!(!honest.conflicts_with(&claim("https://auth.example", "https://auth.example", "b")));
        assert!(!honest.conflicts_with(&claim("https://other.example", "https://auth.example", "a")));
    }

    #[test]
    fn b03_another_token_server_for_the_same_authorization_server_is_a_conflict() {
        let honest = claim("https://auth.example", "https://auth.example", "a");
        for token in
            ["https://evil.example", "https://auth.example:8443", "http://auth.example", "{location}"]
        {
            let other = claim("https://auth.example", token, "b");
            assert!(honest.conflicts_with(&other) && other.conflicts_with(&honest), "{token}");
        }
        let open = claim("https://auth.example", "{location}", "a");
        assert!(open.conflicts_with(&claim("https://auth.example", "{location}", "b")));
    }

    #[test]
    fn b03_a_placeholder_in_a_host_matches_any_text_there() {
        let table = [
            ("https://{tenant}.okta.com", "https://home.okta.com", true),
            ("https://{tenant}.okta.com", "https://{other}.okta.com", true),
            ("https://{a}.eu.x.com", "https://us.{b}.x.com", true),
            ("https://{tenant}.okta.com", "https://okta.com", false),
            ("https://{tenant}.okta.com", "https://home.auth0.com", false),
            ("https://{tenant}.okta.com", "https://home.okta.com:8443", false),
            ("https://{tenant}.okta.com", "http://home.okta.com", false),
            ("https://{host}", "https://any.example", true),
            ("https://{host}", "https://any.example:8443", false),
            ("{base}", "http://any.example:8443", true),
            ("{base}", "https://{x}.example", true),
        ];
        for (left, right, equal) in table {
            assert_eq!(may_be_equal(left, right), equal, "{left} {right}");
            assert_eq!(may_be_equal(right, left), equal, "{right} {left}");
        }
    }

    #[test]
    fn an_origin_is_written_in_one_way() {
        assert_eq!(normal_origin("https://Auth.Example:443"), "https://auth.example");
        assert_eq!(normal_origin("https://{a}.example:443"), "https://{a}.example");
        assert_eq!(normal_origin("http://{a}.example:443"), "http://{a}.example:443");
    }
}
