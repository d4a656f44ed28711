//! Connections that only take up room are closed (J04, H08).
//!
//! The server limits the time for the first request's head and the pause between requests, but neither the
//! head of a later request nor the reading of an answer. So each connection has a [`Wire`]: while a request
//! is handled and its answer is produced, it is busy; once it has been quiet for the limit, its socket is
//! shut down. A WebSocket is busy as long as it lives, and has pings of its own.

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
use tokio::time::{Instant, sleep_until};

/// What is known of one connection.
struct Wire {
    socket: std::net::TcpStream,
    busy: Cell<usize>,
    quiet_since: Cell<Instant>,
}

/// Keeps a connection busy until it is dropped.
pub(super) struct Busy(Option<Rc<Wire>>);

impl Busy {
    /// While `request` is handled and answered.
    pub(super) fn with(request: &HttpRequest) -> Self {
        Self::on(request.conn_data::<Rc<Wire>>().map(Rc::clone))
    }

    fn on(wire: Option<Rc<Wire>>) -> Self {
        if let Some(wire) = &wire {
            wire.busy.set(wire.busy.get() + 1);
        }
        Self(wire)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(wire) = &self.0 {
            wire.busy.set(wire.busy.get().saturating_sub(1));
            wire.quiet_since.set(Instant::now());
        }
    }
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Busy").finish_non_exhaustive()
    }
}

/// A body whose connection is busy until it has been produced.
pub(super) struct BusyBody {
    body: BoxBody,
    _busy: Busy,
}

impl BusyBody {
    /// `body`, holding `busy`.
    pub(super) fn new(body: BoxBody, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl MessageBody for BusyBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
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
    use tokio::{io::AsyncReadExt as _, net::TcpListener, time::timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[actix_web::test]
    async fn j04_a_connection_is_closed_once_it_is_quiet_and_never_while_it_is_busy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let mut data = Extensions::new();
        watch(&accepted, &mut data, LIMIT);

        let busy = Busy::on(data.get::<Rc<Wire>>().map(Rc::clone));
        let body = BusyBody::new(BoxBody::new("answer"), busy);
        assert!(timeout(LIMIT * 6, client.read_u8()).await.is_err(), "closed while busy");
        drop(body);
        let end = timeout(Duration::from_secs(10), client.read_u8()).await.expect("closed when quiet");
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
