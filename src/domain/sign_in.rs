//! Signing in from a terminal: what a client may ask for, and where a browser may bring the answer.
//!
//! ```text
//! pending ──sign in──▶ approved ──token request──▶ redeemed
//!    └──cancel, not allowed──▶ denied
//! ```
//! Each arrow is one guarded update in `store/sign_ins` or `store/sign_in_grants`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::Duration;
use url::Url;

use super::{
    flow::{UnknownWord, words},
    ids::DeviceId,
};

/// How long somebody has to sign in.
pub const SIGN_IN_LIFE: Duration = Duration::minutes(10);
/// How long an authorization code is good for.
pub const CODE_LIFE: Duration = Duration::minutes(2);
/// Between two polls, to begin with (RFC 8628 §3.2).
pub const POLL_INTERVAL: Duration = Duration::seconds(5);
/// The longest `state` of a client, in bytes.
pub const LONGEST_STATE: usize = 512;

words! {
    /// How far a sign-in has come.
    SignInStatus {
        /// Nobody has signed in.
        Pending = "pending",
        /// Somebody has; the token was not fetched yet.
        Approved = "approved",
        /// Nobody will.
        Denied = "denied",
        /// The token was fetched.
        Redeemed = "redeemed",
    }

    /// Why a sign-in was denied.
    Denial {
        /// The person pressed Cancel.
        Cancelled = "cancelled",
        /// The OpenID provider's account is none that may operate this service.
        NotAllowed = "not_allowed",
    }
}

/// Whom a token speaks for: `owner`, or `device:` and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginScope {
    /// The owner of this service.
    Owner,
    /// A device, as far as its password reaches.
    Device(DeviceId),
}

impl LoginScope {
    /// The device, if it is one.
    pub fn device(self) -> Option<DeviceId> {
        match self {
            Self::Owner => None,
            Self::Device(device) => Some(device),
        }
    }

    /// The `scope` of the token: which device it is stands in its `sub`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Device(_) => "device",
        }
    }
}

impl fmt::Display for LoginScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Device(device) => write!(f, "device:{device}"),
        }
    }
}

impl FromStr for LoginScope {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text.strip_prefix("device:") {
            Some(device) => device.parse().map(Self::Device).map_err(|_| UnknownWord),
            None if text == "owner" => Ok(Self::Owner),
            None => Err(UnknownWord),
        }
    }
}

/// What a program calls itself: 1 to 64 of `A-Z a-z 0-9 . _ -`. It proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientId(Box<str>);

impl ClientId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(Self(text.into())) } else { Err(UnknownWord) }
    }
}

/// A client's own listener on the machine of the browser (RFC 8252 §7.3): http on `127.0.0.1`, `[::1]` or
/// `localhost`, any port, path and query. Kept as it was written, since the token request must repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackUri(String);

impl LoopbackUri {
    /// The longest one, in bytes.
    pub const LONGEST: usize = 1024;
    const BEGINNINGS: [&str; 3] = ["http://127.0.0.1", "http://[::1]", "http://localhost"];

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address with these members added to its query.
    pub fn with(&self, members: &[(&str, &str)]) -> String {
        let separator = if self.0.contains('?') { '&' } else { '?' };
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish();
        format!("{}{separator}{query}", self.0)
    }
}

impl FromStr for LoopbackUri {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        // Parsers read other spellings as these hosts too; only what is written so is taken.
        let rest = Self::BEGINNINGS.iter().find_map(|beginning| text.strip_prefix(beginning));
        let ends = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '?']));
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#'));
        if !ends || !plain || text.len() > Self::LONGEST {
            return Err(UnknownWord);
        }
        let url = Url::parse(text).map_err(|_| UnknownWord)?;
        let host = url.host_str().is_some_and(|host| matches!(host, "127.0.0.1" | "[::1]" | "localhost"));
        let bare = url.username().is_empty() && url.password().is_none();
        if host && bare { Ok(Self(text.to_owned())) } else { Err(UnknownWord) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn d03_a_code_is_brought_to_this_machine_and_nowhere_else() {
        for good in [
            "http://127.0.0.1:49152/callback",
            "http://[::1]:80/",
            "http://localhost",
            "http://localhost/a/b?c=d",
        ] {
            assert_eq!(good.parse::<LoopbackUri>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "https://127.0.0.1/",
            "http://127.0.0.1.evil.example/",
            "http://localhost.evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://127.0.0.1:80@evil.example/",
            "http://localhost:x@evil.example/",
            "http://127.0.0.2/",
            "http://127.1/",
            "http://2130706433/",
            "http://LOCALHOST/",
            "http://localhost\\@evil.example/",
            "http://localhost/#fragment",
            "http://localhost/ ",
            "http://localhost/\n",
            "http://localhost:99999/",
            "//localhost/",
            "javascript:alert(1)",
        ] {
            assert_eq!(bad.parse::<LoopbackUri>(), Err(UnknownWord), "{bad:?}");
        }
        let long = format!("http://localhost/{}", "x".repeat(LoopbackUri::LONGEST));
        assert_eq!(long.parse::<LoopbackUri>(), Err(UnknownWord));
    }

    #[test]
    fn the_answer_is_added_to_the_query_that_is_there() {
        let uri = |text: &str| text.parse::<LoopbackUri>().unwrap().with(&[("code", "a b&c")]);
        assert_eq!(uri("http://localhost:1/cb"), "http://localhost:1/cb?code=a+b%26c");
        assert_eq!(uri("http://localhost:1/cb?x=y"), "http://localhost:1/cb?x=y&code=a+b%26c");
    }

    proptest! {
        #[test]
        fn d03_whatever_is_taken_leads_to_a_loopback_host(rest in "[:/@?#.a-z0-9\\\\ %]{0,30}") {
            for beginning in LoopbackUri::BEGINNINGS {
                if let Ok(uri) = format!("{beginning}{rest}").parse::<LoopbackUri>() {
                    let url = Url::parse(&uri.with(&[("code", "c")])).unwrap();
                    prop_assert!(matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost")));
                    prop_assert!(url.query_pairs().any(|(name, value)| name == "code" && value == "c"));
                }
            }
        }

        #[test]
        fn a_scope_reads_back_as_it_was_written(id in any::<[u8; 16]>()) {
            let scope = LoginScope::Device(DeviceId(uuid::Uuid::from_bytes(id)));
            prop_assert_eq!(scope.to_string().parse(), Ok(scope));
        }
    }
}
