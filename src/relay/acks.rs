//! Acks that the database could not take: kept until it can, of each slot the newest.
//!
//! Without them a plugin that said once that it has its tokens would have to be told again to say so again, and it is
//! told nothing as long as its connection lasts.

use std::collections::BTreeMap;

use crate::domain::ids::{SlotName, Version};

/// What is still to be acknowledged. Its bound is whoever keeps: one a slot.
#[derive(Default)]
pub(super) struct KeptAcks(BTreeMap<SlotName, Version>);

impl KeptAcks {
    /// Keeps an ack, unless a newer one of its slot is kept.
    pub(super) fn keep(&mut self, slot: SlotName, version: Version) {
        let newest = self.0.entry(slot).or_insert(version);
        *newest = version.max(*newest);
    }

    /// The database has seen this one, and with it all of its slot that are older.
    pub(super) fn seen(&mut self, slot: &SlotName, version: Version) {
        if self.0.get(slot).is_some_and(|kept| *kept <= version) {
            self.0.remove(slot);
        }
    }

    /// Drops those that mean nothing any more.
    pub(super) fn retain(&mut self, mut means_something: impl FnMut(&SlotName, Version) -> bool) {
        self.0.retain(|slot, version| means_something(slot, *version));
    }

    /// One that is kept, if there is any.
    pub(super) fn first(&self) -> Option<(SlotName, Version)> {
        self.0.first_key_value().map(|(slot, version)| (slot.clone(), *version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SlotName {
        text.parse().unwrap()
    }

    #[test]
    fn of_each_slot_the_newest_is_kept() {
        let mut acks = KeptAcks::default();
        for (slot, version) in [("b", 1), ("a", 2), ("a", 4), ("a", 3)] {
            acks.keep(name(slot), Version(version));
        }
        assert_eq!(acks.first(), Some((name("a"), Version(4))));
        acks.seen(&name("a"), Version(3));
        assert_eq!(acks.first(), Some((name("a"), Version(4))), "an older one covers less");
        acks.seen(&name("a"), Version(5));
        assert_eq!(acks.first(), Some((name("b"), Version(1))));
        acks.seen(&name("b"), Version(1));
        assert_eq!(acks.first(), None);
    }

    #[test]
    fn what_means_nothing_any_more_is_dropped() {
        let mut acks = KeptAcks::default();
        acks.keep(name("a"), Version(2));
        acks.keep(name("b"), Version(2));
        acks.retain(|slot, version| (slot, version) == (&name("b"), Version(2)));
        assert_eq!(acks.first(), Some((name("b"), Version(2))));
    }
}
