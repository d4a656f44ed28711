//! A flow: one attempt to link a slot to an account at a provider.
//!
//! ```text
//! pending ──continue──▶ authorizing ──redeem──▶ exchanging ──store──▶ linked
//!    │                    │      │                 │    └──stage──▶ confirm ──code──▶ linked
//!    └──cancel──▶ denied ◀┘      └──burn──▶ failed ◀┘                  └──5 wrong──▶ failed
//! ```
//! Each arrow is one guarded update in `store/flows`. What has not ended when its time is up is `expired`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    clock::{Entropy, draw},
    secret::{ConfirmCode, UserCode},
};

/// Wrong confirm codes that end a flow.
pub const CONFIRM_ATTEMPTS: i16 = 5;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The contract's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word { $($word => Ok(Self::$variant),)* _ => Err(UnknownWord) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
pub(super) use words;

/// The word is none of the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an unknown word")]
pub struct UnknownWord;

words! {
    /// How far a flow has come.
    FlowStatus {
        /// Started; no browser has continued.
        Pending = "pending",
        /// A browser was sent to the provider.
        Authorizing = "authorizing",
        /// The code came back and is being exchanged.
        Exchanging = "exchanging",
        /// The tokens are staged until the code is typed where the flow was started.
        Confirm = "confirm",
        /// Done.
        Linked = "linked",
        /// The person said no, here or at the provider.
        Denied = "denied",
        /// It ran out of time.
        Expired = "expired",
        /// It went wrong.
        Failed = "failed",
    }

    /// Why a flow was denied or failed.
    FlowError {
        /// The person refused at the provider.
        AccessDenied = "access_denied",
        /// The person pressed Cancel here.
        Cancelled = "cancelled",
        /// The provider refused, or could not be asked safely.
        ExchangeFailed = "exchange_failed",
        /// The provider is away.
        ProviderUnavailable = "provider_unavailable",
        /// The provider's answer holds no tokens.
        InvalidAnswer = "invalid_answer",
        /// The provider's answer is too large.
        AnswerTooLarge = "answer_too_large",
        /// The confirm code was wrong too often.
        WrongCode = "wrong_code",
        /// The answer came from another issuer than was asked.
        IssuerMismatch = "issuer_mismatch",
    }
}

impl FlowStatus {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Linked | Self::Denied | Self::Expired | Self::Failed)
    }
}

/// Where the browser goes when the flow has ended: absolute http(s), no user info.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnUrl(Url);

impl ReturnUrl {
    /// Longest URL taken, bytes.
    pub const LONGEST: usize = 2048;

    /// The URL with the flow's end appended to its query; query and fragment stay.
    pub fn with_end(&self, end: FlowEnd) -> Url {
        let mut url = self.0.clone();
        url.query_pairs_mut().append_pair("cloudlink", end.as_str());
        url
    }

    /// The URL as given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Why a URL can't be returned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an absolute http or https URL without user info, of at most 2048 characters")]
pub struct ReturnUrlError;

impl FromStr for ReturnUrl {
    type Err = ReturnUrlError;
    fn from_str(text: &str) -> Result<Self, ReturnUrlError> {
        let spelled_out = text.starts_with("https://") || text.starts_with("http://");
        let strange = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
        if !spelled_out || text.len() > Self::LONGEST || text.contains(strange) {
            return Err(ReturnUrlError);
        }
        let url = Url::parse(text).map_err(|_| ReturnUrlError)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
        if plain { Ok(Self(url)) } else { Err(ReturnUrlError) }
    }
}

/// A flow's end as `return_url` is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowEnd {
    /// Linked.
    Linked,
    /// Refused at the provider.
    Denied,
    /// Went wrong.
    Failed,
    /// Cancelled on our page.
    Cancelled,
}

impl FlowEnd {
    /// The end of a flow, once it has one that its return URL is told.
    pub fn of(status: FlowStatus, error: Option<FlowError>) -> Option<Self> {
        match status {
            FlowStatus::Linked => Some(Self::Linked),
            FlowStatus::Denied if error == Some(FlowError::Cancelled) => Some(Self::Cancelled),
            FlowStatus::Denied => Some(Self::Denied),
            FlowStatus::Failed | FlowStatus::Expired => Some(Self::Failed),
            FlowStatus::Pending | FlowStatus::Authorizing | FlowStatus::Exchanging | FlowStatus::Confirm => {
                None
            }
        }
    }

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Letters of a user code: no vowels, so no words; nothing that looks like a digit (RFC 8628 §6.1).
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

impl UserCode {
    /// Eight letters of twenty: 34.5 bits.
    pub fn draw_typeable(entropy: &dyn Entropy) -> Self {
        Self::new(draw_from(entropy, USER_CODE_LETTERS, 8))
    }

    /// What a person typed: case, dashes and spaces don't matter. `None`: no such code can exist.
    pub fn typed(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let letters: String =
            text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_uppercase()).collect();
        let fits = letters.len() == 8 && letters.bytes().all(|b| USER_CODE_LETTERS.contains(&b));
        fits.then(|| Self::new(letters))
    }

    /// As it is shown: `BCDF-GHJK`.
    pub fn shown(&self) -> String {
        let (first, second) = self.expose().split_at_checked(4).unwrap_or((self.expose(), ""));
        format!("{first}-{second}")
    }
}

impl ConfirmCode {
    /// Six digits.
    pub fn draw_digits(entropy: &dyn Entropy) -> Self {
        Self::new(draw_from(entropy, b"0123456789", 6))
    }
}

/// `count` characters of `alphabet`, each equally likely: bytes that would favour the first ones are drawn again.
fn draw_from(entropy: &dyn Entropy, alphabet: &[u8], count: usize) -> String {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let [byte] = draw::<1>(entropy);
        let byte = usize::from(byte);
        if byte < fair
            && let Some(&letter) = alphabet.get(byte % alphabet.len())
        {
            text.push(char::from(letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn c05_a_user_code_is_read_whatever_its_case_and_dashes() {
        let code = UserCode::draw_typeable(&Counting(0.into()));
        assert_eq!(code.shown(), "BCDF-GHJK");
        for typed in ["bcdf-ghjk", "BCDFGHJK", " bcdf ghjk ", "b-c-d-f-g-h-j-k"] {
            assert_eq!(UserCode::typed(typed), Some(code.clone()), "{typed:?}");
        }
        for wrong in ["", "bcdf-ghj", "bcdf-ghjkl", "bcdf-ghja", "bcdf-ghj1", "ＢCDF-GHJK"] {
            assert_eq!(UserCode::typed(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_confirm_code_has_six_digits_and_favours_none() {
        let code = ConfirmCode::draw_digits(&Counting(248.into()));
        assert_eq!(code.expose(), "890123", "bytes from 250 on are drawn again");
    }

    #[test]
    fn d03_only_a_plain_absolute_web_address_is_returned_to() {
        for bad in [
            "//evil",
            "/\\evil",
            "https:evil",
            "https:/evil",
            "%2f%2fevil",
            "javascript:alert(1)",
            "data:,x",
            "",
            "http://u@h/",
            "http://u:p@h/",
            "https://h/\r\nX: y",
            "https://e\\@h/",
            " https://h/",
            "https://",
        ] {
            assert_eq!(bad.parse::<ReturnUrl>(), Err(ReturnUrlError), "{bad:?}");
        }
        let url: ReturnUrl = "https://hub.example/done?slot=a%20b#top".parse().unwrap();
        assert_eq!(
            url.with_end(FlowEnd::Cancelled).as_str(),
            "https://hub.example/done?slot=a%20b&cloudlink=cancelled#top"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_a_code_or_nothing(text in ".{0,80}") {
            if let Some(code) = UserCode::typed(&text) {
                prop_assert_eq!(UserCode::typed(&code.shown()), Some(code));
            }
        }
    }
}
