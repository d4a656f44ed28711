//! Operators through OpenID Connect: at which provider, and whose accounts may operate this service.

use std::{fmt, str::FromStr};

use url::Url;

use super::{flow::UnknownWord, secret::ClientSecret};

/// The provider's name: an http(s) URL without query and fragment, compared as plain text (RFC 8414 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    url: Url,
}

impl Issuer {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As an address: its host is shown to people.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it is served over TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Where the provider describes itself (OpenID Connect Discovery §4).
    pub fn configuration(&self) -> Option<Url> {
        Url::parse(&format!("{}/.well-known/openid-configuration", self.text.trim_end_matches('/'))).ok()
    }
}

impl FromStr for Issuer {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let url = Url::parse(text).map_err(|_| UnknownWord)?;
        let web = matches!(url.scheme(), "http" | "https") && url.has_host();
        let bare = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if web && bare { Ok(Self { text: text.to_owned(), url }) } else { Err(UnknownWord) }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `[login.oidc]`
#[derive(Debug, Clone)]
pub struct OpenIdSettings {
    /// The provider.
    pub issuer: Issuer,
    /// What this service is called there.
    pub client_id: String,
    /// What it proves that with; nothing for a public client, which has PKCE alone.
    pub client_secret: Option<ClientSecret>,
    /// Whose accounts are operators'.
    pub operators: Operators,
}

/// Whose accounts may operate this service.
#[derive(Debug, Clone, Default)]
pub struct Operators {
    /// `sub` of accounts.
    pub subjects: Vec<String>,
    /// Domains of e-mail addresses, in small letters.
    pub domains: Vec<String>,
}

/// Who signed in at the provider, as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIdAccount {
    /// `sub`: who, for as long as the account exists.
    pub subject: String,
    /// `email`, where the provider has verified it.
    pub verified_email: Option<String>,
}

impl Operators {
    /// Whether this account is an operator's.
    pub fn include(&self, account: &OpenIdAccount) -> bool {
        let domain = account.verified_email.as_deref().and_then(|email| email.rsplit_once('@'));
        let domain = domain.map(|(_, domain)| domain.to_ascii_lowercase());
        self.subjects.contains(&account.subject)
            || domain.is_some_and(|domain| !domain.is_empty() && self.domains.contains(&domain))
    }

    /// Whether the account's e-mail address would decide.
    pub fn ask_for_email(&self, subject: &str) -> bool {
        !self.domains.is_empty() && !self.subjects.iter().any(|known| known == subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_known_by_subject_or_by_the_domain_of_a_verified_address() {
        let operators = Operators { subjects: vec!["ada".into()], domains: vec!["example.org".into()] };
        let account = |subject: &str, email: Option<&str>| OpenIdAccount {
            subject: subject.to_owned(),
            verified_email: email.map(str::to_owned),
        };
        assert!(operators.include(&account("ada", None)));
        assert!(operators.include(&account("x", Some("bob@Example.ORG"))));
        for (subject, email) in [
            ("ADA", None),
            ("x", None),
            ("x", Some("example.org")),
            ("x", Some("bob@example.org@evil.example")),
            ("x", Some("bob@sub.example.org")),
            ("x", Some("bob@notexample.org")),
            ("x", Some("bob@")),
        ] {
            assert!(!operators.include(&account(subject, email)), "{subject} {email:?}");
        }
        assert!(!Operators::default().include(&account("", Some("@"))));
    }

    #[test]
    fn an_issuer_is_kept_as_it_was_written_and_has_nothing_behind_its_path() {
        let issuer: Issuer = "https://accounts.example/realms/a/".parse().unwrap();
        assert_eq!(issuer.as_str(), "https://accounts.example/realms/a/");
        let address = issuer.configuration().unwrap();
        assert_eq!(address.as_str(), "https://accounts.example/realms/a/.well-known/openid-configuration");
        for bad in ["", "accounts.example", "ftp://a/", "https://a/?b", "https://a/#b", "https://u@a/"] {
            assert_eq!(bad.parse::<Issuer>(), Err(UnknownWord), "{bad}");
        }
    }
}
