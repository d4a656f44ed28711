//! One connection to the relay, from the handshake to its end.

use std::{collections::HashMap, io, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self, ClientRequestBuilder, Message,
        error::Error as WebSocketError,
        http::Uri,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    Answering, Listener, News,
    frames::{Frame, ack},
    server::Server,
};
use crate::domain::{
    ids::{SlotName, Version},
    secret::BearerToken,
};

const HANDSHAKE: Duration = Duration::from_secs(15);
const SEND: Duration = Duration::from_secs(10);
/// Before `hello` says how often the server pings.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(30);
/// The longest frame that clients accept, in bytes.
const LONGEST_FRAME: usize = 512 * 1024;

/// Why no connection came about.
pub(super) enum OpenError {
    /// Ask for a new token.
    TokenRefused,
    /// It may go well the next time.
    Passing(String),
    /// It will not go well before a person changes something.
    Lasting(&'static str),
}

/// How a connection ended.
pub(super) enum Interruption {
    /// We were asked to stop.
    Stopped,
    /// The token expired or was revoked.
    TokenRefused,
    /// Anything else.
    Lost {
        /// A clause for a person.
        reason: String,
        /// What the server asked for.
        reconnect_after: Option<Duration>,
    },
}

/// An open websocket.
pub(super) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heartbeat: Duration,
    reconnect_after: Option<Duration>,
    acknowledged: HashMap<SlotName, Version>,
}

impl Connection {
    pub(super) async fn open(server: &Server, token: &BearerToken) -> Result<Self, OpenError> {
        let relay = server.relay();
        let uri: Uri =
            relay.parse().map_err(|_| OpenError::Lasting("the server's URL is not one of a relay"))?;
        let request = ClientRequestBuilder::new(uri)
            .with_sub_protocol("cloudlink.v1")
            .with_header("Authorization", format!("Bearer {}", token.expose()));
        let limits = WebSocketConfig::default()
            .max_message_size(Some(LONGEST_FRAME))
            .max_frame_size(Some(LONGEST_FRAME));
        match timeout(HANDSHAKE, connect_async_with_config(request, Some(limits), true)).await {
            Ok(Ok((socket, _))) => Ok(Self {
                socket,
                heartbeat: FIRST_HEARTBEAT,
                reconnect_after: None,
                acknowledged: HashMap::new(),
            }),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(OpenError::Passing("the relay did not answer in time".to_owned())),
        }
    }

    /// Tells `listener` of each event and acknowledges it, until the connection ends or `stop` is asked for.
    pub(super) async fn serve(
        mut self,
        listener: &mut dyn Listener,
        stop: &CancellationToken,
    ) -> io::Result<Interruption> {
        let mut silent_from = Instant::now();
        loop {
            let silent_for_long = silent_from + self.heartbeat * 2;
            let message = tokio::select! {
                () = stop.cancelled() => {
                    self.close().await;
                    return Ok(Interruption::Stopped);
                }
                (slot, version) = taken_later(listener) => {
                    if let Some(ended) = self.acknowledge(&slot, version, listener).await? {
                        return Ok(ended);
                    }
                    continue;
                }
                message = timeout_at(silent_for_long, self.socket.next()) => message,
            };
            silent_from = Instant::now();
            let message = match message {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(_)) | None) => return Ok(self.lost("the connection to the server broke")),
                Err(_) => return Ok(self.lost("the server has been silent for two heartbeats")),
            };
            match message {
                Message::Text(text) => {
                    if let Some(ended) = self.take(Frame::read(&text), listener).await? {
                        return Ok(ended);
                    }
                }
                Message::Close(frame) => return Ok(self.closed(frame.as_ref())),
                // Pings are answered by the library.
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn take(&mut self, frame: Frame, listener: &mut dyn Listener) -> io::Result<Option<Interruption>> {
        match frame {
            Frame::Hello { heartbeat } => self.heartbeat = heartbeat.max(Duration::from_secs(1)),
            Frame::Goodbye { reconnect_after } => self.reconnect_after = Some(reconnect_after),
            Frame::Error { code } => tracing::warn!(code, "the relay answered with an error"),
            Frame::Other => {}
            Frame::Inquiry(inquiry) => {
                let answer = match listener.asked(&inquiry)? {
                    Answering::Silence => return Ok(None),
                    Answering::Plainly => inquiry.plain_answer(),
                    Answering::Refusing => inquiry.refusal(),
                };
                if !self.send(answer).await {
                    return Ok(Some(self.lost("the connection to the server broke")));
                }
            }
            Frame::Event(event) => {
                listener.hear(News::Event(&event))?;
                if listener.takes_later().is_none() {
                    return self.acknowledge(event.slot(), event.version(), listener).await;
                }
            }
        }
        Ok(None)
    }

    /// What the listener has taken; the same again needs no ack on the same connection.
    async fn acknowledge(
        &mut self,
        slot: &SlotName,
        version: Version,
        listener: &mut dyn Listener,
    ) -> io::Result<Option<Interruption>> {
        if version == self.acknowledged.get(slot).copied().unwrap_or(Version(0)) {
            return Ok(None);
        }
        if !self.send(ack(slot, version)).await {
            return Ok(Some(self.lost("the connection to the server broke")));
        }
        self.acknowledged.insert(slot.clone(), version);
        listener.hear(News::Acknowledged(slot, version))?;
        Ok(None)
    }

    async fn send(&mut self, text: String) -> bool {
        matches!(timeout(SEND, self.socket.send(Message::text(text))).await, Ok(Ok(())))
    }

    /// Says goodbye and waits shortly for the other side's.
    async fn close(&mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: tungstenite::Utf8Bytes::default() };
        let end = Instant::now() + Duration::from_secs(1);
        if matches!(timeout_at(end, self.socket.close(Some(frame))).await, Ok(Ok(()))) {
            while let Ok(Some(Ok(_))) = timeout_at(end, self.socket.next()).await {}
        }
    }

    fn closed(&self, frame: Option<&CloseFrame>) -> Interruption {
        match frame.map(|frame| u16::from(frame.code)) {
            Some(4401) => Interruption::TokenRefused,
            Some(4403) => self.lost("the token is not good for these slots"),
            Some(4408) => self.lost("events were taken too slowly"),
            Some(4429) => self.lost("the device has too many connections; stop others"),
            Some(1012) => self.lost("the server is restarting"),
            _ => self.lost("the server closed the connection"),
        }
    }

    fn lost(&self, reason: &str) -> Interruption {
        Interruption::Lost { reason: reason.to_owned(), reconnect_after: self.reconnect_after }
    }
}

/// The next version that the listener has taken since it heard of it; never, where it takes all at once.
async fn taken_later(listener: &mut dyn Listener) -> (SlotName, Version) {
    let taken = match listener.takes_later() {
        Some(later) => later.recv().await,
        None => None,
    };
    match taken {
        Some(taken) => taken,
        None => std::future::pending().await,
    }
}

fn refused(error: &WebSocketError) -> OpenError {
    let passing = |reason: &str| OpenError::Passing(reason.to_owned());
    let WebSocketError::Http(answer) = error else {
        return passing(if matches!(error, WebSocketError::Tls(_)) {
            "no secure connection; check the server's certificate"
        } else {
            "the relay can't be reached"
        });
    };
    match answer.status().as_u16() {
        400 => OpenError::Lasting("the server does not speak cloudlink.v1: install versions that fit"),
        401 => OpenError::TokenRefused,
        403 => passing("the server refused the token for these slots"),
        404 => OpenError::Lasting("there is no relay at this URL: check that it is a cloudlink server"),
        429 => passing("the device has too many connections; stop others"),
        status => OpenError::Passing(format!("the relay answered with status {status}")),
    }
}
