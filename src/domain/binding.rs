//! Who consented must be who asked: the networks that are compared, and when a code is asked for (C02).

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::flow::{UnknownWord, words};

words! {
    /// Whether a code proves that who consented is who asked (`consent.binding`).
    ConsentBinding {
        /// The page that names what is asked is enough.
        Page = "page",
        /// Always a code.
        Code = "code",
        /// A code where the browser's network differs from the device's.
        Adaptive = "adaptive",
    }
}

/// The network somebody calls from: an IPv4 address, or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    /// Seen by us or said by a trusted proxy.
    Known(IpNet),
    /// A private peer speaks for others without being a trusted proxy: equal to no network.
    Untrusted(IpAddr),
}

impl ClientNetwork {
    /// The network of an address that is believed.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { 32 } else { 64 };
        Self::Known(IpNet::new_assert(address, prefix).trunc())
    }

    /// The address that is seen, whether believed or not: for limits, logs and pages.
    pub fn address(self) -> IpAddr {
        match self {
            Self::Known(network) => network.addr(),
            Self::Untrusted(peer) => peer,
        }
    }

    /// Whether both are known and one.
    pub fn is_same_as(self, other: Self) -> bool {
        match (self, other) {
            (Self::Known(one), Self::Known(two)) => one == two,
            (Self::Untrusted(_), _) | (_, Self::Untrusted(_)) => false,
        }
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(network) if network.addr().is_ipv4() => network.addr().fmt(f),
            Self::Known(network) => network.fmt(f),
            Self::Untrusted(peer) => write!(f, "untrusted:{peer}"),
        }
    }
}

impl FromStr for ClientNetwork {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        if let Some(peer) = text.strip_prefix("untrusted:") {
            return peer.parse().map(Self::Untrusted).map_err(|_| UnknownWord);
        }
        let address = text.split('/').next().unwrap_or_default();
        address.parse().map(Self::of).map_err(|_| UnknownWord)
    }
}

impl ConsentBinding {
    /// Whether a consent given from `browser` needs a code, for a flow that `device` started.
    pub fn asks_for_code(self, device: ClientNetwork, browser: ClientNetwork) -> bool {
        match self {
            Self::Page => false,
            Self::Code => true,
            Self::Adaptive => !device.is_same_as(browser),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn c02_adaptive_asks_for_a_code_unless_both_networks_are_known_and_one() {
        let network = |text: &str| ClientNetwork::of(text.parse().unwrap());
        let asks = |one, two| ConsentBinding::Adaptive.asks_for_code(one, two);
        assert!(!asks(network("203.0.113.7"), network("::ffff:203.0.113.7")));
        assert!(!asks(network("2001:db8:1:2::3"), network("2001:db8:1:2:ffff::9")));
        assert!(asks(network("203.0.113.7"), network("203.0.113.8")));
        assert!(asks(network("2001:db8:1:2::3"), network("2001:db8:1:3::3")));
        let untrusted = ClientNetwork::Untrusted("10.0.0.1".parse().unwrap());
        assert!(asks(untrusted, untrusted));
    }

    proptest! {
        #[test]
        fn a_network_reads_back_as_it_was_written(address in any::<IpAddr>(), known in any::<bool>()) {
            let network = if known { ClientNetwork::of(address) } else { ClientNetwork::Untrusted(address) };
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }
    }
}
