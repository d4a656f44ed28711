//! What one connection has been told, slot by slot, and so what it must be told next.
//!
//! Nothing older than what was sent is sent again. A slot that vanished is `unlinked`, once, and so is one that was
//! deleted and installed again under its name: its client id tells the two apart. The store keeps the version that
//! this takes free: what is new begins above it.

use std::{collections::BTreeSet, sync::Arc};

use time::OffsetDateTime;

use super::{
    connections::Versions,
    event::{Change, Event},
    state::{self, Since},
};
use crate::{
    bus::Knocked,
    domain::{
        clock::Entropy,
        ids::{SlotName, Version},
        public_url::PublicUrl,
        slot::SlotState,
    },
};

struct Sent {
    slot: SlotName,
    version: Version,
    client_id: Box<str>,
}

/// What a connection has been told.
pub(super) struct Outbox {
    public_url: Arc<PublicUrl>,
    entropy: Arc<dyn Entropy>,
    /// By the slot's name. Most connections have one slot or two, for which a map would take ten times the memory.
    sent: Vec<Sent>,
}

impl Outbox {
    pub(super) fn new(public_url: Arc<PublicUrl>, entropy: Arc<dyn Entropy>) -> Self {
        Self { public_url, entropy, sent: Vec::new() }
    }

    /// The events that bring the connection from what it was told to `states`, which is all that was found
    /// where it looked.
    pub(super) fn bring(
        &mut self,
        looked: &Knocked,
        states: &[SlotState],
        now: OffsetDateTime,
    ) -> Vec<Event> {
        let found: BTreeSet<&SlotName> = states.iter().map(|state| &state.address.slot).collect();
        let vanished: Vec<SlotName> = match looked {
            Knocked::Everything => {
                let told = self.sent.iter().map(|sent| &sent.slot);
                told.filter(|slot| !found.contains(slot)).cloned().collect()
            }
            Knocked::Slots(slots) => slots.iter().filter(|slot| !found.contains(slot)).cloned().collect(),
        };
        let mut events: Vec<Event> = vanished.iter().filter_map(|slot| self.forget(slot)).collect();
        for state in states {
            let slot = &state.address.slot;
            let replaced =
                |sent: &Sent| sent.version < state.version && *sent.client_id != *state.credentials.client_id;
            if self.told(slot).is_some_and(replaced) {
                events.extend(self.forget(slot));
            }
            let since = match self.told(slot) {
                None => Since::NewConnection,
                Some(sent) if sent.version < state.version => Since::Version(sent.version),
                Some(_) => continue,
            };
            events.extend(state::events(state, since, now, &self.public_url, self.entropy.as_ref()));
            self.remember(state);
        }
        events
    }

    /// Where the database differs from what was told.
    pub(super) fn differing(&self, versions: &Versions) -> BTreeSet<SlotName> {
        let vanished = self.sent.iter().map(|sent| &sent.slot).filter(|slot| !versions.contains_key(slot));
        let news = versions
            .iter()
            .filter(|(slot, version)| self.told(slot).is_none_or(|sent| sent.version != **version));
        vanished.chain(news.map(|(slot, _)| slot)).cloned().collect()
    }

    /// Whether the connection knows this slot, and this version of it or a later one.
    pub(super) fn has_told(&self, slot: &SlotName, version: Version) -> bool {
        self.told(slot).is_some_and(|sent| version <= sent.version)
    }

    fn place(&self, slot: &SlotName) -> Result<usize, usize> {
        self.sent.binary_search_by(|sent| sent.slot.cmp(slot))
    }

    fn told(&self, slot: &SlotName) -> Option<&Sent> {
        self.place(slot).ok().and_then(|at| self.sent.get(at))
    }

    fn remember(&mut self, state: &SlotState) {
        match self.place(&state.address.slot) {
            Ok(at) => self.sent.iter_mut().skip(at).take(1).for_each(|sent| sent.version = state.version),
            Err(at) => {
                let client_id = state.credentials.client_id.as_str().into();
                self.sent.reserve_exact(1);
                self.sent
                    .insert(at, Sent { slot: state.address.slot.clone(), version: state.version, client_id });
            }
        }
    }

    /// The last word about a slot that is gone.
    fn forget(&mut self, slot: &SlotName) -> Option<Event> {
        let sent = self.place(slot).ok().map(|at| self.sent.remove(at))?;
        let version = Version(sent.version.0.saturating_add(1));
        Some(Event { slot: slot.clone(), version, change: Change::Unlinked })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::relay::fixture::{NOW, Slot, StandingStill, public_url};

    fn outbox() -> Outbox {
        Outbox::new(public_url().into(), Arc::new(StandingStill))
    }

    fn look(outbox: &mut Outbox, looked: &Knocked, slots: &[Slot]) -> Vec<String> {
        let states: Vec<SlotState> = slots.iter().map(Slot::state).collect();
        outbox.bring(looked, &states, NOW).iter().map(|event| format!("{event:?}")).collect()
    }

    fn only(slot: &str) -> Knocked {
        Knocked::Slots([slot.parse().unwrap()].into())
    }

    #[test]
    fn h10_an_older_state_after_a_newer_one_is_not_sent() {
        let mut outbox = outbox();
        assert_eq!(look(&mut outbox, &only("a"), &[Slot::at("a", 5)]), ["a 5 customns/oauth"]);
        assert!(look(&mut outbox, &only("a"), &[Slot::at("a", 4)]).is_empty());
        assert!(look(&mut outbox, &only("a"), &[Slot::at("a", 5)]).is_empty());
        assert_eq!(look(&mut outbox, &only("a"), &[Slot::at("a", 6)]), ["a 6 customns/oauth"]);
    }

    #[test]
    fn a_deleted_slot_is_unlinked_once_wherever_its_absence_is_seen() {
        for looked in [only("a"), Knocked::Everything] {
            let mut outbox = outbox();
            look(&mut outbox, &Knocked::Everything, &[Slot::at("a", 5), Slot::at("b", 1)]);
            assert_eq!(look(&mut outbox, &looked, &[Slot::at("b", 1)]), ["a 6 unlinked"]);
            assert!(look(&mut outbox, &looked, &[Slot::at("b", 1)]).is_empty());
        }
    }

    #[test]
    fn a_slot_that_was_not_looked_at_is_not_missed() {
        let mut outbox = outbox();
        look(&mut outbox, &Knocked::Everything, &[Slot::at("a", 5), Slot::at("b", 1)]);
        assert!(look(&mut outbox, &only("b"), &[Slot::at("b", 1)]).is_empty());
    }

    #[test]
    fn a_slot_installed_again_under_its_name_is_another_one() {
        let mut outbox = outbox();
        look(&mut outbox, &Knocked::Everything, &[Slot::at("a", 5)]);
        let again = Slot { incarnation: "another", ..Slot::at("a", 7) };
        assert_eq!(look(&mut outbox, &only("a"), &[again]), ["a 6 unlinked", "a 7 customns/oauth"]);
        assert!(look(&mut outbox, &only("a"), &[Slot::at("a", 5)]).is_empty(), "the one that is gone");
    }

    #[test]
    fn the_slow_poll_finds_what_is_new_changed_or_gone() {
        let mut outbox = outbox();
        look(
            &mut outbox,
            &Knocked::Everything,
            &[Slot::at("gone", 1), Slot::at("same", 2), Slot::at("newer", 3)],
        );
        let name = |text: &str| text.parse::<SlotName>().unwrap();
        let versions =
            [(name("same"), Version(2)), (name("newer"), Version(4)), (name("fresh"), Version(1))].into();
        let expected: BTreeSet<SlotName> = ["fresh", "gone", "newer"].map(name).into();
        assert_eq!(outbox.differing(&versions), expected);
    }

    proptest! {
        #[test]
        fn h10_the_newest_version_told_only_grows(versions in proptest::collection::vec(1i64..30, 1..20)) {
            let mut outbox = outbox();
            let mut newest = 0;
            for version in versions {
                let states = [Slot::at("a", version).state()];
                for event in outbox.bring(&Knocked::Everything, &states, NOW) {
                    prop_assert!(event.version.0 > newest);
                    newest = event.version.0;
                }
            }
        }
    }
}
