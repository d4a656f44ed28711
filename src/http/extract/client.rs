//! Which network a caller is in, behind trusted proxies or none (D08).
//!
//! `X-Forwarded-For` counts only from a listed proxy, and of it only the rightmost address that is not a
//! listed proxy itself: what stands left of it was written by the caller. Where a private peer forwards
//! without being listed, the operator forgot to list it, and everyone behind it would look alike: that is
//! [`ClientNetwork::Untrusted`].

use std::{
    future::{Ready, ready},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{FORWARDED, HeaderMap, X_FORWARDED_FOR},
};
use ipnet::IpNet;

use crate::{
    domain::{address::is_public, binding::ClientNetwork},
    http::{error::Problem, frame::Frame},
};

/// The caller's network.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub ClientNetwork);

impl ClientAddress {
    /// The network that a request comes from.
    pub fn of(peer: Option<SocketAddr>, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let Some(peer) = peer.map(|peer| peer.ip().to_canonical()) else {
            return Self(ClientNetwork::Untrusted(Ipv4Addr::UNSPECIFIED.into()));
        };
        let trusted = |address: IpAddr| proxies.iter().any(|proxy| proxy.contains(&address));
        let forwards = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED);
        if !trusted(peer) {
            let hides = forwards && !is_public(peer);
            return Self(if hides { ClientNetwork::Untrusted(peer) } else { ClientNetwork::of(peer) });
        }
        let mut nearest = peer;
        for line in headers.get_all(X_FORWARDED_FOR).rev() {
            for entry in line.to_str().unwrap_or("?").rsplit(',') {
                let Some(address) = address(entry.trim()) else {
                    return Self(ClientNetwork::Untrusted(peer));
                };
                if !trusted(address) {
                    return Self(ClientNetwork::of(address));
                }
                nearest = address;
            }
        }
        Self(ClientNetwork::of(nearest))
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

impl FromRequest for ClientAddress {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let frame = Frame::of(request);
        ready(frame.map(|frame| Self::of(request.peer_addr(), request.headers(), &frame.trusted_proxies)))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded: &[&str], proxies: &[&str]) -> ClientNetwork {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let proxies: Vec<IpNet> = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        ClientAddress::of(Some(SocketAddr::new(peer.parse().unwrap(), 9)), &headers, &proxies).0
    }

    fn proven(network: ClientNetwork) -> Option<String> {
        match network {
            ClientNetwork::Known(network) => Some(network.addr().to_string()),
            ClientNetwork::Untrusted(_) => None,
        }
    }

    #[test]
    fn d08_a_stranger_cannot_choose_its_address() {
        assert_eq!(proven(client("8.8.8.8", &["1.1.1.1"], &[])).unwrap(), "8.8.8.8");
        assert_eq!(proven(client("8.8.8.8", &["1.1.1.1"], &["10.0.0.0/8"])).unwrap(), "8.8.8.8");
    }

    #[test]
    fn d08_of_a_trusted_proxys_list_the_rightmost_untrusted_address_counts() {
        let proxies = ["10.0.0.0/8", "127.0.0.1/32"];
        for (lines, expected) in [
            (&["6.6.6.6, 203.0.113.7"][..], "203.0.113.7"),
            (&["6.6.6.6", "203.0.113.7, 10.9.9.9"], "203.0.113.7"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db8::1]:443"], "2001:db8::"),
            (&["2001:db8::1"], "2001:db8::"),
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            (&[], "127.0.0.1"),
        ] {
            assert_eq!(proven(client("127.0.0.1", lines, &proxies)).unwrap(), expected, "{lines:?}");
        }
    }

    #[test]
    fn d08_an_undeclared_private_proxy_proves_nothing() {
        let network = client("127.0.0.1", &["203.0.113.7"], &[]);
        assert_eq!(proven(network), None);
        assert_eq!(network, ClientNetwork::Untrusted("127.0.0.1".parse().unwrap()));
        assert_eq!(proven(client("127.0.0.1", &["unknown"], &["127.0.0.1/32"])), None);
        assert_eq!(proven(client("127.0.0.1", &["6.6.6.6, "], &["127.0.0.1/32"])), None);
        assert!(proven(client("127.0.0.1", &[], &[])).is_some());
    }

    #[test]
    fn an_ipv4_peer_of_an_ipv6_socket_is_an_ipv4_peer() {
        assert_eq!(proven(client("::ffff:10.0.0.1", &["8.8.8.8"], &["10.0.0.1/32"])).unwrap(), "8.8.8.8");
    }

    proptest! {
        #[test]
        fn what_the_caller_writes_before_the_proxys_entry_changes_nothing(junk in "[ -~]{0,40}") {
            let network = client("10.0.0.1", &[&format!("{junk},203.0.113.7")], &["10.0.0.0/8"]);
            prop_assert_eq!(proven(network).unwrap(), "203.0.113.7");
        }
    }
}
