//! Proof key for code exchange (RFC 7636), by `S256` alone.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{flow::UnknownWord, secret::CodeVerifier};

/// The hash of a verifier, as the authorization request carries it: 43 characters of base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeChallenge(String);

impl CodeChallenge {
    /// The challenge that `verifier` answers (RFC 7636 §4.2).
    pub fn of(verifier: &CodeVerifier) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes())))
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for CodeChallenge {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| UnknownWord)?;
        if bytes.len() == 32 { Ok(Self(text.to_owned())) } else { Err(UnknownWord) }
    }
}

/// Whether a text has the form of a verifier (RFC 7636 §4.1): 43 to 128 unreserved characters.
pub fn is_verifier(text: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a05_the_challenge_is_that_of_the_rfcs_example() {
        let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let challenge = CodeChallenge::of(&verifier);
        assert_eq!(challenge.as_str(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(challenge.as_str().parse(), Ok(challenge));
        assert!(is_verifier(verifier.expose()));
    }

    #[test]
    fn what_no_sha_256_can_be_is_no_challenge() {
        for bad in ["", "abc", &"A".repeat(42), &"A".repeat(44), &"+".repeat(43), &"B".repeat(43)] {
            assert_eq!(bad.parse::<CodeChallenge>(), Err(UnknownWord), "{bad}");
        }
        assert!(
            !is_verifier(&"a".repeat(42)) && !is_verifier(&"a".repeat(129)) && !is_verifier(&"ä".repeat(30))
        );
    }
}
