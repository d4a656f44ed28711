//! Asking other replicas: what becomes of one inquiry from its row's beginning to the row's end.
//!
//! A task of its own minds the row, so that who asked may leave at any moment: what was posted is taken away then,
//! whether somebody has it or not, and who has it finds out. The inquiry keeps its place until then, which bounds how
//! many such tasks and rows there are, of a device and in all; each statement has its time, and the drain waits.

use std::sync::Arc;

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    AskError, Place,
    carrier::{ANY_REPLICA, Carrier, Ended, GONE, Listed, TAKING, complain},
    desk::Errand,
};
use crate::{
    domain::{
        ids::{DeviceId, InquiryId, SlotName},
        json::Object,
    },
    store::NewRelayRequest,
};

/// What another replica is to bring.
pub(super) struct Asked {
    pub(super) device: DeviceId,
    pub(super) slot: Option<SlotName>,
    pub(super) errand: Errand,
    pub(super) deadline: Instant,
}

impl Carrier {
    /// Has another replica bring an errand, and waits for what it answers. Dropped, it takes back what it posted.
    pub(super) async fn ask(self: &Arc<Self>, asked: Asked, place: Place) -> Result<Object, AskError> {
        let (outcome, coming) = oneshot::channel();
        let carrier = Arc::clone(self);
        self.under_way.spawn(async move {
            carrier.mind(asked, outcome).await;
            drop(place);
        });
        coming.await.unwrap_or(Err(AskError::Disconnected))
    }

    async fn mind(&self, asked: Asked, mut outcome: oneshot::Sender<Result<Object, AskError>>) {
        let id = asked.errand.id;
        let (answer, coming) = oneshot::channel();
        let _listed = Listed::enter(&self.waiting, id, answer);
        // Whoever asked may leave meanwhile, but what is half posted could not be taken back.
        let told = match self.post(&asked).await {
            Ok(true) => {
                tokio::select! {
                    biased;
                    () = outcome.closed() => return self.abandon(id).await,
                    ended = self.answered(id, coming, asked.deadline) => outcome.send(ended),
                }
            }
            Ok(false) => outcome.send(Err(AskError::Nobody)),
            Err(error) => {
                let told = outcome.send(Err(error));
                // It may be there for all that.
                self.abandon(id).await;
                told
            }
        };
        // Whoever asked may have left at the last moment, when nothing was there any more to be taken back.
        drop(told);
    }

    async fn post(&self, asked: &Asked) -> Result<bool, AskError> {
        let now = self.parts.clock.now();
        let new = NewRelayRequest {
            id: asked.errand.id,
            asked_by: self.replica,
            device: asked.device,
            slot: asked.slot.as_ref(),
            wanted: asked.errand.wanted,
            frame: &asked.errand.frame,
            taking: TAKING,
            expires_at: now + asked.deadline.saturating_duration_since(Instant::now()),
        };
        let posted = self.in_time(self.parts.mailbox.post(&new, now - GONE)).await?;
        if posted {
            self.knock(ANY_REPLICA);
        }
        Ok(posted)
    }

    async fn answered(
        &self,
        id: InquiryId,
        mut coming: oneshot::Receiver<Ended>,
        deadline: Instant,
    ) -> Result<Object, AskError> {
        let mut taken = false;
        let ended = loop {
            let patience = if taken { deadline } else { deadline.min(Instant::now() + TAKING) };
            match timeout_at(patience, &mut coming).await {
                Ok(ended) => break ended,
                Err(_) if taken => return Err(AskError::NoAnswer),
                Err(_) => {}
            }
            match self.in_time(self.parts.mailbox.withdraw(id)).await {
                Ok(true) => return Err(AskError::Nobody),
                Ok(false) => taken = true,
                // Somebody may have brought it, so that it is not known that nothing happened.
                Err(error) => {
                    complain("a request could not be withdrawn from other replicas", &error);
                    taken = Instant::now() >= deadline;
                }
            }
        };
        match ended.unwrap_or(Ended::Disconnected) {
            Ended::Answered(members) => Ok(members),
            Ended::Disconnected => Err(AskError::Disconnected),
            Ended::Busy => Err(AskError::Busy),
            Ended::Nobody => Err(AskError::Nobody),
        }
    }

    async fn abandon(&self, id: InquiryId) {
        if let Err(error) = self.in_time(self.parts.mailbox.abandon(id)).await {
            complain("a request that nobody waits for stays with other replicas for a while", &error);
        }
    }
}

#[cfg(test)]
#[path = "asker_tests.rs"]
mod tests;
