//! A slot's state, as a plugin is brought to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    delivery::Delivery,
    flow::UnknownWord,
    ids::{KeyHash, PluginId, SlotAddress, Version},
    json::Object,
    plugin::Document,
    secret::{ClientSecret, RefreshHandle},
    tokens::TokenSet,
};

/// Whether a slot is linked to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotStatus {
    /// Nobody has linked it, or it was unlinked.
    Unlinked,
    /// It is linked.
    Linked,
    /// The grant is dead: the user must link it again.
    Reauthorize,
}

impl SlotStatus {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unlinked => "unlinked",
            Self::Linked => "linked",
            Self::Reauthorize => "reauthorize",
        }
    }
}

impl std::str::FromStr for SlotStatus {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "unlinked" => Ok(Self::Unlinked),
            "linked" => Ok(Self::Linked),
            "reauthorize" => Ok(Self::Reauthorize),
            _ => Err(UnknownWord),
        }
    }
}

/// A plugin's own settings and variables on top of its copy of the store's configuration.
#[derive(Debug, Clone)]
pub struct SlotConfiguration {
    /// The copy made at installation.
    pub copy: Document,
    /// The plugin's own overrides.
    pub overrides: Document,
    /// Values of the configuration's variables, by name.
    pub variables: BTreeMap<String, String>,
    /// The trusted key that tokens are sealed to. An override, kept apart: the device's keys refer to it.
    pub seal_to: Option<KeyHash>,
}

impl SlotConfiguration {
    /// The copy with the overrides merged in. `seal_to` is the slot's own: a plugin's author names no key.
    pub fn effective(&self) -> Document {
        let seal_to = self.seal_to.as_ref().map_or(Value::Null, |key| key.0.as_str().into());
        let seal_to = Object::from_iter([("seal_to".to_owned(), seal_to)]);
        self.copy.merged_with(&self.overrides).patched(&seal_to)
    }
}

/// What a slot's plugin uses at the broker's own token endpoint, in place of the provider's.
#[derive(Debug, Clone)]
pub struct SlotCredentials {
    /// The slot's client id.
    pub client_id: String,
    /// The slot's client secret.
    pub client_secret: ClientSecret,
    /// What the plugin holds in place of a refresh token.
    pub handle: RefreshHandle,
}

/// A slot's newest state and what was acknowledged of it.
///
/// `configuration_version`, `tokens_version` and `link_version` say at which version that part last changed;
/// `version` is the highest of them.
#[derive(Debug, Clone)]
pub struct SlotState {
    /// Where it is.
    pub address: SlotAddress,
    /// The installed plugin.
    pub plugin: PluginId,
    /// Its configuration.
    pub configuration: SlotConfiguration,
    /// Its own credentials at the broker.
    pub credentials: SlotCredentials,
    /// Whether it is linked.
    pub status: SlotStatus,
    /// The newest version.
    pub version: Version,
    /// The highest version acknowledged.
    pub acked_version: Version,
    /// When the configuration last changed.
    pub configuration_version: Version,
    /// When the tokens last changed: consent, refresh or import.
    pub tokens_version: Version,
    /// When the last consent, `reauthorize` or unlink happened; 0 before the first.
    pub link_version: Version,
    /// Why the grant is dead, where it is: an RFC 6749 error code or `expired`.
    pub reason: Option<String>,
    /// The tokens that the broker holds.
    pub tokens: Option<TokenSet>,
    /// How they leave.
    pub delivery: Delivery,
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// The slot's acknowledged version is now higher.
    Advanced,
    /// Repeated or future: nothing changed.
    Unchanged,
    /// There is no such slot.
    UnknownSlot,
}
