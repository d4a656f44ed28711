//! Connections that only take up room are closed (J04, H08).
//!
//! The server limits the time for the first request's head and the pause between requests, but neither the head of a
//! later request nor the reading of an answer. So each connection has a [`Wire`]. It is busy while a request is handled,
//! and while an answer that has begun has nothing to send, as a WebSocket's, which has pings of its own. Otherwise it is
//! the peer's turn, to send or to take something: once it has been quiet for the limit, its socket is shut down, however
//! many requests of it wait.
//!
//! The server asks for more of a body when most of what it had has left. Bodies are given to it in pieces, and the system
//! is told to queue little of a large one, so that a reader that is slow is seen to move. For an answer without a body it
//! asks nothing, and would go on with the next request for ever: that one waits until the system takes more.

use std::{
    any::Any,
    cell::Cell,
    fmt,
    net::Shutdown,
    os::fd::AsFd as _,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::Extensions,
    rt::net::TcpStream,
    web::Bytes,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::{Instant, sleep_until};

/// Bytes of a body that the server gets at once. It asks for more once it holds less than two of them, so that with what
/// the system queues a peer must take four of them within the limit: 64 KiB.
const PIECE: usize = 16 * 1024;
/// Bytes of a large answer that the system queues for a peer that has no room for them.
#[cfg(target_os = "linux")]
const QUEUED: u32 = 32 * 1024;

/// What is known of one connection.
struct Wire {
    socket: std::net::TcpStream,
    busy: Cell<usize>,
    quiet_since: Cell<Instant>,
}

impl Wire {
    /// The peer has done something.
    fn moves(&self) {
        self.quiet_since.set(Instant::now());
    }

    /// Whether the system takes more to send.
    fn has_room(&self) -> bool {
        let mut socket = [PollFd::new(&self.socket, PollFlags::OUT)];
        // Where it can't be asked, nobody waits.
        poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_or(true, |ready| ready > 0)
    }

    async fn room(&self) {
        if self.has_room() {
            return;
        }
        let Ok(socket) = self.socket.try_clone() else { return };
        if let Ok(socket) = TcpStream::from_std(socket) {
            // At the latest when the socket is shut down.
            let _ = socket.writable().await;
        }
    }

    /// Has the system queue little of what the peer has no room for: it asks for more once half of that has left.
    fn queue_little(&self) {
        #[cfg(target_os = "linux")]
        // Without it slower readers are taken for such that don't read.
        let _ = socket2::SockRef::from(&self.socket).set_tcp_notsent_lowat(QUEUED);
    }
}

/// Keeps a connection busy until it is dropped.
pub(super) struct Busy(Option<Rc<Wire>>);

impl Busy {
    /// While `request` is handled.
    pub(super) fn with(request: &HttpRequest) -> Self {
        Self::on(request.conn_data::<Rc<Wire>>().map(Rc::clone))
    }

    fn on(wire: Option<Rc<Wire>>) -> Self {
        if let Some(wire) = &wire {
            wire.busy.set(wire.busy.get() + 1);
        }
        Self(wire)
    }

    /// Ends where the answer has no body: not before the peer has taken most of the answers before.
    pub(super) async fn end_without_body(self) {
        let wire = self.0.clone();
        drop(self);
        if let Some(wire) = wire {
            wire.room().await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(wire) = &self.0 {
            wire.busy.set(wire.busy.get().saturating_sub(1));
            wire.moves();
        }
    }
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Busy").finish_non_exhaustive()
    }
}

/// A body in pieces. Its connection is busy while there is none to give.
pub(super) struct PiecedBody {
    body: BoxBody,
    /// What is left of the body's last chunk.
    rest: Bytes,
    wire: Option<Rc<Wire>>,
    busy: Option<Busy>,
}

impl PiecedBody {
    /// `body`, whose request has been handled: that ends `busy`.
    pub(super) fn new(body: BoxBody, busy: Busy) -> Self {
        let wire = busy.0.clone();
        drop(busy);
        if let (Some(wire), BodySize::Sized(size)) = (&wire, body.size())
            && size > PIECE as u64
        {
            wire.queue_little();
        }
        Self { body, rest: Bytes::new(), wire, busy: None }
    }

    fn piece(&mut self) -> Bytes {
        self.busy = None;
        if let Some(wire) = &self.wire {
            wire.moves();
        }
        self.rest.split_to(PIECE.min(self.rest.len()))
    }
}

impl MessageBody for PiecedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        while self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_next(context) {
                Poll::Ready(Some(Ok(chunk))) => self.rest = chunk,
                Poll::Pending => {
                    let wire = self.wire.clone();
                    self.busy.get_or_insert_with(|| Busy::on(wire));
                    return Poll::Pending;
                }
                ended @ Poll::Ready(None | Some(Err(_))) => return ended,
            }
        }
        Poll::Ready(Some(Ok(self.piece())))
    }
}

/// For `HttpServer::on_connect`: watches a connection until it ends or has been quiet for `limit`.
pub(super) fn watch(io: &dyn Any, data: &mut Extensions, limit: Duration) {
    let socket = io.downcast_ref::<TcpStream>().and_then(|stream| stream.as_fd().try_clone_to_owned().ok());
    let Some(socket) = socket else { return };
    let wire =
        Rc::new(Wire { socket: socket.into(), busy: Cell::new(0), quiet_since: Cell::new(Instant::now()) });
    actix_web::rt::spawn(close_when_quiet(Rc::downgrade(&wire), limit));
    data.insert(wire);
}

async fn close_when_quiet(wire: Weak<Wire>, limit: Duration) {
    let mut next = Instant::now() + limit;
    loop {
        sleep_until(next).await;
        let Some(wire) = wire.upgrade() else { return };
        let due = wire.quiet_since.get() + limit;
        if wire.busy.get() > 0 {
            next = Instant::now() + limit;
        } else if due > Instant::now() {
            next = due;
        } else {
            let _gone_already = wire.socket.shutdown(Shutdown::Both);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{Error, body::BodyStream};
    use futures_util::{FutureExt as _, StreamExt as _, future::poll_fn, stream};
    use tokio::{io::AsyncReadExt as _, net::TcpListener, time::timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    /// A watched connection: what is known of it, its accepted end, and the peer.
    async fn watched() -> (Rc<Wire>, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let mut data = Extensions::new();
        watch(&accepted, &mut data, LIMIT);
        (data.remove::<Rc<Wire>>().unwrap(), accepted, client)
    }

    async fn is_closed(client: &mut TcpStream) {
        let end = timeout(Duration::from_secs(10), client.read_u8()).await.expect("closed when quiet");
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }

    async fn next(body: &mut PiecedBody) -> Option<usize> {
        poll_fn(|context| Pin::new(&mut *body).poll_next(context)).await.map(|piece| piece.unwrap().len())
    }

    #[actix_web::test]
    async fn j04_a_connection_is_closed_once_it_is_quiet_and_never_while_it_is_busy() {
        let (wire, _accepted, mut client) = watched().await;
        let busy = Busy::on(Some(Rc::clone(&wire)));
        assert!(timeout(LIMIT * 6, client.read_u8()).await.is_err(), "closed while a request is handled");
        let later = stream::pending::<Result<Bytes, Error>>();
        let mut body = PiecedBody::new(BoxBody::new(BodyStream::new(later)), busy);
        assert!(next(&mut body).now_or_never().is_none());
        assert!(timeout(LIMIT * 6, client.read_u8()).await.is_err(), "closed while there is nothing to take");
        drop(body);
        is_closed(&mut client).await;
    }

    #[actix_web::test]
    async fn j04_a_peer_that_takes_a_piece_now_and_then_lives_and_one_that_takes_none_does_not() {
        let (wire, _accepted, mut client) = watched().await;
        let mut body =
            PiecedBody::new(BoxBody::new(vec![7; 3 * PIECE + 5]), Busy::on(Some(Rc::clone(&wire))));
        for size in [PIECE, PIECE, PIECE] {
            let before = Instant::now();
            assert_eq!(next(&mut body).await, Some(size));
            assert!(wire.quiet_since.get() >= before, "it moves");
            assert_eq!(wire.busy.get(), 0, "and it is its turn");
        }
        is_closed(&mut client).await;
        drop(body);
    }

    #[actix_web::test]
    async fn pieces_make_the_whole_in_its_order_and_are_never_empty() {
        let chunks =
            [vec![1; 3 * PIECE], vec![], vec![2; 10]].map(|chunk| Ok::<_, Error>(Bytes::from(chunk)));
        let body = BodyStream::new(stream::iter(chunks).chain(stream::empty()));
        let mut body = PiecedBody::new(BoxBody::new(body), Busy::on(None));
        for size in [Some(PIECE), Some(PIECE), Some(PIECE), Some(10), None] {
            assert_eq!(next(&mut body).await, size);
        }
    }
}
