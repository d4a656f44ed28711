//! A TCP socket of our own that carries a WebSocket.
//!
//! While nothing comes it holds no buffer: what is readable is read into the stack.

use std::{
    io::ErrorKind,
    task::{Context, Poll, ready},
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::transport::{CHUNK, Gone, Parting, Transport};

/// A socket whose handshake is done.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// Whether a send was given up in the middle of a frame: behind that nothing can be told.
    half_sent: bool,
}

impl Wire {
    /// Over `stream`.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, half_sent: false }
    }

    /// Reads what there is; the buffer is gone with this call. Whether there was anything.
    fn read(&mut self, unread: &mut Vec<u8>) -> Result<bool, Gone> {
        let mut chunk = [0; CHUNK];
        match self.stream.try_read(&mut chunk) {
            Ok(0) => Err(Gone),
            Ok(length) => {
                unread.extend_from_slice(chunk.get(..length).unwrap_or_default());
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(_) => Err(Gone),
        }
    }
}

impl Transport for Wire {
    fn poll_read(&mut self, context: &mut Context<'_>, unread: &mut Vec<u8>) -> Poll<Result<(), Gone>> {
        loop {
            if ready!(self.stream.poll_read_ready(context)).is_err() {
                return Poll::Ready(Err(Gone));
            }
            match self.read(unread) {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Ok(())),
                Err(Gone) => return Poll::Ready(Err(Gone)),
            }
        }
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        if self.half_sent {
            return Err(Gone);
        }
        self.half_sent = true;
        self.stream.write_all(&bytes).await.map_err(|_| Gone)?;
        self.half_sent = false;
        Ok(())
    }

    fn part(self, how: Parting) {
        if how == Parting::AtOnce {
            // A reset: the kernel lets go of what the peer does not take.
            let _ = self.stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    #[tokio::test]
    async fn nothing_is_sent_behind_half_a_frame() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _reads_nothing = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Wire::new(stream);
        assert_eq!(wire.write(b"whole".to_vec()).await, Ok(()), "a whole frame is no half");
        let huge = vec![b'x'; 64 * 1024 * 1024];
        assert!(timeout(Duration::from_millis(100), wire.write(huge)).await.is_err());
        assert_eq!(wire.write(b"more".to_vec()).await, Err(Gone));
    }
}
