//! What a provider's failure is, without a word of its body.

use std::{fmt, time::Duration};

/// The `error` of a provider's answer (RFC 6749 §5.2): 1 to 64 ASCII letters, digits, `_`, `-` and `.`, which
/// covers every registered code and leaves no room for markup or line breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCode(Box<str>);

impl ErrorCode {
    /// Parses a code; what does not fit is no code, and is forgotten.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then(|| Self(text.into()))
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The grant is gone: only the user can give a new one (RFC 6749 §5.2).
    pub fn is_invalid_grant(&self) -> bool {
        &*self.0 == "invalid_grant"
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an answer brings no tokens. Nothing of its body is in here but a validated code (E08).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The provider said no, with a 4xx, or with a 2xx that says so in its body.
    #[error("the provider refused (status {status})")]
    Refused {
        /// The provider's code, where it gave a well-formed one.
        code: Option<ErrorCode>,
        /// The HTTP status.
        status: u16,
    },
    /// 5xx, 408 or 429: later may do.
    #[error("the provider is not available")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// What `Retry-After` said, one day at most.
        retry_after: Option<Duration>,
    },
    /// Neither tokens nor a refusal: a page, a redirect, wrong types.
    #[error("the provider's answer is no token response")]
    Invalid,
    /// The token object is over 48 KiB.
    #[error("the provider's token object is too large")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_of_the_rfc_is_a_code_and_markup_is_none() {
        assert!(ErrorCode::parse("invalid_grant").unwrap().is_invalid_grant());
        assert!(!ErrorCode::parse("invalid_client").unwrap().is_invalid_grant());
        for text in ["", "<b>", "a b", "a\n", "é", &"x".repeat(65)] {
            assert_eq!(ErrorCode::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn e08_a_code_never_holds_anything_but_its_characters(text in ".*") {
            if let Some(code) = ErrorCode::parse(&text) {
                prop_assert!(code.as_str().chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)));
            }
        }
    }
}
