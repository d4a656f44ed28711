//! A port for each listener: the usual one, or any free one where that is taken.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Where a listener can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where it was wanted.
    AsWanted(SocketAddr),
    /// Elsewhere on the same host, because the wanted port was taken, or is any.
    Instead(SocketAddr),
}

impl Place {
    /// Finds one. Somebody else may be faster to take it than its listener; binding that one says so.
    pub(super) fn near(wanted: SocketAddr) -> io::Result<Self> {
        listen_near(wanted).map(|(_, place)| place)
    }

    pub(super) fn address(self) -> SocketAddr {
        match self {
            Self::AsWanted(address) | Self::Instead(address) => address,
        }
    }
}

/// A listener at `wanted`, or on any port of the same host.
pub(super) fn listen_near(wanted: SocketAddr) -> io::Result<(TcpListener, Place)> {
    match TcpListener::bind(wanted) {
        Ok(listener) => {
            let address = listener.local_addr()?;
            let place = if address == wanted { Place::AsWanted(address) } else { Place::Instead(address) };
            Ok((listener, place))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind((wanted.ip(), 0))?;
            let place = Place::Instead(listener.local_addr()?);
            Ok((listener, place))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_avoided_and_a_free_one_kept() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = taken.local_addr().unwrap();
        let Place::Instead(other) = Place::near(wanted).unwrap() else { panic!("the port is taken") };
        assert_eq!((other.ip(), other.port() == wanted.port()), (wanted.ip(), false));
        drop(taken);
        assert_eq!(Place::near(wanted).unwrap(), Place::AsWanted(wanted));
    }
}
