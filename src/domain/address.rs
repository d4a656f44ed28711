//! Which hosts and addresses an outgoing request may reach (E02).
//!
//! Guarantees: [`is_public`] holds for public unicast addresses only. IPv6 is an allow-list (`2000::/3`
//! without its special parts), so that every way to write an IPv4 address inside an IPv6 one is refused.
//! [`EgressPolicy::check_host`] reads the host as the `url` crate canonicalised it, so `0x7f.1` and
//! `2130706433` are the address that they mean.
//!
//! Deliberately resolves nothing: a name that points at a private address is refused when it is used, by
//! whoever resolves it, with the same [`EgressPolicy::permits`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// What outgoing requests may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressPolicy {
    /// `https` to public addresses only.
    PublicOnly,
    /// `http` and private addresses too, for development (`egress.allow_private`).
    AllowPrivate,
}

/// Why a URL's host may not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The URL has no host.
    #[error("must name a host")]
    Missing,
    /// A literal address that is not public, or a name that only means something at home.
    #[error("must be a public host; addresses and names of private networks need egress.allow_private")]
    NotPublic,
}

impl EgressPolicy {
    /// Whether a connection to `address` may be made.
    pub fn permits(self, address: IpAddr) -> bool {
        match self {
            Self::PublicOnly => is_public(address),
            Self::AllowPrivate => true,
        }
    }

    /// Whether URLs of `scheme` (lower case) may be asked.
    pub fn permits_scheme(self, scheme: &str) -> bool {
        scheme == "https" || (scheme == "http" && self == Self::AllowPrivate)
    }

    /// Checks the host that stands in `url`, without resolving it.
    pub fn check_host(self, url: &Url) -> Result<(), HostError> {
        let permitted = match url.host().ok_or(HostError::Missing)? {
            Host::Ipv4(address) => self.permits(address.into()),
            Host::Ipv6(address) => self.permits(address.into()),
            Host::Domain("") => return Err(HostError::Missing),
            Host::Domain(name) => self == Self::AllowPrivate || !is_local_name(name),
        };
        if permitted { Ok(()) } else { Err(HostError::NotPublic) }
    }
}

/// Names that never leave a machine or a home network (RFC 6761, 6762, 8375; `.internal` by ICANN).
const LOCAL_NAMES: [&str; 5] = ["localhost", "local", "internal", "home.arpa", "localdomain"];

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    LOCAL_NAMES
        .iter()
        .any(|local| name.strip_suffix(local).is_some_and(|head| head.is_empty() || head.ends_with('.')))
}

/// Whether `address` is a public unicast address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The IPv4 blocks that are not public: first address, prefix length.
const PRIVATE_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),            // "this network"
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's metadata service on a public address
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, most metadata services
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // IETF protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, broadcast
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within =
        |(block, prefix): &(Ipv4Addr, u32)| (address.to_bits() ^ block.to_bits()) >> (32 - prefix) == 0;
    !PRIVATE_V4.iter().any(within)
}

/// The parts of `2000::/3` that are not public: first address, prefix length.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // IETF protocol assignments, Teredo among them
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: holds an IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    let global = address.to_bits() >> 125 == 0b001;
    let within =
        |(block, prefix): &(Ipv6Addr, u32)| (address.to_bits() ^ block.to_bits()) >> (128 - prefix) == 0;
    global && !SPECIAL_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(host: &str) -> Result<(), HostError> {
        EgressPolicy::PublicOnly.check_host(&Url::parse(&format!("https://{host}/token")).unwrap())
    }

    #[test]
    fn e02_forty_hosts_that_are_not_public_are_refused() {
        let hosts = [
            "0",
            "0x7f.1",
            "2130706433",
            "017700000001",
            "127.1",
            "127.0.0.1",
            "127.0.0.1.",
            "0.0.0.0",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "0xa9fea9fe",
            "[::]",
            "[::1]",
            "[::ffff:7f00:1]",
            "[::ffff:8.8.8.8]",
            "[::8.8.8.8]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::808:808]",
            "[64:ff9b:1::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "[fe80::1]",
            "[fec0::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[100::1]",
            "localhost",
            "LOCALHOST.",
            "db.localhost",
            "printer.local",
            "metadata.google.internal",
            "router.home.arpa",
            "host.localdomain",
            "①②⑦.0.0.1",
        ];
        assert!(hosts.len() >= 40);
        for host in hosts {
            assert_eq!(check(host), Err(HostError::NotPublic), "{host}");
        }
    }

    #[test]
    fn e02_public_hosts_are_reached() {
        let hosts = [
            "example.com",
            "8.8.8.8",
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[2a00:1450:4001::1]",
            "[2001:4860:4860::8888]",
            "notlocalhost",
            "thermal.example",
            "mylocal",
        ];
        for host in hosts {
            assert_eq!(check(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn e02_development_may_reach_everything() {
        let url = Url::parse("http://127.0.0.1:8080/").unwrap();
        assert_eq!(EgressPolicy::AllowPrivate.check_host(&url), Ok(()));
        assert!(EgressPolicy::AllowPrivate.permits_scheme("http"));
        assert!(!EgressPolicy::PublicOnly.permits_scheme("http"));
        assert!(!EgressPolicy::AllowPrivate.permits_scheme("file"));
    }

    proptest! {
        #[test]
        fn e02_no_ipv6_form_of_any_ipv4_address_is_public(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let low = u128::from(bits);
            let forms = [
                v4.to_ipv6_mapped(),
                Ipv6Addr::from_bits(low),
                Ipv6Addr::from_bits((0x0064_ff9b_u128 << 96) | low),
                Ipv6Addr::from_bits((0x0064_ff9b_0001_u128 << 80) | low),
                Ipv6Addr::from_bits((0x2002_u128 << 112) | (low << 80)),
                Ipv6Addr::from_bits((0x2001_u128 << 112) | (low << 64)),
            ];
            for form in forms {
                prop_assert!(!is_public(form.into()), "{}", form);
            }
        }

        #[test]
        fn e02_what_the_standard_library_calls_private_is_never_public(bits in any::<u32>(), low in any::<u8>()) {
            for v4 in [Ipv4Addr::from_bits(bits), Ipv4Addr::new(172, low, 1, 1), Ipv4Addr::new(100, low, 1, 1)] {
                let known = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                    || v4.is_unspecified() || v4.is_broadcast() || v4.is_documentation();
                prop_assert!(!(known && is_public(v4.into())), "{}", v4);
            }
        }

        #[test]
        fn e02_a_literal_in_a_url_is_judged_like_the_address(bits in any::<u32>()) {
            prop_assert_eq!(check(&bits.to_string()).is_ok(), is_public(Ipv4Addr::from_bits(bits).into()));
        }
    }
}
