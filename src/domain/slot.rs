//! A slot's state, as a plugin is brought to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    clock::Entropy,
    delivery::Delivery,
    flow::UnknownWord,
    ids::{KeyHash, PluginId, SlotAddress, Version},
    json::Object,
    plugin::{Custody, Document},
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

/// How a slot's handle begins. No refresh token of a provider is known to.
const HANDLE_PREFIX: &str = "clh_";

impl SlotCredentials {
    /// New ones. The client id has 128 unpredictable bits, the secret and the handle 256.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let id = RefreshHandle::draw(entropy);
        let id: String = id.expose().chars().take(22).collect();
        let handle = RefreshHandle::draw(entropy);
        Self {
            client_id: format!("cl_{id}"),
            client_secret: ClientSecret::draw(entropy),
            handle: RefreshHandle::new(format!("{HANDLE_PREFIX}{}", handle.expose())),
        }
    }
}

/// Whether a text has the form of a slot's handle, one that has ended included.
pub fn has_form_of_handle(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text.strip_prefix(HANDLE_PREFIX).is_some_and(|rest| rest.len() == 43 && rest.bytes().all(plain))
}

/// What a plugin's OAuth library says of itself at the broker's token endpoint (RFC 6749 §2.3.1).
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    /// The client id.
    pub id: String,
    /// The client secret.
    pub secret: ClientSecret,
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
    /// Who keeps the tokens, by the effective configuration.
    pub custody: Custody,
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
    /// Why the grant is dead, where it is: an RFC 6749 error code, `expired` or `custody_changed`.
    pub reason: Option<String>,
    /// The tokens that the broker holds.
    pub tokens: Option<TokenSet>,
    /// How they leave.
    pub delivery: Delivery,
}

impl SlotState {
    /// Whether these are the credentials of the slot's plugin: the slot's own, as they were sent, or with the plugin's
    /// own overrides on top, which is what its library has once it has merged them.
    pub fn is_client(&self, client: &ClientCredentials) -> bool {
        let own = |member: &str| {
            let value = self.configuration.overrides.members().get(member).and_then(Value::as_str);
            value.filter(|value| !value.is_empty())
        };
        let (id, secret) = (&self.credentials.client_id, &self.credentials.client_secret);
        let overriding_id = own("client_id").unwrap_or(id);
        let overriding_secret = own("client_secret").map_or_else(|| secret.clone(), ClientSecret::new);
        let as_sent = client.id == *id && client.secret == *secret;
        let overridden = client.id == overriding_id && client.secret == overriding_secret;
        as_sent || overridden
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    fn state(overrides: Value) -> SlotState {
        let Value::Object(overrides) = overrides else { panic!("an object") };
        let (copy, variables) = (json!({"client_id": "store", "client_secret": "store"}), BTreeMap::new());
        let Value::Object(copy) = copy else { panic!("an object") };
        SlotState {
            address: SlotAddress {
                device: crate::domain::ids::DeviceId(uuid::Uuid::nil()),
                slot: "a".parse().unwrap(),
            },
            plugin: "a".parse().unwrap(),
            configuration: SlotConfiguration {
                copy: Document::new(copy),
                overrides: Document::new(overrides),
                variables,
                seal_to: None,
            },
            credentials: SlotCredentials {
                client_id: "slot".to_owned(),
                client_secret: ClientSecret::new("slot-secret"),
                handle: RefreshHandle::new("handle"),
            },
            custody: Custody::Broker,
            status: SlotStatus::Linked,
            version: Version(1),
            acked_version: Version(0),
            configuration_version: Version(1),
            tokens_version: Version(1),
            link_version: Version(1),
            reason: None,
            tokens: None,
            delivery: Delivery::Plain,
        }
    }

    fn accepted(state: &SlotState) -> Vec<(&'static str, &'static str)> {
        let ids = ["slot", "mine", "store", ""];
        let secrets = ["slot-secret", "my-secret", "store", ""];
        let all = ids.into_iter().flat_map(|id| secrets.into_iter().map(move |secret| (id, secret)));
        all.filter(|(id, secret)| {
            state.is_client(&ClientCredentials { id: (*id).to_owned(), secret: ClientSecret::new(*secret) })
        })
        .collect()
    }

    #[test]
    fn a_plugin_is_known_by_its_slots_credentials_and_by_those_that_it_overrides_and_never_by_the_stores() {
        assert_eq!(accepted(&state(json!({}))), [("slot", "slot-secret")]);
        let own = state(json!({"client_id": "mine", "client_secret": "my-secret"}));
        assert_eq!(accepted(&own), [("slot", "slot-secret"), ("mine", "my-secret")]);
        let half = state(json!({"client_id": "mine", "client_secret": ""}));
        assert_eq!(accepted(&half), [("slot", "slot-secret"), ("mine", "slot-secret")]);
    }

    #[test]
    fn a_handle_is_known_by_its_form() {
        let credentials = SlotCredentials::draw(&Counting(1.into()));
        assert!(has_form_of_handle(credentials.handle.expose()));
        assert_ne!(credentials.handle.expose()[4..], *credentials.client_secret.expose());
        for other in ["", "clh_", "clh_short", "rt-1", credentials.client_secret.expose()] {
            assert!(!has_form_of_handle(other), "{other}");
        }
    }
}
