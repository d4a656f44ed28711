//! Ends a TCP connection whose peer does not read, or has said all that it will.
//!
//! The server's writer waits for such a peer without a limit, and a close frame would wait behind what is
//! already queued. Shutting the socket down wakes the writer with an error, and all buffers go.
//!
//! A peer whose close frame was answered waits for the server to end the connection (RFC 6455 §7.1.1), and the HTTP
//! server, to which the frames are a body without an end, waits for the peer; so it is told that nothing more comes.
//!
//! To be given to the HTTP server's `on_connect`, which alone sees the socket.

use std::{any::Any, net::Shutdown, os::fd::AsFd as _, sync::Arc};

use actix_web::{dev::Extensions, rt::net::TcpStream};

/// A second handle of a connection's socket.
#[derive(Debug, Clone)]
pub struct HangUp(Arc<std::net::TcpStream>);

impl HangUp {
    /// For `HttpServer::on_connect`: keeps a handle among the connection's data, where `HttpRequest::conn_data`
    /// finds it. Connections other than plain TCP, and a process without free descriptors, get none.
    pub fn remember(io: &dyn Any, data: &mut Extensions) {
        let handle = io.downcast_ref::<TcpStream>().and_then(|io| io.as_fd().try_clone_to_owned().ok());
        if let Some(handle) = handle {
            data.insert(Self(Arc::new(handle.into())));
        }
    }

    /// Ends the connection once what is queued was written.
    pub fn after_writing(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Read);
    }

    /// Ends the connection, both ways, at once.
    pub fn now(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
