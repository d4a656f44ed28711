//! Whether a request of a web service goes on to a slot's plugin.
//!
//! The order of the checks is the order of what they cost: the caller's rate, the announced size, the slot, the secret;
//! and, once the body is there, its signature. The slot's rate is charged last, to who has proven what the slot asks
//! for: else strangers would use it up. They have rates of their own, which refuse nobody who proves something: services
//! send for strangers too, from the networks that they send for the owner from.

use std::time::Duration;

use time::OffsetDateTime;

use super::{Broker, Throttle};
use crate::{
    domain::{
        binding::ClientNetwork,
        ids::SlotAddress,
        inquiry::LARGEST_BODY,
        webhook::{Place, Proof, is_secret},
    },
    store::StoreError,
};

/// How often web services may call this process.
#[derive(Debug)]
pub struct WebhookRates {
    network: Throttle,
    slot: Throttle,
    unproven: Throttle,
    unproven_of_slot: Throttle,
}

/// Requests a minute of one network that prove nothing; then it is told to wait.
const UNPROVEN: u32 = 300;
/// The same for one slot.
const UNPROVEN_OF_SLOT: u32 = 60;

impl WebhookRates {
    /// So many requests a minute from one network, and to one slot by who proves what it asks for.
    pub fn new(per_network: u32, per_slot: u32) -> Self {
        let minute = Duration::from_mins(1);
        Self {
            network: Throttle::new(per_network, minute),
            slot: Throttle::new(per_slot, minute),
            unproven: Throttle::new(UNPROVEN, minute),
            unproven_of_slot: Throttle::new(UNPROVEN_OF_SLOT, minute),
        }
    }

    /// All of them, by the names that metrics have for them.
    pub fn by_name(&self) -> [(&'static str, &Throttle); 4] {
        let Self { network, slot, unproven, unproven_of_slot } = self;
        [
            ("webhooks", network),
            ("webhook_slots", slot),
            ("webhooks_unproven", unproven),
            ("webhook_slots_unproven", unproven_of_slot),
        ]
    }

    fn proven(&self, slot: &SlotAddress, now: OffsetDateTime) -> Result<(), WebhookRefusal> {
        self.slot.take(slot, now).map_err(WebhookRefusal::SlotRate)
    }

    /// Counts a request that proved nothing, and says how it is refused.
    fn unproven(&self, network: ClientNetwork, slot: &SlotAddress, now: OffsetDateTime) -> WebhookRefusal {
        let of_slot = self.unproven_of_slot.take(format_args!("{network} {slot}"), now);
        match of_slot.and(self.unproven.take(network, now)) {
            Ok(()) => WebhookRefusal::NotProven,
            Err(wait) => WebhookRefusal::UnprovenRate(wait),
        }
    }
}

/// What a request shows besides its body.
pub trait WebhookHead {
    /// A header that stands there once; the name is in lower case.
    fn header(&self, name: &str) -> Option<&[u8]>;

    /// A member of the query that stands there once, decoded.
    fn member(&self, name: &str) -> Option<&str>;
}

/// A request whose body is not read yet.
pub struct WebhookCall<'a, H> {
    /// The slot that it is for.
    pub address: &'a SlotAddress,
    /// Where it comes from.
    pub network: ClientNetwork,
    /// Bytes of its body, where it says so.
    pub announced: Option<usize>,
    /// What it shows.
    pub head: &'a H,
}

/// Why a request goes no further.
#[derive(Debug, thiserror::Error)]
pub enum WebhookRefusal {
    /// Too many came from this network: wait so long.
    #[error("too many requests came from this network")]
    NetworkRate(Duration),
    /// Too many came for this slot, all of which proved what it asks for: wait so long.
    #[error("too many requests came for this slot")]
    SlotRate(Duration),
    /// It proved nothing, like too many from this network: wait so long.
    #[error("too many requests from this network proved nothing")]
    UnprovenRate(Duration),
    /// Its body is larger than any may be.
    #[error("the body is too large")]
    TooLarge,
    /// There is no such slot, or it takes no requests.
    #[error("there is no such webhook")]
    Unknown,
    /// The secret or signature that the slot asks for is missing or wrong.
    #[error("the secret or signature is missing or wrong")]
    NotProven,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request that may send its body.
#[derive(Debug)]
pub struct AdmittedWebhook<'a> {
    proof: Proof,
    address: &'a SlotAddress,
    network: ClientNetwork,
    rates: &'a WebhookRates,
}

impl Broker {
    /// Decides whether the body of a request is read: by all that comes before it.
    pub async fn admit_webhook<'a, H: WebhookHead>(
        &self,
        rates: &'a WebhookRates,
        call: WebhookCall<'a, H>,
    ) -> Result<AdmittedWebhook<'a>, WebhookRefusal> {
        let now = self.now();
        rates.network.take(call.network, now).map_err(WebhookRefusal::NetworkRate)?;
        if call.announced.is_some_and(|bytes| bytes > LARGEST_BODY) {
            return Err(WebhookRefusal::TooLarge);
        }
        let webhook = self.show_webhook(call.address).await?;
        let webhook = webhook.filter(|webhook| webhook.enabled).ok_or(WebhookRefusal::Unknown)?;
        let WebhookCall { address, network, head, .. } = call;
        let admitted = AdmittedWebhook { proof: webhook.proof, address, network, rates };
        if !admitted.is_head_right(head) {
            return Err(rates.unproven(network, address, now));
        }
        if !admitted.signs_body() {
            rates.proven(address, now)?;
        }
        Ok(admitted)
    }
}

impl AdmittedWebhook<'_> {
    /// Where the secret stands, which goes no further.
    pub fn secret_place(&self) -> Option<&Place> {
        match &self.proof {
            Proof::Secret(place, _) => Some(place),
            Proof::Hmac(_) | Proof::None => None,
        }
    }

    fn signs_body(&self) -> bool {
        matches!(self.proof, Proof::Hmac(_))
    }

    /// Whether the secret is right, or there is what could be the signature of a body.
    fn is_head_right(&self, head: &impl WebhookHead) -> bool {
        match &self.proof {
            Proof::None => true,
            Proof::Secret(Place::Header(name), secret) => {
                head.header(name).is_some_and(|sent| is_secret(sent, secret))
            }
            Proof::Secret(Place::Query(name), secret) => {
                head.member(name).is_some_and(|sent| is_secret(sent.as_bytes(), secret))
            }
            Proof::Hmac(signature) => head
                .header(&signature.header)
                .is_some_and(|sent| signature.is_well_formed(&String::from_utf8_lossy(sent))),
        }
    }

    /// Checks the signature of the body, where the slot asks for one, and charges the slot's rate for it.
    ///
    /// # Errors
    /// Where it is missing or wrong, or too many right ones came.
    pub fn prove_body(
        &self,
        head: &impl WebhookHead,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<(), WebhookRefusal> {
        let Proof::Hmac(signature) = &self.proof else { return Ok(()) };
        let sent = head.header(&signature.header).unwrap_or_default();
        if !signature.is_of(&String::from_utf8_lossy(sent), body) {
            return Err(self.rates.unproven(self.network, self.address, now));
        }
        self.rates.proven(self.address, now)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::domain::ids::DeviceId;

    #[test]
    fn what_proves_nothing_is_counted_by_network_and_slot_and_not_for_the_slot() {
        let (rates, now) = (WebhookRates::new(3000, 1), datetime!(2026-01-02 03:04:05 UTC));
        let network = |text: &str| ClientNetwork::of(text.parse().unwrap());
        let slot =
            |name: String| SlotAddress { device: DeviceId(uuid::Uuid::nil()), slot: name.parse().unwrap() };
        let (one, other) = (network("192.0.2.1"), network("192.0.2.2"));
        let is_counted = |network, name: &str| {
            matches!(rates.unproven(network, &slot(name.to_owned()), now), WebhookRefusal::NotProven)
        };
        assert!((0..UNPROVEN_OF_SLOT).all(|_| is_counted(one, "a")));
        assert!(!is_counted(one, "a") && is_counted(other, "a") && is_counted(one, "b"));
        let more = (0..UNPROVEN).filter(|number| is_counted(one, &format!("s{number}"))).count();
        assert!(more < UNPROVEN as usize, "a network has a bound for all slots");
        assert!(is_counted(other, "b"));
        assert!(rates.proven(&slot("a".to_owned()), now).is_ok(), "nothing of it was used up");
        assert!(rates.proven(&slot("a".to_owned()), now).is_err());
    }
}
