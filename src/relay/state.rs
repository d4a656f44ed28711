//! From a slot's newest state to the events that bring a plugin to it. Pure; there is no event table.
//!
//! Guarantees, per slot: the configuration comes first; only the last event carries the newest version, an
//! earlier one carries the acknowledged version and needs no ack; and where the state is newer than what was
//! seen there is always an event to acknowledge. Tokens are in it only as the slot's `seal_to` lets them leave
//! ([`Delivery`](crate::domain::delivery::Delivery)).

use time::OffsetDateTime;

use super::{
    configuration,
    event::{Change, Event},
};
use crate::domain::{
    clock::Entropy,
    delivery::Undelivered,
    ids::Version,
    json::Object,
    plugin::Custody,
    public_url::PublicUrl,
    slot::{SlotState, SlotStatus},
    tokens::TokenSet,
};

/// What the receiver has seen of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing: it has just connected.
    NewConnection,
    /// The state at this version.
    Version(Version),
}

/// The events that bring a receiver to `state`.
pub fn events(
    state: &SlotState,
    since: Since,
    now: OffsetDateTime,
    public_url: &PublicUrl,
    entropy: &dyn Entropy,
) -> Vec<Event> {
    let link = link_change(state, since, now, entropy);
    let configuration = match since {
        Since::NewConnection => true,
        Since::Version(seen) => {
            state.configuration_version > seen || (link.is_none() && state.version > seen)
        }
    };
    let configuration =
        configuration.then(|| Change::Configuration(configuration::for_plugin(state, public_url)));

    let mut events: Vec<Event> = [configuration, link]
        .into_iter()
        .flatten()
        .map(|change| Event { slot: state.address.slot.clone(), version: state.acked_version, change })
        .collect();
    if let Some(last) = events.last_mut() {
        last.version = state.version;
    }
    events
}

/// What there is to say about the slot's link.
fn link_change(
    state: &SlotState,
    since: Since,
    now: OffsetDateTime,
    entropy: &dyn Entropy,
) -> Option<Change> {
    let unacknowledged = state.acked_version < state.link_version;
    let (tokens_due, link_due) = match since {
        Since::NewConnection => (true, unacknowledged),
        Since::Version(seen) => {
            (state.tokens_version.max(state.link_version) > seen, state.link_version > seen)
        }
    };
    match state.status {
        SlotStatus::Linked => {
            let tokens = state.tokens.as_ref().filter(|_| tokens_due)?;
            let members = delivered(state, tokens_for_plugin(state, tokens, now), entropy)?;
            Some(if link_due || unacknowledged { Change::Consent(members) } else { Change::Tokens(members) })
        }
        SlotStatus::Reauthorize if link_due => {
            let reason = state.reason.clone().unwrap_or_else(|| "invalid_grant".to_owned());
            Some(Change::Reauthorize { reason })
        }
        SlotStatus::Unlinked if link_due => Some(Change::Unlinked),
        SlotStatus::Reauthorize | SlotStatus::Unlinked => None,
    }
}

fn tokens_for_plugin(state: &SlotState, tokens: &TokenSet, now: OffsetDateTime) -> Object {
    match state.custody {
        Custody::Broker => tokens.for_plugin(&state.credentials.handle, now),
        Custody::Device => tokens.as_received(now),
    }
}

/// The tokens as they leave; `None` where they stay. The configuration then carries the version.
fn delivered(state: &SlotState, tokens: Object, entropy: &dyn Entropy) -> Option<Object> {
    match state.delivery.deliver(tokens, entropy) {
        Ok(data) => Some(data),
        Err(Undelivered::Withheld) => None,
        Err(Undelivered::NotEncrypted(cause)) => {
            tracing::error!(slot = %state.address, %cause, "tokens were not delivered");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        domain::delivery::{Delivery, Recipient},
        relay::fixture::{Blackbox, Broken, NOW, Slot, StandingStill, public_url},
    };

    fn told(slot: &Slot, since: Since) -> Vec<String> {
        events(&slot.state(), since, NOW, &public_url(), &StandingStill)
            .iter()
            .map(|event| format!("{event:?}"))
            .collect()
    }

    #[test]
    fn a_slot_that_was_never_linked_gets_its_configuration_alone() {
        let slot = Slot { version: 1, configuration_version: 1, ..Slot::default() };
        assert_eq!(told(&slot, Since::NewConnection), ["ecobee 1 customns/oauth"]);
    }

    #[test]
    fn acknowledged_tokens_come_again_on_a_new_connection_and_an_unacknowledged_consent_stays_one() {
        let mut slot = Slot { version: 5, acked: 5, link_version: 4, tokens_version: 5, ..Slot::linked() };
        assert_eq!(
            told(&slot, Since::NewConnection),
            ["ecobee 5 customns/oauth", "ecobee 5 customns/oauthTokens"]
        );
        slot.acked = 3;
        assert_eq!(told(&slot, Since::NewConnection), ["ecobee 3 customns/oauth", "ecobee 5 oauth"]);
    }

    #[test]
    fn an_unacknowledged_reauthorize_or_unlinked_comes_again_and_an_acknowledged_one_does_not() {
        for (status, name) in [(SlotStatus::Reauthorize, "reauthorize"), (SlotStatus::Unlinked, "unlinked")] {
            let mut slot = Slot { version: 6, acked: 5, link_version: 6, status, ..Slot::default() };
            let (configuration, link) = ("ecobee 5 customns/oauth".to_owned(), format!("ecobee 6 {name}"));
            assert_eq!(told(&slot, Since::NewConnection), [configuration, link.clone()]);
            assert_eq!(told(&slot, Since::Version(Version(5))), [link]);
            slot.acked = 6;
            assert_eq!(told(&slot, Since::NewConnection), ["ecobee 6 customns/oauth"]);
        }
    }

    #[test]
    fn an_open_connection_gets_only_what_changed() {
        let mut slot = Slot { version: 7, acked: 6, link_version: 4, tokens_version: 7, ..Slot::linked() };
        assert_eq!(told(&slot, Since::Version(Version(6))), ["ecobee 7 customns/oauthTokens"]);
        assert!(told(&slot, Since::Version(Version(7))).is_empty());
        (slot.version, slot.configuration_version) = (8, 8);
        assert_eq!(told(&slot, Since::Version(Version(7))), ["ecobee 8 customns/oauth"]);
        let both = ["ecobee 6 customns/oauth", "ecobee 8 customns/oauthTokens"];
        assert_eq!(told(&slot, Since::Version(Version(6))), both);
    }

    #[test]
    fn a_consent_that_another_connection_acknowledged_is_still_one_here() {
        let slot = Slot { version: 7, acked: 7, link_version: 7, tokens_version: 7, ..Slot::linked() };
        assert_eq!(told(&slot, Since::Version(Version(6))), ["ecobee 7 oauth"]);
    }

    #[test]
    fn a_change_without_a_frame_of_its_own_is_told_by_the_configuration() {
        let slot = Slot { version: 7, acked: 6, tokens_version: 7, tokens: None, ..Slot::linked() };
        assert_eq!(told(&slot, Since::Version(Version(6))), ["ecobee 7 customns/oauth"]);
    }

    #[test]
    fn under_broker_custody_the_refresh_token_is_a_handle_and_under_device_custody_the_real_one() {
        let sent = |custody| {
            let slot = Slot { custody, ..Slot::linked() };
            json!(events(&slot.state(), Since::NewConnection, NOW, &public_url(), &StandingStill)).to_string()
        };
        let broker = sent(Custody::Broker);
        assert!(
            broker.contains(r#""refresh_token":"slot-handle""#) && !broker.contains("real-refresh"),
            "{broker}"
        );
        let device = sent(Custody::Device);
        assert!(
            device.contains(r#""refresh_token":"real-refresh""#) && !device.contains("slot-handle"),
            "{device}"
        );
    }

    #[test]
    fn sealed_tokens_are_an_event_like_plain_ones_with_a_jwe_for_data() {
        let delivery = Delivery::Sealed(Arc::new(Blackbox));
        let slot = Slot { delivery, ..Slot::linked() };
        let events = events(&slot.state(), Since::NewConnection, NOW, &public_url(), &StandingStill);
        let sent = json!(events[1]);
        assert_eq!((&sent["event"], &sent["version"]), (&json!("oauth"), &json!(2)));
        let members = sent["data"].as_object().unwrap();
        assert!(members.len() == 1 && members["jwe"].as_str().unwrap().ends_with(" bytes"), "{sent}");
    }

    #[test]
    fn where_tokens_stay_the_configuration_carries_the_version() {
        for delivery in [Delivery::Withheld, Delivery::Sealed(Arc::new(Broken))] {
            let slot = Slot { delivery, ..Slot::linked() };
            for since in [Since::NewConnection, Since::Version(Version(1))] {
                assert_eq!(told(&slot, since), ["ecobee 2 customns/oauth"]);
            }
            assert!(told(&slot, Since::Version(Version(2))).is_empty());
        }
    }

    fn any_delivery() -> impl Strategy<Value = Delivery> {
        let sealed = |recipient: Arc<dyn Recipient>| Just(Delivery::Sealed(recipient));
        prop_oneof![
            Just(Delivery::Plain),
            Just(Delivery::Withheld),
            sealed(Arc::new(Blackbox)),
            sealed(Arc::new(Broken))
        ]
    }

    prop_compose! {
        fn any_slot()(
            configuration_version in 1i64..20, tokens_version in 0i64..20, link_version in 0i64..20, acked in 0i64..25,
            status in prop_oneof![Just(SlotStatus::Linked), Just(SlotStatus::Unlinked), Just(SlotStatus::Reauthorize)],
            holds in any::<bool>(), delivery in any_delivery(),
        ) -> Slot {
            let version = configuration_version.max(tokens_version).max(link_version);
            let tokens = holds.then_some(crate::relay::fixture::TOKENS).filter(|_| status == SlotStatus::Linked);
            let acked = acked.min(version);
            Slot { tokens, status, version, acked, configuration_version, tokens_version, link_version, delivery, ..Slot::default() }
        }
    }

    proptest! {
        #[test]
        fn h10_versions_never_go_back_and_the_last_event_carries_the_newest(slot in any_slot(), seen in 0i64..25) {
            for since in [Since::NewConnection, Since::Version(Version(seen.min(slot.version)))] {
                let events = events(&slot.state(), since, NOW, &public_url(), &StandingStill);
                prop_assert!(events.iter().is_sorted_by_key(|event| event.version));
                prop_assert!(events.last().is_none_or(|last| last.version == Version(slot.version)));
                let news = since == Since::NewConnection || seen < slot.version;
                prop_assert_eq!(news, !events.is_empty());
                if let [first, _] = events.as_slice() {
                    prop_assert_eq!(first.version, Version(slot.acked));
                    prop_assert!(matches!(first.change, Change::Configuration(_)));
                }
            }
        }

        #[test]
        fn j01_nothing_of_the_provider_leaks_under_broker_custody(slot in any_slot()) {
            let slot = Slot { configuration: r#"{"client_secret":"canary","client_id":"canary","private_key":"canary"}"#, ..slot };
            let sent = json!(events(&slot.state(), Since::NewConnection, NOW, &public_url(), &StandingStill)).to_string();
            prop_assert!(!sent.contains("canary") && !sent.contains("real-refresh"));
        }

        #[test]
        fn nothing_of_a_token_leaves_in_plain_from_a_slot_that_is_sealed(slot in any_slot(), seen in 0i64..25) {
            prop_assume!(!matches!(slot.delivery, Delivery::Plain));
            for since in [Since::NewConnection, Since::Version(Version(seen))] {
                let sent = json!(events(&slot.state(), since, NOW, &public_url(), &StandingStill)).to_string();
                prop_assert!(!sent.contains("access_token") && !sent.contains("slot-handle"), "{sent}");
            }
        }
    }
}
