//! The connections of this replica that take inquiries, the newest last. What one keeps while nothing is asked is
//! small: there are many.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::desk::{Desk, Errand};
use crate::domain::{
    ids::{DeviceId, SlotName},
    topic::{Channel, Topics},
};

/// Frames of one connection that wait to be written.
pub(super) const MOST_WAITING: usize = 16;

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
    topics: Arc<Topics>,
    queue: Arc<Queue>,
}

/// What waits to be written to one connection.
#[derive(Default)]
struct Queue {
    errands: Mutex<VecDeque<Errand>>,
    rung: Notify,
}

/// Keeps a connection among them.
pub(super) struct Line {
    lines: Lines,
    device: DeviceId,
    queue: Arc<Queue>,
}

impl Lines {
    pub(super) fn open(&self, device: DeviceId, topics: Arc<Topics>) -> Desk {
        let queue = Arc::<Queue>::default();
        let mut lines = lock(&self.0);
        // A device has one as a rule.
        let entries = lines.entry(device).or_insert_with(|| Vec::with_capacity(1));
        entries.push(Entry { topics, queue: Arc::clone(&queue) });
        drop(lines);
        Desk::new(Line { lines: self.clone(), device, queue })
    }

    /// Whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// Whether somebody here would take an errand for `slot`, or for the hub.
    pub(super) fn reach(&self, device: DeviceId, slot: Option<&SlotName>) -> bool {
        lock(&self.0).get(&device).into_iter().flatten().any(|entry| entry.takes(device, slot))
    }

    /// Gives the errand to the newest connection that would take it.
    pub(super) fn bring(&self, device: DeviceId, slot: Option<&SlotName>, errand: Errand) -> Brought {
        let lines = lock(&self.0);
        let mut newest_first = lines.get(&device).into_iter().flatten().rev();
        match newest_first.find(|entry| entry.takes(device, slot)) {
            None => Brought::Nobody(errand),
            Some(entry) => entry.queue.put(errand),
        }
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

impl Queue {
    fn put(&self, errand: Errand) -> Brought {
        let mut errands = lock(&self.errands);
        // Whoever asked for these has gone.
        errands.retain(|errand| !errand.answer.is_closed());
        if errands.len() >= MOST_WAITING {
            return Brought::Busy;
        }
        errands.push_back(errand);
        self.rung.notify_one();
        Brought::Yes
    }
}

impl Line {
    /// Waits for an errand that somebody still waits for. Nothing is lost if the future is dropped.
    pub(super) async fn next(&self) -> Errand {
        loop {
            let errand = lock(&self.queue.errands).pop_front();
            match errand {
                Some(errand) if !errand.answer.is_closed() => return errand,
                Some(_) => {}
                None => self.queue.rung.notified().await,
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = lock(&self.lines.0);
        if let Some(entries) = lines.get_mut(&self.device) {
            entries.retain(|entry| !Arc::ptr_eq(&entry.queue, &self.queue));
            if entries.is_empty() {
                lines.remove(&self.device);
            }
        }
    }
}

/// A panic elsewhere leaves these valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
