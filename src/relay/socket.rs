//! The I/O of one relay connection: one `select!`, and the effects that the session decides on.
//!
//! Every send has a time limit, so a peer that does not read holds up itself alone and only until then;
//! what waits for it is bounded by the channel of its socket. Every question to the database has one too.
//! The end of the socket loses nothing: what was not acknowledged is rendered again on the next connection.

use std::{error::Error, ops::ControlFlow, sync::Arc, time::Duration};

use actix_ws::{CloseCode, CloseReason, Message, MessageStream};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{
    Admission, HangUp, Relay, RelayAccess, SlotCalls,
    calls::Calls,
    close::Close,
    inbound::{Arrival, Inbound, LARGEST_FRAME},
    protocol::ServerFrame,
    session::{BEATS, Effect, Session},
    source::SlotSource,
};
use crate::{
    bus::Knocked,
    domain::{
        clock::{Clock, Entropy, draw},
        ids::{DeviceId, SlotAddress},
        metric,
        slot::{Ack, SlotState},
    },
    store::StoreError,
};

/// How a connection ended.
enum End {
    /// We close it.
    Closed(Close),
    /// The peer closes it.
    Left,
    /// It broke.
    Gone,
}

/// A WebSocket after its handshake.
pub struct Socket {
    /// Where frames go.
    pub session: actix_ws::Session,
    /// Where frames come from.
    pub stream: MessageStream,
    /// Ends the connection below, where the server has remembered it.
    pub hang_up: Option<HangUp>,
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    relay: Relay,
    mut admission: Admission,
    access: RelayAccess,
    calls: Arc<dyn SlotCalls>,
    socket: Socket,
) {
    let _counted = Counted::new();
    let settings = relay.settings();
    let stream = socket.stream.max_frame_size(LARGEST_FRAME);
    let mut line = Line {
        calls: Calls::new(calls, access.device, settings.call),
        session: Session::new(
            access.device,
            access.topics.clone(),
            access.expires_at,
            relay.public_url(),
            Arc::clone(&relay.parts.entropy),
            settings,
        ),
        output: socket.session,
        stream,
        device: access.device,
        relay: &relay,
    };
    let end = match line.converse(&mut admission, &access).await {
        ControlFlow::Break(end) => end,
        ControlFlow::Continue(never) => match never {},
    };
    match end {
        End::Closed(close) => line.close(close, socket.hang_up.as_ref()).await,
        End::Left => line.answer_close(socket.hang_up.as_ref()).await,
        End::Gone => {}
    }
}

/// A connection in the gauge, until dropped.
struct Counted(metrics::Gauge);

impl Counted {
    fn new() -> Self {
        let gauge = metrics::gauge!(metric::RELAY_CONNECTIONS);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

struct Line<'a> {
    relay: &'a Relay,
    device: DeviceId,
    session: Session,
    calls: Calls,
    output: actix_ws::Session,
    stream: MessageStream,
}

impl Line<'_> {
    async fn converse(
        &mut self,
        admission: &mut Admission,
        access: &RelayAccess,
    ) -> ControlFlow<End, std::convert::Infallible> {
        let mut inbound = Inbound::default();
        let mut knocks = self.relay.bus().subscribe(access.device);
        let mut revocations = access.standing.changes();
        let period = self.relay.settings().heartbeat / BEATS;
        let mut beats = interval_at(Instant::now() + period, period);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let expiry = tokio::time::sleep(access.remaining(self.clock().now()));
        let token_ended = async {
            tokio::select! {
                () = expiry => {}
                () = revoked(access, &mut revocations) => {}
            }
        };
        tokio::pin!(token_ended);

        let mut effects = self.session.opened();
        loop {
            tokio::select! {
                biased;
                () = &mut token_ended => return ControlFlow::Break(End::Closed(Close::TokenEnded)),
                done = self.perform(effects) => done?,
            }
            effects = tokio::select! {
                message = self.stream.recv() => match inbound.take(message) {
                    Arrival::Text(text) => self.session.text(&text, self.clock().now()),
                    Arrival::Ping(payload) => self.session.ping(payload, self.clock().now()),
                    Arrival::Control => self.session.control(self.clock().now()),
                    Arrival::Refused(close) => vec![Effect::Close(close)],
                    Arrival::Closes => return ControlFlow::Break(End::Left),
                    Arrival::Gone => return ControlFlow::Break(End::Gone),
                },
                knocked = knocks.recv() => self.session.knocked(knocked),
                versions = admission.versions() => self.session.compared(&versions),
                (id, outcome) = self.calls.next() => Session::replied(id, outcome),
                _ = beats.tick() => self.session.beat(self.clock().now()),
                () = &mut token_ended => return ControlFlow::Break(End::Closed(Close::TokenEnded)),
                () = self.relay.drain().cancelled() => Session::draining(self.reconnect_after_ms()),
            };
        }
    }

    async fn perform(&mut self, effects: Vec<Effect>) -> ControlFlow<End> {
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send(frame) => self.send(&frame).await?,
                Effect::Pong(payload) => self.within_time(self.output.clone().pong(&payload)).await?,
                Effect::Ping => self.within_time(self.output.clone().ping(b"")).await?,
                Effect::Ack(address, version) => {
                    let outcome = self.in_time(self.source().ack(&address, version)).await;
                    if matches!(outcome, Some(Ack::Advanced)) {
                        metrics::counter!(metric::EVENTS_ACKED).increment(1);
                    }
                }
                Effect::Compare => {
                    if let Some(rows) = self.in_time(self.source().list_versions(&[self.device])).await {
                        let versions = rows.into_iter().map(|(_, slot, version)| (slot, version)).collect();
                        effects.extend(self.session.compared(&versions));
                    }
                }
                Effect::Look(looked) => {
                    let more = match self.look(&looked).await {
                        Some(states) => self.session.loaded(&looked, states, self.clock().now()),
                        None => self.session.not_loaded(),
                    };
                    more.into_iter().rev().for_each(|effect| effects.push_front(effect));
                }
                Effect::Call(call) => {
                    if let Err((id, error)) = self.calls.take(call) {
                        effects.extend(Session::replied(id, Err(error)));
                    }
                }
                Effect::Close(close) => return ControlFlow::Break(End::Closed(close)),
            }
        }
        ControlFlow::Continue(())
    }

    async fn look(&self, looked: &Knocked) -> Option<Vec<SlotState>> {
        let slots = match looked {
            Knocked::Everything => return self.in_time(self.source().list_states(self.device)).await,
            Knocked::Slots(slots) => slots,
        };
        let mut states = Vec::with_capacity(slots.len());
        for slot in slots {
            let address = SlotAddress { device: self.device, slot: slot.clone() };
            states.extend(self.in_time(self.source().find_state(&address)).await?);
        }
        Some(states)
    }

    async fn send(&self, frame: &ServerFrame) -> ControlFlow<End> {
        self.within_time(self.output.clone().text(frame.to_text())).await?;
        if matches!(frame, ServerFrame::Event(_)) {
            metrics::counter!(metric::EVENTS_SENT).increment(1);
        }
        ControlFlow::Continue(())
    }

    /// Sends, or gives the peer up.
    async fn within_time(
        &self,
        sending: impl Future<Output = Result<(), actix_ws::Closed>>,
    ) -> ControlFlow<End> {
        match timeout(self.relay.settings().send, sending).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(actix_ws::Closed)) => ControlFlow::Break(End::Gone),
            Err(_) => ControlFlow::Break(End::Closed(Close::TooSlow)),
        }
    }

    /// Asks the database. What fails is told to the operator here; the peer learns it from the slow poll.
    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        match timeout(self.relay.settings().database, asking).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                let error: &(dyn Error + 'static) = &error;
                tracing::warn!(device = %self.device, error, "the relay could not ask the database");
                None
            }
            Err(_) => {
                tracing::warn!(device = %self.device, "the database took too long for the relay");
                None
            }
        }
    }

    /// Closes, and gives the peer a moment to read why: with unread bytes behind it, a connection that ends at
    /// once is reset, and the close frame is lost.
    async fn close(self, close: Close, hang_up: Option<&HangUp>) {
        metrics::counter!(metric::RELAY_CLOSED, "code" => close.code().to_string()).increment(1);
        tracing::debug!(device = %self.device, code = close.code(), "relay connection closed");
        let Self { output, mut stream, relay, .. } = self;
        let reason = CloseReason {
            code: CloseCode::Other(close.code()),
            description: Some(close.reason().to_owned()),
        };
        let goodbye = async {
            output.close(Some(reason)).await.ok()?;
            while let Some(Ok(message)) = stream.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
            Some(())
        };
        part(timeout(relay.settings().linger, goodbye).await.is_ok(), hang_up);
    }

    /// Answers the peer's close frame.
    async fn answer_close(self, hang_up: Option<&HangUp>) {
        part(timeout(self.relay.settings().linger, self.output.close(None)).await.is_ok(), hang_up);
    }

    fn reconnect_after_ms(&self) -> u64 {
        let random = u64::from(u32::from_be_bytes(draw(self.entropy())));
        let spread = u64::try_from(self.relay.settings().reconnect_spread.as_millis()).unwrap_or(u64::MAX);
        FIRST_RECONNECT_MS.saturating_add(random.saturating_mul(spread) >> 32)
    }

    fn source(&self) -> &dyn SlotSource {
        self.relay.source()
    }

    fn clock(&self) -> &dyn Clock {
        self.relay.clock()
    }

    fn entropy(&self) -> &dyn Entropy {
        self.relay.entropy()
    }
}

/// Ends the TCP connection: after what is queued, if the peer has read our close frame or will.
fn part(in_peace: bool, hang_up: Option<&HangUp>) {
    match hang_up {
        Some(hang_up) if in_peace => hang_up.after_writing(),
        Some(hang_up) => hang_up.now(),
        None => {}
    }
}

/// The soonest that a peer is asked to come back after a goodbye, milliseconds.
const FIRST_RECONNECT_MS: u64 = 500;

/// Waits until the token is revoked.
async fn revoked(access: &RelayAccess, revocations: &mut watch::Receiver<u64>) {
    while !access.standing.is_revoked() {
        changed(revocations).await;
    }
}

/// Waits until revocations may have changed; forever, once nobody can change them.
pub(super) async fn changed(revocations: &mut watch::Receiver<u64>) {
    if revocations.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// From `now` to `at`; zero where that is past.
pub(super) fn until(at: time::OffsetDateTime, now: time::OffsetDateTime) -> Duration {
    Duration::try_from(at - now).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
