//! The connections of this replica that take inquiries, the newest last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use super::desk::{Desk, Errand, MOST_WAITING};
use crate::domain::{
    ids::{DeviceId, SlotName},
    topic::{Channel, Topics},
};

/// What became of an errand.
pub(super) enum Brought {
    /// A connection has it.
    Yes,
    /// The connection that should have it does not keep up.
    Busy,
    /// No connection here would take it.
    Nobody(Errand),
}

/// All of them. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<HashMap<DeviceId, Vec<Entry>>>>);

struct Entry {
    topics: Topics,
    errands: mpsc::Sender<Errand>,
}

/// Keeps a connection among them.
pub(super) struct Line {
    lines: Lines,
    device: DeviceId,
    errands: mpsc::WeakSender<Errand>,
}

impl Lines {
    pub(super) fn open(&self, device: DeviceId, topics: Topics) -> Desk {
        let (errands, waiting) = mpsc::channel(MOST_WAITING);
        let line = Line { lines: self.clone(), device, errands: errands.downgrade() };
        self.lock().entry(device).or_default().push(Entry { topics, errands });
        Desk::new(waiting, line)
    }

    /// Whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether somebody here would take an errand for `slot`, or for the hub.
    pub(super) fn reach(&self, device: DeviceId, slot: Option<&SlotName>) -> bool {
        self.lock().get(&device).into_iter().flatten().any(|entry| entry.takes(device, slot))
    }

    /// Gives the errand to the newest connection that would take it.
    pub(super) fn bring(&self, device: DeviceId, slot: Option<&SlotName>, errand: Errand) -> Brought {
        let lines = self.lock();
        let mut newest_first = lines.get(&device).into_iter().flatten().rev();
        match newest_first.find(|entry| entry.takes(device, slot)) {
            None => Brought::Nobody(errand),
            Some(entry) => match entry.errands.try_send(errand) {
                Ok(()) => Brought::Yes,
                Err(mpsc::error::TrySendError::Full(_)) => Brought::Busy,
                Err(mpsc::error::TrySendError::Closed(errand)) => Brought::Nobody(errand),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Vec<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn takes(&self, device: DeviceId, slot: Option<&SlotName>) -> bool {
        match slot {
            Some(slot) => self.topics.allow(Channel::Events, device, slot),
            None => self.topics.cover(device),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        let (Some(entries), Some(own)) = (lines.get_mut(&self.device), self.errands.upgrade()) else {
            return;
        };
        entries.retain(|entry| !entry.errands.same_channel(&own));
        if entries.is_empty() {
            lines.remove(&self.device);
        }
    }
}
