//! Who calls, and what they may: the owner by Basic login, a device by its bearer token.
//!
//! What belongs to somebody else, or lies outside a token's topics, is a 404, exactly like what does not exist;
//! the right subject with the wrong kind of credential is a 403.

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;

use super::{
    error::Problem,
    extract::{Authorization, BasicCredentials, ClientAddress},
    throttle::Throttles,
};
use crate::{
    domain::{
        audit::{Actor, Origin},
        ids::{DeviceId, SlotAddress, SlotName},
        secret::BearerToken,
        topic::Channel,
    },
    flows::{AccessClaims, AccessError, Broker, Credential, Subject},
};

/// An authenticated caller.
#[derive(Debug)]
pub enum Caller {
    /// The owner.
    Owner,
    /// A device, with what its token says.
    Device(DeviceId, Box<AccessClaims>),
}

impl Caller {
    /// Who calls from where, for the audit record.
    pub fn origin(&self, client: ClientAddress) -> Origin {
        let actor = match self {
            Self::Owner => Actor::Owner,
            Self::Device(device, _) => Actor::Device(*device),
        };
        Origin::of(actor, client.0)
    }

    /// The owner alone.
    pub fn owner(&self) -> Result<(), Problem> {
        match self {
            Self::Owner => Ok(()),
            Self::Device(..) => Err(Problem::forbidden()),
        }
    }

    /// The owner, where a device knows of itself alone.
    pub fn owner_of(&self, device: DeviceId) -> Result<(), Problem> {
        match self {
            Self::Device(own, _) if *own != device => Err(Problem::not_found()),
            Self::Owner | Self::Device(..) => self.owner(),
        }
    }

    /// The owner, or the device itself with whatever it logged in, unless its token is for one slot alone.
    pub fn owner_or_device(&self, device: DeviceId) -> Result<(), Problem> {
        match self {
            Self::Device(own, _) if *own != device => Err(Problem::not_found()),
            Self::Device(_, claims) if is_narrowed(claims) => Err(Problem::forbidden()),
            Self::Owner | Self::Device(..) => Ok(()),
        }
    }

    /// The owner, or the device by a trusted key, for what concerns one slot.
    pub fn owner_or_slot(&self, address: &SlotAddress) -> Result<(), Problem> {
        match self {
            Self::Owner => Ok(()),
            Self::Device(..) => self.slot(address, Channel::Settings),
        }
    }

    /// The device by a trusted key, where its token's topics allow `channel` of the slot.
    pub fn slot(&self, address: &SlotAddress, channel: Channel) -> Result<(), Problem> {
        match self {
            Self::Owner => Err(Problem::forbidden()),
            Self::Device(own, _) if *own != address.device => Err(Problem::not_found()),
            Self::Device(_, claims) if !is_by_key(claims) => Err(Problem::forbidden()),
            Self::Device(_, claims) if claims.topics.allow(channel, address.device, &address.slot) => Ok(()),
            Self::Device(..) => Err(Problem::not_found()),
        }
    }

    /// The device by a trusted key.
    pub fn device_key(self) -> Result<(DeviceId, AccessClaims), Problem> {
        match self {
            Self::Device(device, claims) if is_by_key(&claims) => Ok((device, *claims)),
            Self::Owner | Self::Device(..) => Err(Problem::forbidden()),
        }
    }

    /// Whether a slot of `device` may be shown to the caller.
    pub fn sees(&self, device: DeviceId, slot: &SlotName) -> bool {
        match self {
            Self::Owner => true,
            Self::Device(own, claims) => *own == device && claims.topics.allow(Channel::Events, device, slot),
        }
    }

    /// The owner, or the device by a trusted key, unless its token is for one slot alone.
    pub fn owner_or_whole_device(&self, device: DeviceId) -> Result<(), Problem> {
        self.owner_or_device_key(device)?;
        self.owner_or_device(device)
    }

    /// The owner, or the device by a trusted key; for lists, which show what the caller [sees](Self::sees).
    pub fn owner_or_device_key(&self, device: DeviceId) -> Result<(), Problem> {
        match self {
            Self::Owner => Ok(()),
            Self::Device(own, _) if *own != device => Err(Problem::not_found()),
            Self::Device(_, claims) if is_by_key(claims) => Ok(()),
            Self::Device(..) => Err(Problem::forbidden()),
        }
    }
}

fn is_by_key(claims: &AccessClaims) -> bool {
    matches!(claims.obtained_with, Credential::TrustedKey(_))
}

/// Whether the token is for one slot alone: a device-wide one names its slots with a wildcard.
fn is_narrowed(claims: &AccessClaims) -> bool {
    !claims.topics.subs.is_empty() && !claims.topics.subs.iter().any(|filter| filter.0.contains('+'))
}

/// A caller, for calls that some may make without being anybody. A credential that is no good is still a 401.
#[derive(Debug)]
pub struct MaybeCaller(pub Option<Caller>);

impl FromRequest for Caller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { authenticate(&request).await?.ok_or_else(Problem::unauthorized) })
    }
}

impl FromRequest for MaybeCaller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { authenticate(&request).await.map(Self) })
    }
}

async fn authenticate(request: &HttpRequest) -> Result<Option<Caller>, Problem> {
    let Some(broker) = request.app_data::<web::Data<Broker>>() else { return Err(Problem::not_found()) };
    match Authorization::of(request.headers()) {
        Authorization::Bearer(token) => bearer(broker, &token).map(Some),
        Authorization::Basic(credentials) => owner(request, broker, &credentials).await.map(Some),
        Authorization::Unreadable => Err(Problem::unauthorized()),
        Authorization::Missing => Ok(None),
    }
}

/// Whoever a token speaks for.
pub(super) fn bearer(broker: &Broker, token: &BearerToken) -> Result<Caller, Problem> {
    let claims = broker.access.verify(token.expose(), broker.now()).map_err(|error| match error {
        AccessError::NotReady => Problem::unavailable("not_ready", 1),
        AccessError::Token(_) | AccessError::Revoked => Problem::unauthorized(),
    })?;
    Ok(match claims.subject {
        Subject::Owner => Caller::Owner,
        Subject::Device(device) => Caller::Device(device, Box::new(claims)),
    })
}

/// The owner, by name and password; a wrong one is counted and recorded.
pub(super) async fn owner(
    request: &HttpRequest,
    broker: &Broker,
    credentials: &BasicCredentials,
) -> Result<Caller, Problem> {
    let client = ClientAddress::extract(request).await?;
    let throttles = request.app_data::<web::Data<Throttles>>().ok_or_else(Problem::unauthorized)?;
    owner_from(client, throttles, broker, credentials).await
}

/// The same, from a network that is known already.
pub(super) async fn owner_from(
    client: ClientAddress,
    throttles: &Throttles,
    broker: &Broker,
    credentials: &BasicCredentials,
) -> Result<Caller, Problem> {
    let taken = throttles.logins.take(client.0, broker.now());
    taken.map_err(|wait| Problem::too_many_requests(wait.as_secs()))?;
    if broker.access.is_owner(&credentials.user, &credentials.password) {
        throttles.logins.give_back(client.0);
        return Ok(Caller::Owner);
    }
    broker.record_wrong_owner(client.0).await?;
    Err(Problem::unauthorized())
}
