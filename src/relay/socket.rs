//! The I/O of one relay connection: one `select!`, and the effects that the session decides on.
//!
//! Every send has a time limit, so a peer that does not read holds up itself alone and only until then;
//! what waits for it is bounded by what carries it. Every question to the database has one too.
//! The end of the socket loses nothing: what was not acknowledged is rendered again on the next connection.
//!
//! Connections are many and mostly idle, so what one keeps while it waits is small: the work itself is done in a future
//! of its own that is gone afterwards, one timer serves the heartbeat and the token's end, and calls have a place only
//! once there are any.

use std::{collections::VecDeque, error::Error, ops::ControlFlow, pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Admission, Relay, RelayAccess, SlotCalls,
    calls::{CallOutcome, Calls},
    close::Close,
    handshakes::Handshake,
    inbound::Arrival,
    protocol::{Call, CallId, LARGEST_MESSAGE, ServerFrame},
    requests::{Desk, Said},
    session::{BEATS, Effect, Session},
    standing::revoked,
    transport::{Gone, Parting, Transport},
    websocket::{Outgoing, WebSocket},
};
use crate::{
    domain::{clock::draw, ids::DeviceId, metric, slot::Ack},
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

/// Serves a connection until it ends.
pub(super) async fn serve<T: Transport>(
    relay: Relay,
    (handshake, admission): (Handshake, Admission),
    access: RelayAccess,
    answering: Arc<dyn SlotCalls>,
    socket: WebSocket<T>,
) {
    let _counted = Counted::new(metrics::gauge!(metric::RELAY_CONNECTIONS));
    let remaining = access.remaining(relay.clock().now());
    let desk = relay.requests.open(&access);
    let session = Session::new(
        access.device,
        access.topics,
        access.expires_at,
        relay.public_url(),
        Arc::clone(&relay.parts.entropy),
        relay.settings(),
    );
    let handshake = Some(handshake);
    let mut line = Line { relay, device: access.device, session, answering, calls: None, handshake, socket };
    let revoked = revoked(access.standing);
    let end = match line.converse(admission, desk, revoked, remaining).await {
        ControlFlow::Break(end) => end,
        ControlFlow::Continue(never) => match never {},
    };
    match end {
        End::Closed(close) => Box::pin(line.close(close)).await,
        End::Left => Box::pin(line.answer_close()).await,
        End::Gone => {}
    }
}

/// A connection in its gauge, until dropped: also where its task panics.
#[derive(Debug)]
pub struct Counted(metrics::Gauge);

impl Counted {
    /// One more in `gauge`.
    pub fn new(gauge: metrics::Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

struct Line<T> {
    relay: Relay,
    device: DeviceId,
    session: Session,
    answering: Arc<dyn SlotCalls>,
    /// Once there is one.
    calls: Option<Box<Calls>>,
    /// Until the slots were read for the first time.
    handshake: Option<Handshake>,
    socket: WebSocket<T>,
}

impl<T: Transport> Line<T> {
    async fn converse(
        &mut self,
        mut admission: Admission,
        mut desk: Desk,
        revoked: impl Future<Output = ()>,
        remaining: Duration,
    ) -> ControlFlow<End, std::convert::Infallible> {
        let mut knocks = self.relay.bus().subscribe(self.device);
        let drain = self.relay.drain().clone();
        let mut drained = pin!(drain.cancelled());
        let mut revoked = pin!(revoked);
        let period = self.relay.settings().heartbeat / BEATS;
        let start = Instant::now();
        let (mut beat, expiry) = (start + period, start + remaining);
        let mut timer = pin!(sleep_until(beat.min(expiry)));

        let mut effects = self.session.opened();
        loop {
            if !effects.is_empty() {
                let working = async {
                    tokio::select! {
                        biased;
                        () = &mut revoked => ControlFlow::Break(End::Closed(Close::TokenEnded)),
                        () = sleep_until(expiry) => ControlFlow::Break(End::Closed(Close::TokenEnded)),
                        done = self.perform(effects) => done,
                    }
                };
                Box::pin(working).await?;
            }
            effects = tokio::select! {
                arrival = self.socket.recv(desk.largest_message()) => match arrival {
                    Arrival::Text(text) => match desk.hear(&text) {
                        Said::Other => self.session.text(&text, self.relay.clock().now()),
                        Said::Answer => self.session.answered(None),
                        Said::Late(error) => self.session.answered(Some(error)),
                        Said::Wrong(error) => self.session.misspoke(text.len(), error, self.relay.clock().now()),
                    },
                    Arrival::Ping(payload) => self.session.ping(payload, self.relay.clock().now()),
                    Arrival::Control => self.session.control(self.relay.clock().now()),
                    Arrival::Refused(close) => vec![Effect::Close(close)],
                    Arrival::Closes => return ControlFlow::Break(End::Left),
                    Arrival::Gone => return ControlFlow::Break(End::Gone),
                },
                frame = desk.next() => vec![Effect::Send(frame)],
                knocked = knocks.recv() => self.session.knocked(knocked),
                versions = admission.versions() => self.session.compared(&versions),
                (id, outcome) = answered(&mut self.calls) => Session::replied(id, outcome),
                () = &mut timer => {
                    let now = Instant::now();
                    if now >= expiry {
                        return ControlFlow::Break(End::Closed(Close::TokenEnded));
                    }
                    beat = now + period;
                    timer.as_mut().reset(beat.min(expiry));
                    self.session.beat(self.relay.clock().now())
                }
                () = &mut revoked => return ControlFlow::Break(End::Closed(Close::TokenEnded)),
                () = &mut drained => Session::draining(self.reconnect_after_ms()),
            };
        }
    }

    async fn perform(&mut self, effects: Vec<Effect>) -> ControlFlow<End> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send(frame) => self.tell(frame, &mut effects).await?,
                Effect::Pong(payload) => self.send(Outgoing::Pong(payload)).await?,
                Effect::Ping => self.send(Outgoing::Ping).await?,
                Effect::Ack(address, version) => {
                    let outcome =
                        in_time(&self.relay, self.device, self.relay.source().ack(&address, version)).await;
                    if let Ok(Ack::Advanced) = outcome {
                        metrics::counter!(metric::EVENTS_ACKED).increment(1);
                    }
                    match outcome {
                        Err(NoAnswer::Away) => self.session.not_acked(address.slot, version),
                        Ok(_) | Err(NoAnswer::Refused) => {
                            effects.extend(self.session.acked(&address.slot, version));
                        }
                    }
                }
                Effect::Compare => {
                    let devices = [self.device];
                    let asking = self.relay.source().list_versions(&devices);
                    if let Ok(rows) = in_time(&self.relay, self.device, asking).await {
                        let versions = rows.into_iter().map(|(_, slot, version)| (slot, version)).collect();
                        effects.extend(self.session.compared(&versions));
                    }
                }
                Effect::Look(looked) => {
                    let found = self.relay.loader.look(self.device, looked.clone()).await;
                    // What costs others is done: the next one's turn.
                    drop(self.handshake.take());
                    let more = match found {
                        Some(states) => self.session.loaded(&looked, states, self.relay.clock().now()),
                        None => self.session.not_loaded(),
                    };
                    more.into_iter().rev().for_each(|effect| effects.push_front(effect));
                }
                Effect::Call(call) => effects.extend(self.call(call)),
                Effect::Close(close) => return ControlFlow::Break(End::Closed(close)),
            }
        }
        ControlFlow::Continue(())
    }

    fn call(&mut self, call: Call) -> Vec<Effect> {
        let calls = self.calls.get_or_insert_with(|| {
            let patience = self.relay.settings().call;
            Box::new(Calls::new(Arc::clone(&self.answering), self.device, patience))
        });
        match calls.take(call) {
            Ok(()) => Vec::new(),
            Err((id, error)) => Session::replied(id, Err(error)),
        }
    }

    /// Sends a frame, and with it those that are next in turn while all are small: to the system, each call costs more
    /// than a small frame.
    async fn tell(&mut self, frame: ServerFrame, next: &mut VecDeque<Effect>) -> ControlFlow<End> {
        let (mut texts, mut bytes, mut events) = (Vec::new(), 0, 0);
        let mut add = |frame: &ServerFrame| {
            events += u64::from(matches!(frame, ServerFrame::Event(_)));
            let text = frame.to_text();
            bytes += text.len();
            texts.push(text);
            bytes < TOGETHER
        };
        let mut more = add(&frame);
        while more
            && let Some(Effect::Send(frame)) = next.pop_front_if(|next| matches!(next, Effect::Send(_)))
        {
            more = add(&frame);
        }
        self.send(Outgoing::Texts(texts)).await?;
        if events > 0 {
            metrics::counter!(metric::EVENTS_SENT).increment(events);
        }
        ControlFlow::Continue(())
    }

    /// Sends, or gives the peer up.
    async fn send(&mut self, message: Outgoing) -> ControlFlow<End> {
        match timeout(self.relay.settings().send, self.socket.send(message)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(Gone)) => ControlFlow::Break(End::Gone),
            Err(_) => ControlFlow::Break(End::Closed(Close::TooSlow)),
        }
    }

    /// Closes, and gives the peer a moment to read why: with unread bytes behind it, a connection that ends at
    /// once is reset, and the close frame is lost.
    async fn close(self, close: Close) {
        metrics::counter!(metric::RELAY_CLOSED, "code" => close.code().to_string()).increment(1);
        tracing::debug!(device = %self.device, code = close.code(), "relay connection closed");
        let Self { mut socket, relay, .. } = self;
        let goodbye = async {
            socket.send(Outgoing::Close(Some(close))).await?;
            loop {
                // One more refusal is the end too: no moment is given for nonsense.
                if let Arrival::Closes | Arrival::Gone | Arrival::Refused(_) =
                    socket.recv(LARGEST_MESSAGE).await
                {
                    return Ok::<_, Gone>(());
                }
            }
        };
        let done = timeout(relay.settings().linger, goodbye).await;
        let told = matches!(done, Ok(Ok(())));
        socket.part(if told { Parting::InPeace } else { Parting::AtOnce });
    }

    /// Answers the peer's close frame.
    async fn answer_close(self) {
        let Self { mut socket, relay, .. } = self;
        let done = timeout(relay.settings().linger, socket.send(Outgoing::Close(None))).await;
        socket.part(if done.is_ok() { Parting::InPeace } else { Parting::AtOnce });
    }

    fn reconnect_after_ms(&self) -> u64 {
        let random = u64::from(u32::from_be_bytes(draw(self.relay.entropy())));
        let spread = u64::try_from(self.relay.settings().reconnect_spread.as_millis()).unwrap_or(u64::MAX);
        FIRST_RECONNECT_MS.saturating_add(random.saturating_mul(spread) >> 32)
    }
}

/// Why the database did not say.
enum NoAnswer {
    /// It is not there, or took too long: later it may say.
    Away,
    /// It never will.
    Refused,
}

/// Asks the database. What fails is told to the operator here. The slow poll asks for what is new again, the beat what
/// was to be acknowledged.
async fn in_time<A>(
    relay: &Relay,
    device: DeviceId,
    asking: impl Future<Output = Result<A, StoreError>>,
) -> Result<A, NoAnswer> {
    match timeout(relay.settings().database, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let why = if error.is_outage() { NoAnswer::Away } else { NoAnswer::Refused };
            let error: &(dyn Error + 'static) = &error;
            tracing::warn!(%device, error, "the relay could not ask the database");
            Err(why)
        }
        Err(_) => {
            tracing::warn!(%device, "the database took too long for the relay");
            Err(NoAnswer::Away)
        }
    }
}

/// The next answer to a call; forever, where there never was one.
async fn answered(calls: &mut Option<Box<Calls>>) -> (CallId, CallOutcome) {
    match calls {
        Some(calls) => calls.next().await,
        None => std::future::pending().await,
    }
}

/// Bytes of text from which on nothing is added to what is sent at once.
const TOGETHER: usize = 16 * 1024;

/// The soonest that a peer is asked to come back after a goodbye, milliseconds.
const FIRST_RECONNECT_MS: u64 = 500;

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
