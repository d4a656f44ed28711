//! Who gets a relay connection, whichever listener they came to: the checks of the handshake, in their order.

use std::time::Duration;

use actix_web::{
    http::header::{HeaderMap, ORIGIN, SEC_WEBSOCKET_PROTOCOL},
    web,
};

use super::{
    caller::{bearer, owner_from},
    error::Problem,
    extract::{Authorization, ClientAddress},
    relay::access,
    throttle::Throttles,
};
use crate::{
    domain::{
        clock::{Entropy, draw},
        public_url::PublicUrl,
    },
    flows::Broker,
    relay::{Admission, Handshake, Relay, RelayAccess, SUBPROTOCOL},
};

/// Over how long those are spread who are told to come back.
const COME_BACK: Duration = Duration::from_secs(8);

/// What a handshake is judged by.
pub(super) struct Door<'a> {
    pub(super) broker: &'a web::Data<Broker>,
    pub(super) relay: &'a Relay,
    pub(super) throttles: &'a Throttles,
    pub(super) public_url: &'a PublicUrl,
}

/// Someone who may connect, with the places that are taken for it.
pub(super) struct Entered {
    pub(super) places: (Handshake, Admission),
    pub(super) access: RelayAccess,
}

impl Door<'_> {
    /// Lets in whoever may connect. What costs nothing is looked at first; the rest has its turn.
    pub(super) async fn enter(&self, headers: &HeaderMap, client: ClientAddress) -> Result<Entered, Problem> {
        refuse_foreign_origin(headers, self.public_url)?;
        let authorization = Authorization::of(headers);
        if matches!(authorization, Authorization::Missing | Authorization::Unreadable) {
            return Err(Problem::unauthorized());
        }
        let handshake = self.relay.handshake().await.map_err(|_| self.come_back_later())?;
        let access = match authorization {
            Authorization::Bearer(token) => access(self.broker, bearer(self.broker, &token)?, Some(&token))?,
            Authorization::Basic(credentials) => {
                let owner = owner_from(client, self.throttles, self.broker, &credentials).await?;
                access(self.broker, owner, None)?
            }
            Authorization::Missing | Authorization::Unreadable => return Err(Problem::unauthorized()),
        };
        if !offers_subprotocol(headers) {
            return Err(Problem::bad_request(
                "subprotocol_required",
                "Offer the WebSocket subprotocol cloudlink.v1.",
            ));
        }
        let admission = self.relay.admit(access.device).map_err(|_| Problem::too_many_requests(5))?;
        Ok(Entered { places: (handshake, admission), access })
    }

    /// Not all at the same moment.
    fn come_back_later(&self) -> Problem {
        Problem::unavailable("busy", 1 + spread(self.broker.entropy(), COME_BACK.as_secs()))
    }
}

/// A browser's page can open sockets to anywhere, with its visitor's network; programs send no `Origin` at all (H02).
pub(super) fn refuse_foreign_origin(headers: &HeaderMap, public_url: &PublicUrl) -> Result<(), Problem> {
    match headers.get(ORIGIN) {
        Some(origin) if origin.as_bytes() != public_url.origin().as_bytes() => Err(Problem::forbidden()),
        Some(_) | None => Ok(()),
    }
}

/// A random number below `below`.
fn spread(entropy: &dyn Entropy, below: u64) -> u64 {
    (u64::from(u32::from_be_bytes(draw(entropy))) * below) >> 32
}

fn offers_subprotocol(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut names = offers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.any(|name| name.trim() == SUBPROTOCOL)
}
