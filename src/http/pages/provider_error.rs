//! The words by which a provider says no, as far as the standards know them.

use std::fmt;

/// A registered error code. Only these reach a page: a provider's own words never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderError(&'static str);

/// RFC 6749 §4.1.2.1 and §5.2; the last five are `OpenID` Connect Core §3.1.2.6 and RFC 8707 §2.
const KNOWN: [&str; 15] = [
    "access_denied",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "login_required",
    "invalid_target",
];

impl ProviderError {
    /// The code, if it is one of the standards'.
    pub fn known(code: &str) -> Option<Self> {
        KNOWN.into_iter().find(|known| *known == code).map(Self)
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e08_a_providers_own_words_are_no_known_code() {
        assert_eq!(
            ProviderError::known("invalid_scope").map(|e| e.to_string()).as_deref(),
            Some("invalid_scope")
        );
        for word in ["", "INVALID_SCOPE", "invalid_scope ", "call +1 555 0100", "<b>"] {
            assert_eq!(ProviderError::known(word), None, "{word}");
        }
    }
}
