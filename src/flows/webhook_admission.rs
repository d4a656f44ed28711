//! Whether a request of a web service goes on to a slot's plugin.
//!
//! The order of the checks is the order of what they cost: the caller's rate, the announced size, the slot, the slot's
//! rate, the secret; and, once the body is there, its signature.

use std::time::Duration;

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
}

impl WebhookRates {
    /// So many requests a minute from one network, and to one slot.
    pub fn new(per_network: u32, per_slot: u32) -> Self {
        let minute = Duration::from_mins(1);
        Self { network: Throttle::new(per_network, minute), slot: Throttle::new(per_slot, minute) }
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
    /// Too many came for this slot: wait so long.
    #[error("too many requests came for this slot")]
    SlotRate(Duration),
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
pub struct AdmittedWebhook(Proof);

impl Broker {
    /// Decides whether the body of a request is read: by all that comes before it.
    pub async fn admit_webhook<H: WebhookHead>(
        &self,
        rates: &WebhookRates,
        call: WebhookCall<'_, H>,
    ) -> Result<AdmittedWebhook, WebhookRefusal> {
        let now = self.now();
        rates.network.take(call.network, now).map_err(WebhookRefusal::NetworkRate)?;
        if call.announced.is_some_and(|bytes| bytes > LARGEST_BODY) {
            return Err(WebhookRefusal::TooLarge);
        }
        let webhook = self.show_webhook(call.address).await?;
        let webhook = webhook.filter(|webhook| webhook.enabled).ok_or(WebhookRefusal::Unknown)?;
        rates.slot.take(call.address, now).map_err(WebhookRefusal::SlotRate)?;
        let admitted = AdmittedWebhook(webhook.proof);
        admitted.prove_secret(call.head)?;
        Ok(admitted)
    }
}

impl AdmittedWebhook {
    /// Where the secret stands, which goes no further.
    pub fn secret_place(&self) -> Option<&Place> {
        match &self.0 {
            Proof::Secret(place, _) => Some(place),
            Proof::Hmac(_) | Proof::None => None,
        }
    }

    fn prove_secret(&self, head: &impl WebhookHead) -> Result<(), WebhookRefusal> {
        let Proof::Secret(place, secret) = &self.0 else { return Ok(()) };
        let sent = match place {
            Place::Header(name) => head.header(name),
            Place::Query(name) => head.member(name).map(str::as_bytes),
        };
        proven(sent.is_some_and(|sent| is_secret(sent, secret)))
    }

    /// Checks the signature of the body, where the slot asks for one.
    ///
    /// # Errors
    /// Where it is missing or wrong.
    pub fn prove_body(&self, head: &impl WebhookHead, body: &[u8]) -> Result<(), WebhookRefusal> {
        let Proof::Hmac(signature) = &self.0 else { return Ok(()) };
        let sent = head.header(&signature.header).unwrap_or_default();
        proven(signature.is_of(&String::from_utf8_lossy(sent), body))
    }
}

fn proven(is_so: bool) -> Result<(), WebhookRefusal> {
    if is_so { Ok(()) } else { Err(WebhookRefusal::NotProven) }
}
