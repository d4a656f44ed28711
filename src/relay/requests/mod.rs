//! Requests of web services and commands for hubs: brought over one connection, answered over the same.
//!
//! An inquiry goes to exactly one connection: the newest here that subscribes to its slot (a command: that speaks for
//! the whole device), else one of another replica ([`carrier`]). Nothing is queued beyond the few frames that a
//! connection has not yet written, and nothing is sent twice: where the connection ends before it has answered, its
//! asker is told so at once, and whether to ask again is theirs to decide. How many are under way is bounded for each
//! slot, each device and in all ([`places`]); each waits for `answer` at most.

mod asker;
mod carrier;
mod desk;
mod lines;
mod mailbox;
mod places;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use self::{
    asker::Asked,
    desk::Errand,
    lines::{Brought, Lines},
};
pub(super) use self::{
    carrier::{Carrier, CarrierParts},
    desk::{Desk, Said},
};
pub use self::{
    mailbox::Mailbox,
    places::{Crowded, Place, Places},
};
use super::Relay;
use crate::{
    domain::{
        ids::{DeviceId, InquiryId, SlotName},
        inquiry::{Inquiry, Reply},
        json::Object,
        metric,
    },
    store::StoreError,
};

/// Times and limits of requests and commands.
#[derive(Debug, Clone, Copy)]
pub struct RequestSettings {
    /// For an answer.
    pub answer: Duration,
    /// How many may be under way.
    pub places: Places,
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self { answer: Duration::from_secs(30), places: Places::default() }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is connected who could answer.
    #[error("nobody is connected")]
    Nobody,
    /// Who is connected has enough to do.
    #[error("the plugin is busy")]
    Busy,
    /// The connection ended before there was an answer.
    #[error("the plugin's connection ended")]
    Disconnected,
    /// There was no answer in time.
    #[error("there was no answer in time")]
    NoAnswer,
    /// This replica is going away.
    #[error("this replica is going away")]
    Draining,
    /// The database, over which other replicas are asked, failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// The database took too long.
    #[error("the database took too long")]
    DatabaseTimeout,
}

impl AskError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Busy => "busy",
            Self::Disconnected => "disconnected",
            Self::NoAnswer => "no_answer",
            Self::Draining | Self::Store(_) | Self::DatabaseTimeout => "failed",
        }
    }
}

/// The part of a relay that brings inquiries. Clones are the same.
#[derive(Clone)]
pub(super) struct Requests {
    settings: RequestSettings,
    lines: Lines,
    places: places::Taken,
    carrier: Arc<Carrier>,
}

impl Requests {
    pub(super) fn new(settings: RequestSettings, carrier: Carrier) -> Self {
        let places = places::Taken::new(settings.places);
        Self { settings, lines: Lines::default(), places, carrier: Arc::new(carrier) }
    }

    /// A desk for a connection, until dropped.
    pub(super) fn open(&self, access: &super::RelayAccess) -> Desk {
        self.lines.open(access.device, Arc::clone(&access.topics))
    }

    /// Waits until what was taken for other replicas is over, and what they were asked is taken back.
    pub(super) async fn finished(&self) {
        self.carrier.finished().await;
    }
}

impl Relay {
    /// Finds a place for an inquiry that is there in whole and may be brought. A slot of `None` is the hub itself.
    pub fn reserve(&self, device: DeviceId, slot: Option<&SlotName>) -> Result<Place, Crowded> {
        self.requests.places.take(device, slot)
    }

    /// Brings an inquiry to whoever answers for `device`, and waits for what comes back.
    pub async fn ask(&self, device: DeviceId, inquiry: &Inquiry, place: Place) -> Result<Reply, AskError> {
        let outcome = self.brought(device, inquiry, place).await;
        let word = match &outcome {
            Ok(Reply::HandedOver) => "handed_over",
            Ok(Reply::Response(_) | Reply::Outcome { .. }) => "answered",
            Err(error) => error.outcome(),
        };
        metrics::counter!(metric::INQUIRIES, "kind" => inquiry.kind(), "outcome" => word).increment(1);
        outcome
    }

    async fn brought(&self, device: DeviceId, inquiry: &Inquiry, place: Place) -> Result<Reply, AskError> {
        let deadline = Instant::now() + self.requests.settings.answer;
        let id = InquiryId::draw(self.entropy());
        let (answer, coming) = oneshot::channel();
        let errand = Errand { id, wanted: inquiry.wanted(), frame: inquiry.frame(id).into(), answer };
        let members = match self.requests.lines.bring(device, inquiry.slot(), errand) {
            Brought::Yes => timeout_at(deadline, coming)
                .await
                .map_err(|_| AskError::NoAnswer)?
                .map_err(|_| AskError::Disconnected)?,
            Brought::Busy => return Err(AskError::Busy),
            Brought::Nobody(errand) => {
                let slot = inquiry.slot().cloned();
                self.brought_elsewhere(Asked { device, slot, errand, deadline }, place).await?
            }
        };
        // The connection that answered has read it already.
        Reply::read(inquiry.wanted(), &members).map_err(|_| AskError::NoAnswer)
    }

    async fn brought_elsewhere(&self, asked: Asked, place: Place) -> Result<Object, AskError> {
        tokio::select! {
            biased;
            () = self.drain().cancelled() => Err(AskError::Draining),
            answer = self.requests.carrier.ask(asked, place) => answer,
        }
    }

    /// Takes what other replicas ask and this one can bring, and collects what they answered. Runs until the drain:
    /// one of these on every replica.
    pub async fn carry_requests(self) {
        let Requests { carrier, lines, .. } = self.requests.clone();
        carrier::run(carrier, lines, self.parts.drain.clone()).await;
    }
}

#[cfg(test)]
#[path = "../requests_tests.rs"]
mod tests;
