//! An event, and the object that both the relay and polling send for it.
//!
//! Its members stand in the order of the contract's examples. It holds tokens, so its `Debug` shows the slot,
//! the version and the kind alone.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::domain::{
    ids::{SlotName, Version},
    json::Object,
};

/// One event of one slot. Serialises to the object that both the relay and polling send.
#[derive(Clone, PartialEq)]
pub struct Event {
    /// The slot's name.
    pub slot: SlotName,
    /// What an acknowledgement of this event names.
    pub version: Version,
    /// What the plugin is told.
    pub change: Change,
}

/// What a plugin is told about its slot.
#[derive(Clone, PartialEq)]
pub enum Change {
    /// Its configuration: `customns`, `oauth`.
    Configuration(Object),
    /// Its tokens, renewed or imported: `customns`, `oauthTokens`.
    Tokens(Object),
    /// Its tokens after a new consent: `oauth`.
    Consent(Object),
    /// The grant is dead, ask the user again: `reauthorize`.
    Reauthorize {
        /// An RFC 6749 error code, or `expired`.
        reason: String,
    },
    /// The slot was unlinked or deleted: `unlinked`.
    Unlinked,
}

impl Change {
    /// The contract's word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Configuration(_) | Self::Tokens(_) => "customns",
            Self::Consent(_) => "oauth",
            Self::Reauthorize { .. } => "reauthorize",
            Self::Unlinked => "unlinked",
        }
    }

    /// Which custom data a `customns` event is about.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Configuration(_) => Some("oauth"),
            Self::Tokens(_) => Some("oauthTokens"),
            Self::Consent(_) | Self::Reauthorize { .. } | Self::Unlinked => None,
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Data<'a> {
            Members(&'a Object),
            Reason { reason: &'a str },
            Nothing {},
        }
        #[derive(Serialize)]
        #[serde(tag = "type", rename = "event")]
        struct Wire<'a> {
            slot: &'a SlotName,
            version: Version,
            event: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            key: Option<&'static str>,
            data: Data<'a>,
        }
        let data = match &self.change {
            Change::Configuration(members) | Change::Tokens(members) | Change::Consent(members) => {
                Data::Members(members)
            }
            Change::Reauthorize { reason } => Data::Reason { reason },
            Change::Unlinked => Data::Nothing {},
        };
        let (event, key) = (self.change.name(), self.change.key());
        Wire { slot: &self.slot, version: self.version, event, key, data }.serialize(serializer)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.change.key().map(|key| format!("/{key}")).unwrap_or_default();
        write!(f, "{} {} {}{key}", self.slot, self.version, self.change.name())
    }
}
