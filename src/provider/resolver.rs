//! Names to addresses, public ones only.
//!
//! The client connects to exactly what this returns, and asks again for each new connection: there is no
//! moment between check and use in which a name could change its mind (E02, E03). A name with even one
//! address that is not public is refused as a whole. Literal addresses never come here; `http` checks them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::domain::address::{EgressPolicy, is_public};

/// Addresses of one name that are tried.
const ADDRESSES: usize = 16;

/// A name or literal that leads to an address that is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host has an address that is not public")]
pub(super) struct AddressRefused;

/// Where addresses come from.
pub(super) trait Lookup: Send + Sync + 'static {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Answers with checked addresses.
pub(super) struct GuardedResolver {
    lookup: Arc<dyn Lookup>,
    egress: EgressPolicy,
}

impl GuardedResolver {
    pub(super) fn new(lookup: Arc<dyn Lookup>, egress: EgressPolicy) -> Self {
        Self { lookup, egress }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.lookup.lookup(name.as_str().to_owned());
        let egress = self.egress;
        Box::pin(async move {
            let addresses = found.await?;
            if egress == EgressPolicy::PublicOnly && !addresses.iter().all(|address| is_public(*address)) {
                return Err(AddressRefused.into());
            }
            // Port 0: the client fills in the URL's.
            let addresses = addresses.into_iter().take(ADDRESSES).map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;
    use crate::provider::fake::ScriptedLookup;

    async fn resolve(resolver: &GuardedResolver) -> Result<Vec<IpAddr>, String> {
        let name = Name::from_str("name.example").unwrap();
        let found = resolver.resolve(name).await.map_err(|error| error.to_string())?;
        Ok(found.map(|address| address.ip()).collect())
    }

    #[tokio::test]
    async fn e02_one_private_address_among_public_ones_refuses_the_name() {
        let lookup = ScriptedLookup::new([&["93.184.215.14", "127.0.0.1"][..]]);
        let resolver = GuardedResolver::new(lookup, EgressPolicy::PublicOnly);
        assert_eq!(resolve(&resolver).await, Err(AddressRefused.to_string()));
    }

    #[tokio::test]
    async fn e03_a_name_is_checked_again_each_time_it_is_asked_for() {
        let lookup = ScriptedLookup::new([&["93.184.215.14"][..], &["127.0.0.1"][..]]);
        let resolver = GuardedResolver::new(lookup, EgressPolicy::PublicOnly);
        assert_eq!(resolve(&resolver).await.unwrap(), ["93.184.215.14".parse::<IpAddr>().unwrap()]);
        assert!(resolve(&resolver).await.is_err());
    }

    #[tokio::test]
    async fn private_addresses_are_for_development() {
        let lookup = ScriptedLookup::new([&["127.0.0.1"][..]]);
        let resolver = GuardedResolver::new(lookup, EgressPolicy::AllowPrivate);
        assert!(resolve(&resolver).await.is_ok());
    }
}
