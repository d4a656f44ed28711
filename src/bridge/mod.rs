//! `cloudlink bridge`: unmodified PG3 plugins and cloudlink's relay, brought together on the hub by its MQTT broker.
//!
//! What is done is decided by one pure machine a slot ([`slot`]); around it stand the broker ([`mqtt`]), the relay
//! ([`ear`]), the API ([`server`]) and the state's folder ([`kept`]), and one loop ([`drive`]) that carries what
//! happens to the machines and does what they say. [`wire`], [`tokens`], [`overrides`] and [`invite`] hold what PG3's
//! OAuth class needs.
//!
//! Guarantees: a loss of the broker, of the server, or of both, in any order, ends nothing and is made up for; every
//! queue has a bound, and every wait for a reconnection has one, with jitter; one bridge at a time works with a state's
//! folder; what is written there can be read again, and a file that can't be stops its slot alone. It serves no web
//! requests and commands to plugins, which are refused at once, and stands in for none of PG3 besides what a plugin
//! needs to run and to be linked.

mod calls;
mod drive;
mod ear;
mod init;
mod invite;
mod kept;
#[cfg(test)]
mod mosquitto;
mod mqtt;
mod overrides;
mod server;
mod slot;
mod tokens;
mod wire;

use std::{path::PathBuf, str::FromStr};

pub use init::{PluginEnvironment, WriteError};
pub use mqtt::Broker;
pub use wire::DEEPEST;

use self::wire::PluginName;
use crate::{
    domain::{ids::SlotName, json::Object},
    plugin_client::{ClientError, PluginClient},
};

/// Who answers the plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hub {
    /// The bridge does.
    Bridge,
    /// PG3 does, and the bridge only brings it configuration and tokens.
    Pg3,
}

/// A slot, and the number that its plugin has on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The slot's name.
    pub slot: SlotName,
    /// The plugin's profile number.
    pub profile: u16,
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let advice = "must be written like ecobee=3: a slot's name and the plugin's number, 1 to 999";
        let (slot, profile) = text.split_once('=').ok_or(advice)?;
        let profile = profile.parse().ok().filter(|number| (1..=999).contains(number)).ok_or(advice)?;
        Ok(Self { slot: slot.parse().map_err(|_| advice)?, profile })
    }
}

/// What a hub is called in its plugins' topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId(String);

impl HubId {
    /// How the hub calls the plugin with this number.
    fn plugin(&self, profile: u16) -> PluginName {
        PluginName(format!("{}_{profile}", self.0))
    }
}

impl FromStr for HubId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'.');
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 64 letters, digits, colons, dashes or dots, as in PG3INIT")
        }
    }
}

/// A bridge that can be started.
pub struct Bridge {
    /// Who answers the plugins.
    pub hub: Hub,
    /// What the hub is called.
    pub id: HubId,
    /// The plugins.
    pub places: Vec<Place>,
    /// Custom parameters that the home sets, for some of the slots.
    pub parameters: Vec<(SlotName, Object)>,
    /// The MQTT broker.
    pub broker: Broker,
    /// Where the slots' state is kept.
    pub state: PathBuf,
    /// The device.
    pub device: PluginClient,
}

/// Why a bridge ended, or did not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The state's folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The server refuses the device.
    #[error(transparent)]
    Server(ClientError),
}

/// Why the state can't be kept.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct FolderError(#[from] kept::FolderError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_slot_and_a_number() {
        let place: Place = "ecobee=3".parse().unwrap();
        assert_eq!((place.slot.as_str(), place.profile), ("ecobee", 3));
        for bad in ["ecobee", "ecobee=", "ecobee=0", "ecobee=1000", "ecobee=x", "Eco=3", "=3"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hubs_id_can_be_part_of_a_topic() {
        let id: HubId = "00:21:b9:02:03:04".parse().unwrap();
        assert_eq!(id.plugin(3).inbox(), "udi/pg3/ns/clients/00:21:b9:02:03:04_3");
        for bad in ["", "a/b", "+", "#", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<HubId>().is_err(), "{bad}");
        }
    }
}
