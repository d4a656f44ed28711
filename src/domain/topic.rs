//! MQTT topic filters: what an access token may hear (`subs`) and say (`publ`).

use serde::{Deserialize, Serialize};

use super::ids::{DeviceId, SlotName};

/// What is heard or said about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Its events, towards the plugin.
    Events,
    /// Acknowledgements, from the plugin.
    Ack,
    /// Overrides, from the plugin.
    Settings,
}

impl Channel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Ack => "ack",
            Self::Settings => "settings",
        }
    }

    /// The topic of `slot` on `device`.
    pub fn topic(self, device: DeviceId, slot: &SlotName) -> String {
        format!("cloudlink/{device}/{slot}/{}", self.as_str())
    }

    fn filter(self, device: DeviceId, slot: Option<&SlotName>) -> TopicFilter {
        let slot = slot.map_or("+", SlotName::as_str);
        TopicFilter(format!("cloudlink/{device}/{slot}/{}", self.as_str()))
    }
}

/// A topic filter with `+` (one level) and `#` (all that follow, last).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicFilter(pub String);

impl TopicFilter {
    /// Whether `topic`, which has no wildcards, is one of those named (MQTT 3.1.1 §4.7).
    pub fn matches(&self, topic: &str) -> bool {
        let mut levels = topic.split('/');
        for wanted in self.0.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// The two lists of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Topics {
    /// What it may hear.
    pub subs: Vec<TopicFilter>,
    /// What it may say.
    pub publ: Vec<TopicFilter>,
}

impl Topics {
    /// All of a device, or one slot of it.
    pub fn of_device(device: DeviceId, slot: Option<&SlotName>) -> Self {
        Self {
            subs: vec![Channel::Events.filter(device, slot)],
            publ: vec![Channel::Ack.filter(device, slot), Channel::Settings.filter(device, slot)],
        }
    }

    /// Whether the holder hears all of the device, whichever slots it has: no slot can be called `+`.
    pub fn cover(&self, device: DeviceId) -> bool {
        let every = Channel::Events.filter(device, None);
        self.subs.iter().any(|filter| filter.matches(&every.0))
    }

    /// Whether the holder may use `channel` of `slot`.
    pub fn allow(&self, channel: Channel, device: DeviceId, slot: &SlotName) -> bool {
        let topic = channel.topic(device, slot);
        let filters = match channel {
            Channel::Events => &self.subs,
            Channel::Ack | Channel::Settings => &self.publ,
        };
        filters.iter().any(|filter| filter.matches(&topic))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_for_one_slot_does_not_cover_the_device() {
        let (home, other) = (DeviceId(uuid::Uuid::from_u128(1)), DeviceId(uuid::Uuid::from_u128(2)));
        let slot: SlotName = "heating".parse().unwrap();
        assert!(Topics::of_device(home, None).cover(home));
        assert!(!Topics::of_device(home, None).cover(other));
        assert!(!Topics::of_device(home, Some(&slot)).cover(home));
        assert!(!Topics::default().cover(home));
    }

    #[test]
    fn plus_is_one_level_and_hash_is_the_rest() {
        let matches = |filter: &str, topic| TopicFilter(filter.to_owned()).matches(topic);
        assert!(matches("a/+/c", "a/b/c") && !matches("a/+/c", "a/b/x/c") && !matches("a/+", "a/b/c"));
        assert!(
            matches("a/#", "a/b/c") && matches("a/#", "a") && matches("#", "a/b") && !matches("a/#", "b")
        );
        assert!(!matches("a/b", "a") && !matches("a", "a/b") && !matches("", "a"));
    }

    proptest! {
        #[test]
        fn a_filter_without_wildcards_matches_itself_alone(a in "[a-z]{0,3}(/[a-z]{0,3}){0,4}", b in "[a-z]{0,3}(/[a-z]{0,3}){0,4}") {
            prop_assert_eq!(TopicFilter(a.clone()).matches(&b), a == b);
        }

        #[test]
        fn one_plus_matches_exactly_what_differs_in_that_level(levels in proptest::collection::vec("[a-z]{1,3}", 1..6), at in 0usize..6, other in "[a-z]{1,3}") {
            let at = at % levels.len();
            let mut filter = levels.clone();
            filter[at] = "+".to_owned();
            let mut topic = levels.clone();
            topic[at] = other;
            let filter = TopicFilter(filter.join("/"));
            prop_assert!(filter.matches(&topic.join("/")));
            topic.push("more".to_owned());
            prop_assert!(!filter.matches(&topic.join("/")));
        }
    }
}
