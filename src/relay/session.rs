//! One connection as a pure machine: what happened goes in, what to do comes out.
//!
//! It decides what the peer is told, what it may do, and when it has to go; `socket` does it. Every message
//! is authorised here against the topics of the access token: what lies outside is answered exactly like
//! what does not exist. Time arrives as a parameter; silence is counted in beats of the heartbeat, so that a
//! clock that jumps drops nobody.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::web::Bytes;
use time::OffsetDateTime;

use super::{
    RelaySettings,
    acks::KeptAcks,
    budget::{Budget, Spending},
    close::Close,
    connections::Versions,
    outbox::Outbox,
    protocol::{Call, CallError, CallId, ClientFrame, FrameError, LARGEST_MESSAGE, Request, ServerFrame},
};
use crate::{
    bus::Knocked,
    domain::{
        clock::Entropy,
        ids::{DeviceId, SlotAddress, SlotName, Version},
        json::Object,
        public_url::PublicUrl,
        slot::SlotState,
        topic::{Channel, Topics},
    },
};

/// Beats in one heartbeat: so fine is silence measured.
pub(super) const BEATS: u32 = 2;

/// Slots that are read one by one; more are read all at once.
const MOST_SINGLE_LOOKS: usize = 4;

/// Something to do.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Send this frame.
    Send(ServerFrame),
    /// Send a ping.
    Ping,
    /// Answer a ping.
    Pong(Bytes),
    /// Acknowledge in the database and report back by [`Session::acked`] or [`Session::not_acked`].
    Ack(SlotAddress, Version),
    /// Read the versions of the device's slots and report back by [`Session::compared`].
    Compare,
    /// Read these slots and report back by [`Session::loaded`].
    Look(Knocked),
    /// Have this answered and report back by [`Session::replied`].
    Call(Call),
    /// Close, and do nothing that comes after.
    Close(Close),
}

/// The state of one connection.
pub(super) struct Session {
    device: DeviceId,
    topics: Arc<Topics>,
    expires_at: OffsetDateTime,
    heartbeat: u64,
    outbox: Outbox,
    messages: Budget,
    acks: Budget,
    controls: Budget,
    bytes: Budget,
    kept: KeptAcks,
    beat: u32,
    silent_beats: u32,
    loaded: bool,
}

impl Session {
    pub(super) fn new(
        device: DeviceId,
        topics: Arc<Topics>,
        expires_at: OffsetDateTime,
        public_url: Arc<PublicUrl>,
        entropy: Arc<dyn Entropy>,
        settings: &RelaySettings,
    ) -> Self {
        Self {
            device,
            topics,
            expires_at,
            heartbeat: settings.heartbeat.as_secs(),
            outbox: Outbox::new(public_url, entropy),
            messages: Budget::new(settings.limits.messages),
            acks: Budget::new(settings.limits.acks),
            controls: Budget::new(settings.limits.controls),
            bytes: Budget::new(settings.limits.bytes),
            kept: KeptAcks::default(),
            beat: 0,
            silent_beats: 0,
            loaded: false,
        }
    }

    /// The connection stands.
    pub(super) fn opened(&self) -> Vec<Effect> {
        let hello = ServerFrame::Hello { heartbeat: self.heartbeat };
        vec![Effect::Send(hello), Effect::Look(Knocked::Everything)]
    }

    /// Somebody knocked.
    pub(super) fn knocked(&self, knocked: Knocked) -> Vec<Effect> {
        match knocked {
            Knocked::Everything => vec![Effect::Compare],
            Knocked::Slots(slots) => self.look_at(slots.into_iter()),
        }
    }

    /// The slow poll, or an answer to [`Effect::Compare`], says what the database holds.
    pub(super) fn compared(&self, versions: &Versions) -> Vec<Effect> {
        self.look_at(self.outbox.differing(versions).into_iter())
    }

    fn look_at(&self, slots: impl Iterator<Item = SlotName>) -> Vec<Effect> {
        let slots: BTreeSet<SlotName> =
            slots.filter(|slot| self.topics.allow(Channel::Events, self.device, slot)).collect();
        match slots.len() {
            0 => Vec::new(),
            1..=MOST_SINGLE_LOOKS => vec![Effect::Look(Knocked::Slots(slots))],
            _ => vec![Effect::Look(Knocked::Everything)],
        }
    }

    /// All that was found where `looked` pointed.
    pub(super) fn loaded(
        &mut self,
        looked: &Knocked,
        mut states: Vec<SlotState>,
        now: OffsetDateTime,
    ) -> Vec<Effect> {
        self.loaded = true;
        states.retain(|state| self.topics.allow(Channel::Events, self.device, &state.address.slot));
        let events = self.outbox.bring(looked, &states, now);
        events.into_iter().map(|event| Effect::Send(ServerFrame::Event(event))).collect()
    }

    /// The slots could not be read. The slow poll tries again, but a connection that was told nothing yet is
    /// of no use.
    pub(super) fn not_loaded(&self) -> Vec<Effect> {
        if self.loaded { Vec::new() } else { vec![Effect::Close(Close::Failed)] }
    }

    /// A text message came.
    pub(super) fn text(&mut self, text: &str, now: OffsetDateTime) -> Vec<Effect> {
        self.silent_beats = 0;
        if text.len() > LARGEST_MESSAGE {
            return vec![Effect::Close(Close::TooBig)];
        }
        if self.bytes.spend(text.len(), now) != Spending::Within {
            return vec![Effect::Close(Close::TooMany)];
        }
        match text.parse() {
            Ok(ClientFrame::Ack { slot, version }) => self.ack(slot, version, now),
            Ok(ClientFrame::Call(call)) => self.counted(now, |session| session.call(call)),
            Err(error) => self.counted(now, |_| Effect::Send(ServerFrame::Error(error))),
        }
    }

    /// An answer came to what the peer was asked, maybe too late. It counts towards no limit: what was asked did.
    pub(super) fn answered(&mut self, error: Option<FrameError>) -> Vec<Effect> {
        self.silent_beats = 0;
        error.map(|error| Effect::Send(ServerFrame::Error(error))).into_iter().collect()
    }

    /// An answer came that is none, of this many bytes. It may be sent again, so it counts as any other text does.
    pub(super) fn misspoke(&mut self, bytes: usize, error: FrameError, now: OffsetDateTime) -> Vec<Effect> {
        self.silent_beats = 0;
        if self.bytes.spend(bytes, now) != Spending::Within {
            return vec![Effect::Close(Close::TooMany)];
        }
        self.counted(now, |_| Effect::Send(ServerFrame::Error(error)))
    }

    fn ack(&mut self, slot: SlotName, version: Version, now: OffsetDateTime) -> Vec<Effect> {
        if self.acks.spend(1, now) != Spending::Within {
            vec![Effect::Close(Close::TooMany)]
        } else if self.topics.allow(Channel::Ack, self.device, &slot) {
            vec![Effect::Ack(SlotAddress { device: self.device, slot }, version)]
        } else {
            Vec::new()
        }
    }

    /// The database was asked to acknowledge this: the next that it could not be asked before has its turn.
    pub(super) fn acked(&mut self, slot: &SlotName, version: Version) -> Vec<Effect> {
        self.kept.seen(slot, version);
        self.ack_again()
    }

    /// The database could not be asked. It is on the next beat, if this is about something that was told here.
    pub(super) fn not_acked(&mut self, slot: SlotName, version: Version) {
        if self.outbox.has_told(&slot, version) {
            self.kept.keep(slot, version);
        }
    }

    /// One at a time, so that a database that is still away is waited for once.
    fn ack_again(&mut self) -> Vec<Effect> {
        self.kept.retain(|slot, version| self.outbox.has_told(slot, version));
        let (device, first) = (self.device, self.kept.first());
        first.map(|(slot, version)| Effect::Ack(SlotAddress { device, slot }, version)).into_iter().collect()
    }

    fn counted(&mut self, now: OffsetDateTime, effect: impl FnOnce(&Self) -> Effect) -> Vec<Effect> {
        vec![match self.messages.spend(1, now) {
            Spending::Within => effect(self),
            Spending::Over => Effect::Send(ServerFrame::Error(FrameError::new(
                "too_many_messages",
                "Send fewer messages a minute. This one was ignored.",
            ))),
            Spending::FarOver => Effect::Close(Close::TooMany),
        }]
    }

    fn call(&self, call: Call) -> Effect {
        let channel = match call.request {
            Request::Settings(_) => Channel::Settings,
            Request::Token => Channel::Events,
        };
        if self.topics.allow(channel, self.device, &call.slot) {
            Effect::Call(call)
        } else {
            Effect::Send(ServerFrame::Reply { id: call.id, outcome: Err(CallError::not_found()) })
        }
    }

    /// A call was answered.
    pub(super) fn replied(id: CallId, outcome: Result<Object, CallError>) -> Vec<Effect> {
        vec![Effect::Send(ServerFrame::Reply { id, outcome })]
    }

    /// A ping came.
    pub(super) fn ping(&mut self, payload: Bytes, now: OffsetDateTime) -> Vec<Effect> {
        let mut effects = self.control(now);
        effects.push(Effect::Pong(payload));
        effects
    }

    /// A pong or a part of a message came.
    pub(super) fn control(&mut self, now: OffsetDateTime) -> Vec<Effect> {
        self.silent_beats = 0;
        let within = self.controls.spend(1, now) == Spending::Within;
        if within { Vec::new() } else { vec![Effect::Close(Close::TooMany)] }
    }

    /// One of [`BEATS`] beats a heartbeat.
    pub(super) fn beat(&mut self, now: OffsetDateTime) -> Vec<Effect> {
        if now >= self.expires_at {
            return vec![Effect::Close(Close::TokenEnded)];
        }
        if self.silent_beats >= 2 * BEATS {
            return vec![Effect::Close(Close::TooSlow)];
        }
        self.silent_beats += 1;
        self.beat = (self.beat + 1) % BEATS;
        let mut effects = if self.beat == 0 { vec![Effect::Ping] } else { Vec::new() };
        effects.extend(self.ack_again());
        effects
    }

    /// The server is going away.
    pub(super) fn draining(reconnect_after_ms: u64) -> Vec<Effect> {
        let goodbye = ServerFrame::Goodbye { reason: "draining", reconnect_after_ms };
        vec![Effect::Send(goodbye), Effect::Close(Close::Restart)]
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
