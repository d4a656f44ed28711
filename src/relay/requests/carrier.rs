//! Inquiries between replicas: the one that is asked need not be the one that has the connection.
//!
//! The database is the truth and a knock only hurries: the asking replica posts a row and knocks at a door that all
//! replicas mind; who has a connection for it takes the row (one guarded statement, so one replica gets it), brings
//! it, writes the answer into the row and knocks at the asker's own door; the asker takes the row away. Behind both
//! doors stands a look every second. A row that nobody has taken within two seconds is taken back: nobody is
//! connected. Each replica notes every twenty seconds that it runs; where no other does, nothing is posted at all. A
//! replica that dies leaves rows that are forgotten when their time is over, and askers that get no answer in time.

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
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
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
        ids::{DeviceId, InquiryId, ReplicaId, SlotAddress, SlotName},
        json::Object,
    },
    relay::{source::Answer, standing::until},
    store::{NewRelayRequest, TakenRequest},
};

/// Between two looks that nobody knocked for.
const LOOK: Duration = Duration::from_secs(1);
/// For another replica to take what was posted.
const TAKING: Duration = Duration::from_secs(2);
/// Looks between two notes that this replica runs.
const LOOKS_A_NOTE: u32 = 20;
/// A replica that was not seen for so long is gone.
const GONE: time::Duration = time::Duration::MINUTE;
/// The device whose door all replicas mind; a real one's id is random.
const ANY_REPLICA: DeviceId = DeviceId(Uuid::nil());

/// How what was taken ended.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
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

/// Asks other replicas, and is asked by them.
pub(in crate::relay) struct Carrier {
    parts: CarrierParts,
    replica: ReplicaId,
    waiting: Mutex<HashMap<InquiryId, oneshot::Sender<Ended>>>,
    carried: TaskTracker,
    room: Arc<Semaphore>,
}

/// Keeps an asker among those that wait.
struct Asker<'a>(&'a Carrier, InquiryId);

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        self.0.askers().remove(&self.1);
    }
}

impl Carrier {
    pub(in crate::relay) fn new(parts: CarrierParts, entropy: &dyn Entropy) -> Self {
        let room = Arc::new(Semaphore::new(parts.most));
        let (waiting, carried) = (Mutex::default(), TaskTracker::new());
        Self { replica: ReplicaId::draw(entropy), parts, waiting, carried, room }
    }

    /// Has another replica bring an errand, and waits for what it answers.
    pub(super) async fn ask(
        &self,
        device: DeviceId,
        slot: Option<&SlotName>,
        errand: &Errand,
        deadline: Instant,
    ) -> Result<Object, AskError> {
        let (answer, mut coming) = oneshot::channel();
        self.askers().insert(errand.id, answer);
        let _asker = Asker(self, errand.id);
        let now = self.parts.clock.now();
        let new = NewRelayRequest {
            id: errand.id,
            asked_by: self.replica,
            device,
            slot,
            wanted: errand.wanted,
            frame: &errand.frame,
            expires_at: now + deadline.saturating_duration_since(Instant::now()),
        };
        if !self.in_time(self.parts.mailbox.post(&new, now - GONE)).await? {
            return Err(AskError::Nobody);
        }
        self.knock(ANY_REPLICA);
        let taken_by = deadline.min(Instant::now() + TAKING);
        let ended = match timeout_at(taken_by, &mut coming).await {
            Ok(ended) => ended,
            Err(_) if self.in_time(self.parts.mailbox.withdraw(errand.id)).await? => {
                return Err(AskError::Nobody);
            }
            Err(_) => timeout_at(deadline, coming).await.map_err(|_| AskError::NoAnswer)?,
        };
        match ended.unwrap_or(Ended::Disconnected) {
            Ended::Answered(members) => Ok(members),
            Ended::Disconnected => Err(AskError::Disconnected),
            Ended::Busy => Err(AskError::Busy),
            Ended::Nobody => Err(AskError::Nobody),
        }
    }

    pub(super) async fn finished(&self) {
        self.carried.close();
        self.carried.wait().await;
    }

    /// Hands out what was answered to this replica.
    async fn collect(&self) -> Result<(), AskError> {
        let ids: Vec<InquiryId> = self.askers().keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        for (id, answer) in self.in_time(self.parts.mailbox.collect(&ids)).await? {
            if let (Some(asker), Ok(ended)) = (self.askers().remove(&id), serde_json::from_str(&answer)) {
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
        let now = self.parts.clock.now();
        let mut ids = Vec::new();
        for waiting in self.in_time(self.parts.mailbox.waiting(self.replica, now)).await? {
            if lines.reach(waiting.device, waiting.slot.as_ref()) && ids.len() < self.room.available_permits()
            {
                ids.push(waiting.id);
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        for taken in self.in_time(self.parts.mailbox.take(&ids)).await? {
            let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { continue };
            let (carrier, lines) = (Arc::clone(self), lines.clone());
            self.carried.spawn(async move {
                carrier.carry(&lines, taken).await;
                drop(room);
            });
        }
        Ok(())
    }

    /// Brings what was taken, and writes down how it ended.
    async fn carry(&self, lines: &Lines, taken: TakenRequest) {
        let (answer, coming) = oneshot::channel();
        let id = taken.waiting.id;
        let errand = Errand { id, wanted: taken.wanted, frame: taken.frame.as_str().into(), answer };
        let patience = until(taken.expires_at, self.parts.clock.now());
        let ended = match lines.bring(taken.waiting.device, taken.waiting.slot.as_ref(), errand) {
            Brought::Yes => match timeout(patience, coming).await {
                Ok(Ok(members)) => Ended::Answered(members),
                Ok(Err(_)) => Ended::Disconnected,
                // Nobody waits any more.
                Err(_) => return,
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
    fn knock(&self, door: DeviceId) {
        if let Ok(slot) = "requests".parse() {
            self.parts.bus.knock(&SlotAddress { device: door, slot });
        }
    }

    async fn in_time<T>(&self, asking: Answer<'_, T>) -> Result<T, AskError> {
        let answer = timeout(self.parts.database, asking).await;
        Ok(answer.map_err(|_| AskError::DatabaseTimeout)??)
    }

    fn askers(&self) -> MutexGuard<'_, HashMap<InquiryId, oneshot::Sender<Ended>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
                tended.and(carrier.take(&lines).await).and(carrier.collect().await)
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

fn complain(what: &'static str, error: &AskError) {
    tracing::warn!(error = error as &dyn Error, "{what}");
}
