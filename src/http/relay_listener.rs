//! `relay.bind`: a listener that serves relay connections and nothing else, in little memory.
//!
//! The HTTP server keeps buffers of 16 KiB or more for each connection, as long as it lives. Here a connection is one
//! task on a socket: the head of its handshake is read, within the same limits, judged by the same [`Door`], and from
//! then on only frames that are not yet whole take memory. Everything but the relay's path is a 404.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{http::StatusCode, web};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    error::Problem,
    extract::ClientAddress,
    frame::{Frame, RequestId},
    handshake,
    hardening::{Edge, UNMATCHED, count},
    relay::BrokerCalls,
    relay_door::{Door, Entered},
    relay_head::{self, Head, PATH},
    server,
    throttle::Throttles,
};
use crate::{
    flows::Broker,
    relay::{Relay, SlotCalls, WebSocket, Wire},
};

/// For the system to have descriptors again.
const BREATH: Duration = Duration::from_millis(100);
/// Bytes read at once of a head.
const CHUNK: usize = 4 * 1024;

/// What connections are served with.
pub struct RelayDoor {
    /// The verbs.
    pub broker: web::Data<Broker>,
    /// The relay.
    pub relay: web::Data<Relay>,
    /// The bound on guesses.
    pub throttles: web::Data<Throttles>,
    /// What every answer is made with.
    pub frame: Frame,
    /// From the connection to the end of the head.
    pub head: Duration,
    /// For a caller to take a refusal.
    pub linger: Duration,
    /// Connections open at once, those that are still shaking hands included.
    pub most: usize,
}

/// A relay listener that waits.
pub struct RelayListener {
    address: SocketAddr,
    listener: TcpListener,
    door: Arc<Served>,
}

struct Served {
    door: RelayDoor,
    calls: Arc<dyn SlotCalls>,
}

impl RelayListener {
    /// Starts to listen at `address`.
    pub fn bind(address: SocketAddr, door: RelayDoor) -> io::Result<Self> {
        let listener = server::bind(address)?;
        let calls = Arc::new(BrokerCalls(door.broker.clone().into_inner()));
        Ok(Self { address: listener.local_addr()?, listener, door: Arc::new(Served { door, calls }) })
    }

    /// The address, with the port that was taken where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`, and returns when the last connection has ended: `stop` is also what tells the relay's
    /// connections to go.
    pub async fn run(self, stop: CancellationToken) {
        let Self { listener, door, .. } = self;
        let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(door.door.most)));
        stop.run_until_cancelled(async {
            loop {
                // Beyond the limit they wait where the system keeps them.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        connections.spawn(serve(Arc::clone(&door), stream, peer, place, stop.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a relay connection could not be accepted");
                        sleep(BREATH).await;
                    }
                }
            }
        })
        .await;
        drop(listener);
        connections.close();
        connections.wait().await;
    }
}

async fn serve(
    served: Arc<Served>,
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    // A frame is sent whole: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let shaken = Box::pin(shake_hands(&served, stream, peer, stop)).await;
    if let Some((entered, socket)) = shaken {
        let Entered { places, access } = entered;
        let (relay, calls) = (served.door.relay.get_ref().clone(), Arc::clone(&served.calls));
        drop(served);
        relay.serve(places, access, calls, socket).await;
    }
    drop(place);
}

/// Reads the head and answers it; nothing where that was a refusal, or where it has not come at `stop`.
async fn shake_hands(
    served: &Served,
    mut stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) -> Option<(Entered, WebSocket<Wire>)> {
    let door = &served.door;
    let (id, edge) = (RequestId::draw(&*door.frame.entropy), Edge::of(&door.frame));
    let mut bytes = Vec::new();
    let reading = timeout(door.head, read_head(&mut stream, &mut bytes, door));
    let head = match stop.run_until_cancelled(reading).await? {
        Ok(Ok(head)) => Ok(head?),
        Ok(Err(problem)) => Err(problem),
        Err(_) if bytes.is_empty() => return None,
        Err(_) => Err(Problem::of_status(StatusCode::REQUEST_TIMEOUT)),
    };
    let route = if head.as_ref().is_ok_and(Head::is_relay) { PATH } else { UNMATCHED };
    let entered = match head {
        Ok(head) => enter(door, head, peer).await,
        Err(problem) => Err(problem),
    };
    let status = entered.as_ref().map_or_else(Problem::status, |_| StatusCode::SWITCHING_PROTOCOLS);
    count(route, status);
    tracing::debug!(
        request_id = id.as_str(),
        route,
        status = status.as_u16(),
        "answered at the relay's listener"
    );
    match entered {
        Ok((entered, head, accept)) => {
            let answer = relay_head::switching(&accept, &id, edge);
            timeout(door.linger, stream.write_all(&answer)).await.ok()?.ok()?;
            let unread = bytes.get(head.size..).unwrap_or_default().to_vec();
            Some((entered, WebSocket::new(Wire::new(stream), unread)))
        }
        Err(problem) => {
            let answer = relay_head::refusal(&problem, &id, edge);
            // Whether it was read or not, it is over.
            let _ = timeout(door.linger, refuse(&mut stream, &answer)).await;
            None
        }
    }
}

async fn enter(door: &RelayDoor, head: Head, peer: SocketAddr) -> Result<(Entered, Head, String), Problem> {
    if !head.is_relay() {
        return Err(Problem::not_found());
    }
    let client = ClientAddress::of(Some(peer), &head.headers, &door.frame.trusted_proxies);
    let RelayDoor { broker, relay, throttles, frame, .. } = door;
    let inner = Door { broker, relay, throttles, public_url: &frame.public_url };
    let entered = inner.enter(&head.headers, client).await?;
    let accept = handshake::accept(&head.headers)?;
    Ok((entered, head, accept))
}

/// A whole head; nothing where the caller leaves before.
async fn read_head(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    door: &RelayDoor,
) -> Result<Option<Head>, Problem> {
    let limits = &door.frame.limits;
    loop {
        let known = bytes.len().saturating_sub(3);
        if stream.readable().await.is_err() || !read_some(stream, bytes) {
            return Ok(None);
        }
        // Parsed once its end has come or is overdue: a head that comes byte by byte costs no more than another.
        let news = bytes.get(known..).unwrap_or_default();
        let ended = news.windows(3).any(|end| end.ends_with(b"\n\n") || end == b"\n\r\n");
        let overdue = bytes.len() > limits.uri_bytes + limits.header_bytes;
        let head = if ended || overdue { relay_head::read(bytes, limits)? } else { None };
        if head.is_some() {
            return Ok(head);
        }
    }
}

/// Whether there may be more.
fn read_some(stream: &TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut chunk = [0; CHUNK];
    match stream.try_read(&mut chunk) {
        Ok(0) => false,
        Ok(length) => {
            bytes.extend_from_slice(chunk.get(..length).unwrap_or_default());
            true
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

/// Sends a refusal, and waits until the caller has read it: a connection that ends with something unread is reset.
async fn refuse(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
