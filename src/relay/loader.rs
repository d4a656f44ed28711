//! Looks at the database, taken together: what many connections want to read at the same time is one statement.
//!
//! A look goes out at once while nobody else looks. While [`AT_ONCE`] statements run, those that come wait and are
//! answered together by the next one; so a storm of reconnects takes no more of the database's connections than that,
//! and the rest of the service keeps its share. What waits is bounded by the connections: each has one look under way.
//! A slot that can't be read fails the looks at its own device, and no others.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::source::{SlotSource, StateOf};
use crate::{
    bus::Knocked,
    domain::{
        ids::{DeviceId, SlotAddress},
        slot::SlotState,
    },
    store::StoreError,
};

/// Statements that run at once.
const AT_ONCE: usize = 2;
/// Looks that one statement answers.
const BATCH: usize = 128;

/// Takes looks together. Clones are the same.
#[derive(Clone)]
pub(super) struct Loader(Arc<Shared>);

struct Shared {
    source: Arc<dyn SlotSource>,
    patience: Duration,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Look>,
    running: usize,
}

struct Look {
    device: DeviceId,
    at: Knocked,
    answer: oneshot::Sender<Vec<SlotState>>,
}

impl Loader {
    pub(super) fn new(source: Arc<dyn SlotSource>, patience: Duration) -> Self {
        Self(Arc::new(Shared { source, patience, queue: Mutex::default() }))
    }

    /// The states of what was knocked at, of those slots that exist; `None` where they could not be read.
    pub(super) async fn look(&self, device: DeviceId, at: Knocked) -> Option<Vec<SlotState>> {
        let answered = self.queue(device, at);
        // Those before it in the queue take their time too.
        timeout(2 * self.0.patience, answered).await.ok()?.ok()
    }

    fn queue(&self, device: DeviceId, at: Knocked) -> oneshot::Receiver<Vec<SlotState>> {
        let (answer, answered) = oneshot::channel();
        let mut queue = self.0.lock();
        queue.waiting.push_back(Look { device, at, answer });
        if queue.running < AT_ONCE {
            queue.running += 1;
            tokio::spawn(run(Running { shared: Arc::clone(&self.0), ended: false }));
        }
        answered
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of those that run. Ends under the lock that finds nothing to do, so that nobody comes in between unseen.
struct Running {
    shared: Arc<Shared>,
    ended: bool,
}

impl Running {
    fn next(&mut self) -> Option<Vec<Look>> {
        let mut queue = self.shared.lock();
        if queue.waiting.is_empty() {
            queue.running -= 1;
            self.ended = true;
            return None;
        }
        let count = queue.waiting.len().min(BATCH);
        Some(queue.waiting.drain(..count).filter(|look| !look.answer.is_closed()).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.lock().running -= 1;
        }
    }
}

async fn run(mut running: Running) {
    while let Some(looks) = running.next() {
        running.shared.answer(looks).await;
    }
}

impl Shared {
    async fn answer(&self, looks: Vec<Look>) {
        let (mut devices, mut slots) = (BTreeSet::new(), BTreeSet::new());
        for Look { device, at, .. } in &looks {
            match at {
                Knocked::Everything => drop(devices.insert(*device)),
                Knocked::Slots(names) => {
                    slots
                        .extend(names.iter().map(|slot| SlotAddress { device: *device, slot: slot.clone() }));
                }
            }
        }
        let (devices, slots) = (Vec::from_iter(devices), Vec::from_iter(slots));
        let (whole, single) = futures_util::future::join(
            self.ask(devices.is_empty(), self.source.list_states(&devices)),
            self.ask(slots.is_empty(), self.source.find_states(&slots)),
        )
        .await;
        let (mut whole, mut single) = (whole.map(Found::new), single.map(Found::new));
        for Look { device, at, answer } in looks {
            let states = match &at {
                Knocked::Everything => whole.as_mut().and_then(|found| found.all(device)),
                Knocked::Slots(_) => single.as_mut().and_then(|found| found.at(device, &at)),
            };
            if let Some(states) = states {
                // Whoever asked may be gone.
                let _ = answer.send(states);
            }
        }
    }

    /// What fails is told to the operator here, once for all who asked; they learn it by getting nothing.
    async fn ask(
        &self,
        nothing: bool,
        asking: impl Future<Output = Result<Vec<StateOf>, StoreError>>,
    ) -> Option<Vec<StateOf>> {
        if nothing {
            return Some(Vec::new());
        }
        match timeout(self.patience, asking).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                let error: &(dyn Error + 'static) = &error;
                tracing::warn!(error, "the relay could not read slots");
                None
            }
            Err(_) => {
                tracing::warn!("the database took too long for the relay");
                None
            }
        }
    }
}

/// What was found, by device.
struct Found {
    states: HashMap<DeviceId, Vec<SlotState>>,
    unreadable: HashSet<DeviceId>,
}

impl Found {
    fn new(rows: Vec<StateOf>) -> Self {
        let mut found = Self { states: HashMap::new(), unreadable: HashSet::new() };
        for (device, state) in rows {
            match state {
                Ok(state) => found.states.entry(device).or_default().push(state),
                Err(error) => {
                    let error: &(dyn Error + 'static) = &error;
                    tracing::warn!(%device, error, "a slot of this device can't be read");
                    found.unreadable.insert(device);
                }
            }
        }
        found
    }

    fn all(&self, device: DeviceId) -> Option<Vec<SlotState>> {
        let readable = !self.unreadable.contains(&device);
        readable.then(|| self.states.get(&device).cloned().unwrap_or_default())
    }

    fn at(&self, device: DeviceId, at: &Knocked) -> Option<Vec<SlotState>> {
        let mut states = self.all(device)?;
        if let Knocked::Slots(slots) = at {
            states.retain(|state| slots.contains(&state.address.slot));
        }
        Some(states)
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
