//! Bringing slots to their newest state: the WebSocket relay, the long poll, acknowledgements.
//!
//! An event is rendered from the slot's newest state at the moment it is sent ([`state`]); nothing is queued.
//! What a connection was told is remembered by its `outbox`, which sends nothing older. Delivery is at least
//! once: what is not acknowledged is rendered again on the next connection, on whichever replica. Wakes come
//! from the bus and, should it fail, from the slow poll (`poller`), which must run for as long as connections
//! are served.
//!
//! Who may connect is decided before, by whoever makes a [`RelayAccess`]; which slots it then sees is decided
//! here, by its topics alone. Requests from web services to plugins, and commands for hubs, come the same way
//! ([`requests`]).

mod acks;
mod budget;
mod calls;
mod close;
mod configuration;
mod connections;
mod event;
#[cfg(test)]
mod fixture;
mod frame;
mod handshakes;
mod hang_up;
mod inbound;
mod loader;
mod outbox;
mod poller;
mod polling;
mod protocol;
mod requests;
#[cfg(test)]
mod served;
mod session;
mod socket;
mod source;
mod standing;
mod state;
mod transport;
mod upgraded;
mod websocket;
mod wire;

use std::{ops::Deref, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use self::{
    budget::Limits,
    calls::{CallOutcome, SlotCalls},
    close::Close,
    connections::{Admission, Capacity, Refused},
    event::{Change, Event},
    handshakes::{Busy, Handshake, HandshakeLimits},
    hang_up::HangUp,
    inbound::Arrival,
    polling::{LONGEST_WAIT, PollError, Wanted},
    protocol::{
        Call, CallError, CallId, ClientFrame, FrameError, LARGEST_MESSAGE, Request, SUBPROTOCOL, ServerFrame,
    },
    requests::{AskError, Crowded, Mailbox, Place, Places, RequestSettings},
    socket::Counted,
    source::{Answer, SlotSource, StateOf},
    standing::{RelayAccess, Standing},
    state::{Since, events},
    transport::{Gone, Parting, Transport},
    upgraded::Upgraded,
    websocket::{Outgoing, WebSocket},
    wire::Wire,
};
use self::{
    connections::Connections,
    handshakes::Handshakes,
    loader::Loader,
    requests::{Carrier, CarrierParts, Requests},
};
use crate::{
    bus::Bus,
    domain::{
        clock::{Clock, Entropy},
        ids::{DeviceId, SlotAddress, SlotName, Version},
        metric,
        public_url::PublicUrl,
        slot::Ack,
        topic::Channel,
    },
    store::StoreError,
};

/// Times and limits of the relay.
#[derive(Debug, Clone, Copy)]
pub struct RelaySettings {
    /// Between two pings; a peer silent for two of them is dropped.
    pub heartbeat: Duration,
    /// Between two rounds of the slow poll.
    pub poll: Duration,
    /// For one frame to leave; then the peer is too slow.
    pub send: Duration,
    /// For the peer to read why it is closed.
    pub linger: Duration,
    /// For one answer of the database.
    pub database: Duration,
    /// For the answer to a `settings` or `token` frame.
    pub call: Duration,
    /// Over how long reconnects are spread when the server goes away.
    pub reconnect_spread: Duration,
    /// What a peer may send in a minute.
    pub limits: Limits,
    /// How many connections there may be.
    pub capacity: Capacity,
    /// How many of them are made at once.
    pub handshakes: HandshakeLimits,
    /// Of requests and commands.
    pub requests: RequestSettings,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(30),
            poll: Duration::from_secs(5),
            send: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            database: Duration::from_secs(10),
            call: Duration::from_secs(35),
            reconnect_spread: Duration::from_secs(10),
            limits: Limits::default(),
            capacity: Capacity::default(),
            handshakes: HandshakeLimits::default(),
            requests: RequestSettings::default(),
        }
    }
}

/// What the relay is built from.
pub struct RelayParts {
    /// The database.
    pub source: Arc<dyn SlotSource>,
    /// The database again: how replicas pass requests to each other.
    pub mailbox: Arc<dyn Mailbox>,
    /// Where knocks come from.
    pub bus: Bus,
    /// Times and limits.
    pub settings: RelaySettings,
    /// Where the world finds this service.
    pub public_url: Arc<PublicUrl>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Randomness, to spread reconnects.
    pub entropy: Arc<dyn Entropy>,
    /// Cancelled when the server goes away: connections are told and closed, polls answered.
    pub drain: CancellationToken,
}

/// The relay of this replica. Clones are the same relay.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

/// What the clones of a relay share: each connection has one.
pub struct Shared {
    parts: RelayParts,
    connections: Connections,
    handshakes: Arc<Handshakes>,
    loader: Loader,
    requests: Requests,
}

impl Deref for Relay {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Relay {
    /// A relay without connections.
    pub fn new(parts: RelayParts) -> Self {
        let settings = &parts.settings;
        let limit = u32::try_from(settings.capacity.total).unwrap_or(u32::MAX);
        metrics::gauge!(metric::RELAY_CONNECTIONS_LIMIT).set(f64::from(limit));
        let carrier = CarrierParts {
            mailbox: Arc::clone(&parts.mailbox),
            bus: parts.bus.clone(),
            clock: Arc::clone(&parts.clock),
            database: settings.database,
            most: settings.requests.places.total,
        };
        let carrier = Carrier::new(carrier, parts.entropy.as_ref());
        Self(Arc::new(Shared {
            connections: Connections::new(settings.capacity),
            handshakes: Arc::new(Handshakes::new(settings.handshakes)),
            loader: Loader::new(Arc::clone(&parts.source), settings.database),
            requests: Requests::new(settings.requests, carrier),
            parts,
        }))
    }

    /// Waits for a place among the handshakes, for a while. Ask before anything is done for one, and hand it to
    /// [`Relay::serve`].
    pub async fn handshake(&self) -> Result<Handshake, Busy> {
        self.handshakes.enter().await
    }

    /// Finds a place for a connection of `device`. Ask before the handshake is answered.
    pub fn admit(&self, device: DeviceId) -> Result<Admission, Refused> {
        self.connections.admit(device)
    }

    /// Serves a WebSocket until it ends. `calls` answers its `settings` and `token` frames.
    pub async fn serve<T: Transport>(
        self,
        places: (Handshake, Admission),
        access: RelayAccess,
        calls: Arc<dyn SlotCalls>,
        socket: WebSocket<T>,
    ) {
        socket::serve(self, places, access, calls, socket).await;
    }

    /// Acknowledges all versions of a slot up to `version`; a slot outside the topics is an unknown one.
    pub async fn ack(
        &self,
        access: &RelayAccess,
        slot: SlotName,
        version: Version,
    ) -> Result<Ack, StoreError> {
        if !access.topics.allow(Channel::Ack, access.device, &slot) {
            return Ok(Ack::UnknownSlot);
        }
        let ack = self.source().ack(&SlotAddress { device: access.device, slot }, version).await?;
        if ack == Ack::Advanced {
            metrics::counter!(metric::EVENTS_ACKED).increment(1);
        }
        Ok(ack)
    }

    /// The slow poll. Runs until dropped: one of these on every replica.
    pub async fn poll_slowly(self) {
        poller::run(Arc::clone(&self.parts.source), self.connections.clone(), self.parts.settings.poll).await;
    }

    /// Waits until every connection has ended, every poll is answered, and other replicas know what came of what
    /// they asked.
    pub async fn drained(&self) {
        self.connections.empty().await;
        self.requests.finished().await;
    }

    fn source(&self) -> &dyn SlotSource {
        self.parts.source.as_ref()
    }

    fn bus(&self) -> &Bus {
        &self.parts.bus
    }

    fn settings(&self) -> &RelaySettings {
        &self.parts.settings
    }

    fn public_url(&self) -> Arc<PublicUrl> {
        Arc::clone(&self.parts.public_url)
    }

    fn clock(&self) -> &dyn Clock {
        self.parts.clock.as_ref()
    }

    fn entropy(&self) -> &dyn Entropy {
        self.parts.entropy.as_ref()
    }

    fn drain(&self) -> &CancellationToken {
        &self.parts.drain
    }
}
