//! Inquiries between replicas: the one that is asked need not be the one that has the connection.
//!
//! The database is the truth and a knock only hurries: the asking replica posts a row and knocks at a door that all
//! replicas mind; who has a connection for it takes the row (one guarded statement, so one replica gets it), brings
//! it, writes the answer into the row and knocks at the asker's own door; the asker takes the row away. Behind both
//! doors stands a look every second, which goes through all that waits, so that nothing hides what is for here; and one
//! at what is being brought, which is let go of where its row is gone. A row that nobody has taken within two seconds
//! is taken back, and can't be taken any more: nobody is connected. Each replica notes every twenty seconds that it
//! runs; where no other does, nothing is posted at all. A replica that dies leaves rows that are forgotten when their
//! time is over, and askers that get no answer in time. The asking half is in [`asker`](super::asker).

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::{
    sync::{Semaphore, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    AskError,
    desk::Errand,
    lines::{Brought, Lines},
    mailbox::Mailbox,
};
use crate::{
    bus::Bus,
    domain::{
        clock::{Clock, Entropy},
        ids::{DeviceId, InquiryId, ReplicaId, SlotAddress},
        json::Object,
    },
    relay::{source::Answer, standing::until},
    store::{TakenRequest, WAITING_PAGE, WaitingRequest},
};

/// Between two looks that nobody knocked for.
const LOOK: Duration = Duration::from_secs(1);
/// For another replica to take what was posted.
pub(super) const TAKING: Duration = Duration::from_secs(2);
/// Looks between two notes that this replica runs.
const LOOKS_A_NOTE: u32 = 20;
/// A replica that was not seen for so long is gone.
pub(super) const GONE: time::Duration = time::Duration::MINUTE;
/// The device whose door all replicas mind; a real one's id is random.
pub(super) const ANY_REPLICA: DeviceId = DeviceId(Uuid::nil());

/// How what was taken ended.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    Answered(Object),
    Disconnected,
    Busy,
    Nobody,
}

/// What a carrier works with.
pub(in crate::relay) struct CarrierParts {
    pub(in crate::relay) mailbox: Arc<dyn Mailbox>,
    pub(in crate::relay) bus: Bus,
    pub(in crate::relay) clock: Arc<dyn Clock>,
    pub(in crate::relay) database: Duration,
    /// Inquiries of other replicas that are brought here at once.
    pub(in crate::relay) most: usize,
}

/// By inquiry, in a map that is never held across an await.
pub(super) type ById<T> = Mutex<HashMap<InquiryId, T>>;

/// Asks other replicas, and is asked by them.
pub(in crate::relay) struct Carrier {
    pub(super) parts: CarrierParts,
    pub(super) replica: ReplicaId,
    /// Who waits here for what others bring.
    pub(super) waiting: ById<oneshot::Sender<Ended>>,
    /// What is brought here for others; what is taken out of it is let go of.
    bringing: ById<oneshot::Sender<()>>,
    pub(super) under_way: TaskTracker,
    room: Arc<Semaphore>,
}

/// Keeps an inquiry in a map, until dropped.
pub(super) struct Listed<'a, T>(&'a ById<T>, InquiryId);

impl<'a, T> Listed<'a, T> {
    pub(super) fn enter(by_id: &'a ById<T>, id: InquiryId, entry: T) -> Self {
        lock(by_id).insert(id, entry);
        Self(by_id, id)
    }
}

impl<T> Drop for Listed<'_, T> {
    fn drop(&mut self) {
        lock(self.0).remove(&self.1);
    }
}

impl Carrier {
    pub(in crate::relay) fn new(parts: CarrierParts, entropy: &dyn Entropy) -> Self {
        let room = Arc::new(Semaphore::new(parts.most));
        let (waiting, bringing, under_way) = (Mutex::default(), Mutex::default(), TaskTracker::new());
        Self { replica: ReplicaId::draw(entropy), parts, waiting, bringing, under_way, room }
    }

    /// Waits until nothing is brought for others any more, and nothing that was asked of them is left there.
    pub(super) async fn finished(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }

    /// Hands out what was answered to this replica.
    async fn collect(&self) -> Result<(), AskError> {
        let ids: Vec<InquiryId> = lock(&self.waiting).keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        for (id, answer) in self.in_time(self.parts.mailbox.collect(&ids)).await? {
            if let (Some(asker), Ok(ended)) = (lock(&self.waiting).remove(&id), serde_json::from_str(&answer))
            {
                // Whoever asked may have gone.
                let _ = asker.send(ended);
            }
        }
        Ok(())
    }

    /// Takes what others ask and somebody connected here can be brought.
    async fn take(self: &Arc<Self>, lines: &Lines) -> Result<(), AskError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut ids = Vec::new();
        let mut last: Option<WaitingRequest> = None;
        let room = self.room.available_permits();
        while ids.len() < room {
            let mut page = self.in_time(self.parts.mailbox.waiting(self.replica, last.as_ref())).await?;
            let whole = page.len() >= WAITING_PAGE;
            let here = page.iter().filter(|waiting| lines.reach(waiting.device, waiting.slot.as_ref()));
            ids.extend(here.map(|waiting| waiting.id));
            last = page.pop();
            if !whole {
                break;
            }
        }
        ids.truncate(room);
        if ids.is_empty() {
            return Ok(());
        }
        for taken in self.in_time(self.parts.mailbox.take(&ids)).await? {
            let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { continue };
            let (carrier, lines) = (Arc::clone(self), lines.clone());
            self.under_way.spawn(async move {
                carrier.carry(&lines, taken).await;
                drop(room);
            });
        }
        Ok(())
    }

    /// Lets go of what is brought here and nobody waits for any more.
    async fn let_go(&self) -> Result<(), AskError> {
        let ids: Vec<InquiryId> = lock(&self.bringing).keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let awaited = self.in_time(self.parts.mailbox.awaited(&ids)).await?;
        let mut bringing = lock(&self.bringing);
        for id in ids.iter().filter(|id| !awaited.contains(id)) {
            bringing.remove(id);
        }
        Ok(())
    }

    /// Brings what was taken, and writes down how it ended.
    async fn carry(&self, lines: &Lines, taken: TakenRequest) {
        let (answer, coming) = oneshot::channel();
        let id = taken.waiting.id;
        let (kept, let_go) = oneshot::channel();
        let _listed = Listed::enter(&self.bringing, id, kept);
        let errand = Errand { id, wanted: taken.wanted, frame: taken.frame.as_str().into(), answer };
        let patience = until(taken.expires_at, self.parts.clock.now());
        let ended = match lines.bring(taken.waiting.device, taken.waiting.slot.as_ref(), errand) {
            Brought::Yes => tokio::select! {
                answer = timeout(patience, coming) => match answer {
                    Ok(Ok(members)) => Ended::Answered(members),
                    Ok(Err(_)) => Ended::Disconnected,
                    // Nobody waits any more.
                    Err(_) => return,
                },
                _ = let_go => return,
            },
            Brought::Busy => Ended::Busy,
            Brought::Nobody(_) => Ended::Nobody,
        };
        let text = serde_json::to_string(&ended).unwrap_or_default();
        match self.in_time(self.parts.mailbox.answer(id, &text)).await {
            Ok(()) => self.knock(DeviceId(taken.asked_by.0)),
            Err(error) => complain("an answer could not be passed to another replica", &error),
        }
    }

    async fn tend(&self) -> Result<(), AskError> {
        let now: OffsetDateTime = self.parts.clock.now();
        self.in_time(self.parts.mailbox.tend(self.replica, now - GONE, now)).await
    }

    /// A knock at a replica's door.
    pub(super) fn knock(&self, door: DeviceId) {
        if let Ok(slot) = "requests".parse() {
            self.parts.bus.knock(&SlotAddress { device: door, slot });
        }
    }

    pub(super) async fn in_time<T>(&self, asking: Answer<'_, T>) -> Result<T, AskError> {
        let answer = timeout(self.parts.database, asking).await;
        Ok(answer.map_err(|_| AskError::DatabaseTimeout)??)
    }
}

/// Minds both doors until the drain.
pub(super) async fn run(carrier: Arc<Carrier>, lines: Lines, drain: CancellationToken) {
    let mut anybody = carrier.parts.bus.subscribe(ANY_REPLICA);
    let mut own = carrier.parts.bus.subscribe(DeviceId(carrier.replica.0));
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = 0;
    loop {
        let done = tokio::select! {
            () = drain.cancelled() => break,
            _ = anybody.recv() => carrier.take(&lines).await,
            _ = own.recv() => carrier.collect().await,
            _ = looks.tick() => {
                let tended = if look % LOOKS_A_NOTE == 0 { carrier.tend().await } else { Ok(()) };
                look = look.wrapping_add(1);
                tended.and(carrier.let_go().await).and(carrier.take(&lines).await).and(carrier.collect().await)
            }
        };
        if let Err(error) = done {
            complain(
                "requests of other replicas could not be looked after; the next look tries again",
                &error,
            );
        }
    }
    // Who is left need not be patient with this one.
    if let Err(error) = carrier.in_time(carrier.parts.mailbox.leave(carrier.replica)).await {
        complain("other replicas will wait a little for this one", &error);
    }
}

/// A panic elsewhere leaves these valid.
fn lock<T>(by_id: &ById<T>) -> MutexGuard<'_, HashMap<InquiryId, T>> {
    by_id.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn complain(what: &'static str, error: &AskError) {
    tracing::warn!(error = error as &dyn Error, "{what}");
}
