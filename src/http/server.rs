//! Listening: every app runs inside of the frame, within limits on connections and time (J04), and both
//! listeners are built here.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    dev::{Extensions, Server},
    middleware::from_fn,
    web::{Data, ServiceConfig},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;
use tracing_actix_web::TracingLogger;

use super::{connection, frame::Frame, hardening::harden, span::RouteSpan};
use crate::relay::HangUp;

/// Connections that wait to be accepted: when another replica dies, those of it come all at once.
const BACKLOG: u32 = 4096;

/// How long connections may take, and how many there may be.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Worker threads; nothing means one for each processor.
    pub workers: Option<usize>,
    /// Connections open at once, for each worker.
    pub max_connections: usize,
    /// From the connection to the end of the first request's head.
    pub head: Duration,
    /// A pause between two requests. The head of a later request gets `idle + head` from the end of the answer before,
    /// and a reader that reads nothing as long from the last that it took.
    pub idle: Duration,
    /// For a caller to take an answer that came before it had sent its whole body.
    pub linger: Duration,
    /// For open requests to finish at a stop; whole seconds.
    pub drain: Duration,
}

impl Tuning {
    /// The time limits of the service: 10 s for a head, 30 s between requests.
    pub fn new(workers: Option<usize>, max_connections: usize, drain: Duration) -> Self {
        Self {
            workers,
            max_connections,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            drain,
        }
    }
}

/// A listener that waits, with the addresses it waits at.
pub struct Listening {
    /// The address, with the port that was taken where 0 was asked for.
    pub address: SocketAddr,
    /// Runs when awaited; its `handle` stops it.
    pub server: Server,
    /// Where connections come in.
    pub socket: ListeningSocket,
}

/// The listening socket: closed before the server is stopped, which drops what it has accepted and not yet begun.
#[derive(Debug)]
pub struct ListeningSocket(TcpListener);

impl ListeningSocket {
    /// From now on nobody begins a connection here: closing would reset those that the system has let in and nobody
    /// has accepted, and a balancer may not send again what it has sent into one. Who asks meanwhile hears nothing,
    /// asks again a second later (RFC 6298, section 2), and is refused by then. Systems other than Linux let them in.
    pub fn turn_away(&self) {
        #[cfg(target_os = "linux")]
        // Without it a few connections may be reset, as without this function.
        let _ = socket2::SockRef::from(&self.0).attach_filter(&first_packets_dropped());
    }

    /// From now on connections are refused, so that a balancer takes them elsewhere. What came before is served.
    pub fn close(&self) {
        // Where the system can't, the server's stop does it a moment later.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Read);
    }
}

/// A socket filter that drops what asks for a connection, and nothing that belongs to one.
#[cfg(target_os = "linux")]
fn first_packets_dropped() -> [socket2::SockFilter; 4] {
    use socket2::SockFilter;
    // Classic BPF: the 14th byte of a TCP header are its flags (RFC 9293, section 3.1).
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_ANY_BIT, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Starts to listen at `address`. Each worker builds its app from `routes`, inside of the frame: `harden`,
/// then the span of the request. Signals are left to the caller. Must be called on an actix or tokio runtime.
pub fn listen(
    address: SocketAddr,
    frame: Frame,
    tuning: Tuning,
    routes: impl Fn(&mut ServiceConfig) + Send + Clone + 'static,
) -> io::Result<Listening> {
    let frame = Data::new(frame);
    let quiet = tuning.idle + tuning.head;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(frame.clone())
            .configure(|app| routes(app))
            .wrap(TracingLogger::<RouteSpan>::new())
            .wrap(from_fn(harden))
    })
    .on_connect(move |io, data: &mut Extensions| {
        HangUp::remember(io, data);
        connection::watch(io, data, quiet);
    })
    .max_connections(tuning.max_connections)
    .client_request_timeout(tuning.head)
    .client_disconnect_timeout(tuning.linger)
    .keep_alive(tuning.idle)
    .shutdown_timeout(tuning.drain.as_secs())
    .disable_signals();
    let server = match tuning.workers {
        Some(workers) => server.workers(workers),
        None => server,
    };
    let listener = bind(address)?.into_std()?;
    let (address, socket) = (listener.local_addr()?, ListeningSocket(listener.try_clone()?));
    Ok(Listening { address, server: server.listen(listener)?.run(), socket })
}

/// Waits at `address` for connections. Must be called on a tokio runtime.
pub(super) fn bind(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Raises the limit on open files to what the system allows this process, and says how many that are: a
/// connection takes two, and the usual limit of 1024 is a house of a few hundred.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_open_files_is_as_high_as_it_may_be() {
        let allowed = raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, allowed);
    }
}
