//! Names and numbers of things. Each has one fallible constructor; a value of the type is valid.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::clock::{Entropy, draw};

/// Why a text is no name: the sentence goes to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 63 characters of a-z, 0-9 and -, and must not begin with -")]
pub struct NameError;

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = text.bytes();
    text.len() <= 63 && bytes.next().is_some_and(plain) && bytes.all(|b| plain(b) || b == b'-')
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(NameError) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The id of an entry in the plugin store: `[a-z0-9][a-z0-9-]{0,62}`.
    PluginId;
    /// The name of a slot on its device: `[a-z0-9][a-z0-9-]{0,62}`.
    SlotName;
}

macro_rules! uuids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random id (UUID version 4).
            pub fn draw(entropy: &dyn Entropy) -> Self {
                Self(Builder::from_random_bytes(draw(entropy)).into_uuid())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

uuids! {
    /// A device: a hub in somebody's home.
    DeviceId;
    /// A flow: one attempt to link a slot.
    FlowId;
    /// One attempt to sign in from a terminal.
    SignInId;
    /// One attempt of Home Assistant's to link an account.
    AccountLinkId;
    /// One revocation that is still to be made at a provider.
    RevocationId;
    /// One request or command that is brought to a plugin: whoever answers must know it.
    InquiryId;
    /// One running process of the service.
    ReplicaId;
}

/// Where a slot is: its device and its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotAddress {
    /// The device the slot is on.
    pub device: DeviceId,
    /// The slot's name there.
    pub slot: SlotName,
}

impl fmt::Display for SlotAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.slot)
    }
}

/// Counts the changes of one slot's state, from 1. Only a slot's own versions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub i64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a trusted key: `SHA256:` and the unpadded base64 of the SHA-256 of its SPKI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub String);

impl KeyHash {
    /// Whether any key can have this name. What a caller sends may be any text.
    pub fn can_be_one(&self) -> bool {
        self.0.strip_prefix("SHA256:").is_some_and(|hash| {
            hash.len() == 43 && hash.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        })
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_no_slash_capital_space_or_leading_dash() {
        for bad in ["", "-a", "A", "a/b", "a b", "a_b", "ä", &"a".repeat(64)] {
            assert_eq!(bad.parse::<SlotName>(), Err(NameError), "{bad:?}");
        }
        for good in ["a", "0", "a-", "ecobee-2", &"a".repeat(63)] {
            assert_eq!(good.parse::<PluginId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_key_is_named_by_32_bytes_of_base64() {
        let named = |text: &str| KeyHash(text.to_owned()).can_be_one();
        assert!(named("SHA256:xrmmlHeSmZOUWTpIzvd93kDxnXQgJ5tYgt0tPGS+c/M"));
        for bad in ["", "SHA256:", "SHA256:\0", "xrmmlHeSmZOUWTpIzvd93kDxnXQgJ5tYgt0tPGS+c/M"] {
            assert!(!named(bad), "{bad:?}");
        }
        assert!(!named(&format!("SHA256:{}", "\0".repeat(43))));
        assert!(!named(&format!("SHA256:{}", "A".repeat(44))));
    }

    proptest! {
        #[test]
        fn exactly_the_contracts_pattern_is_a_name(text in ".{0,70}") {
            let pattern = regex::Regex::new("^[a-z0-9][a-z0-9-]{0,62}$").unwrap();
            prop_assert_eq!(text.parse::<SlotName>().is_ok(), pattern.is_match(&text));
        }
    }
}
