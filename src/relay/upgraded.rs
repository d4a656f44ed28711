//! A request of the HTTP server that became a WebSocket: its body is what the peer says, and what it is told is the
//! body of the answer.
//!
//! The server reads no more of the one while nobody takes it, and takes no more of the other while the peer does not
//! read: what waits is bounded both ways.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{
    body::BodyStream,
    web::{Bytes, Payload},
};
use futures_util::Stream;
use tokio::sync::mpsc;

use super::{
    HangUp,
    transport::{CHUNK, Gone, Parting, Transport},
};

/// What is sent and not yet taken by the server: frames that go out together.
const MOST_WAITING: usize = 1;

/// A request whose answer is 101.
pub struct Upgraded {
    said: Payload,
    /// What came with the last read and was more than a chunk.
    rest: Bytes,
    told: mpsc::Sender<Bytes>,
    hang_up: Option<HangUp>,
}

impl Upgraded {
    /// Over the body of a request, with the body for its answer. `hang_up` ends the connection below, where the server
    /// has remembered it.
    pub fn new(
        said: Payload,
        hang_up: Option<HangUp>,
    ) -> (Self, BodyStream<impl Stream<Item = Result<Bytes, Infallible>>>) {
        let (told, mut telling) = mpsc::channel(MOST_WAITING);
        let body = futures_util::stream::poll_fn(move |context| {
            telling.poll_recv(context).map(|bytes| bytes.map(Ok::<_, Infallible>))
        });
        (Self { said, rest: Bytes::new(), told, hang_up }, BodyStream::new(body))
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was said may hold secrets.
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl Transport for Upgraded {
    fn poll_read(&mut self, context: &mut Context<'_>, unread: &mut Vec<u8>) -> Poll<Result<(), Gone>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.said).poll_next(context)) {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
            }
        }
        let chunk = self.rest.split_to(self.rest.len().min(CHUNK));
        unread.extend_from_slice(&chunk);
        if self.rest.is_empty() {
            // It holds the server's buffer.
            self.rest = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.told.send(bytes.into()).await.map_err(|_| Gone)
    }

    fn part(self, how: Parting) {
        match (self.hang_up, how) {
            (Some(hang_up), Parting::InPeace) => hang_up.after_writing(),
            (Some(hang_up), Parting::AtOnce) => hang_up.now(),
            (None, _) => {}
        }
    }
}
