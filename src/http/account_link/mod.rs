//! What Home Assistant's cloud client calls: `/v1`, `/services`, `/refresh_token/{service}`; and the page that its person
//! is sent to. All of it is 404 unless the operator switched it on.

mod page;
mod socket;

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header::CACHE_CONTROL, web};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::socket::{Caller, Socket};
use super::{
    error::Problem,
    extract::{ClientAddress, StrictJson},
    frame::Frame,
    handshake::{self, Begun},
    relay_door::refuse_foreign_origin,
    throttle::Throttles,
};
use crate::{
    domain::{
        account_link::{RefreshAnswer, ServiceDomain},
        secret::RefreshToken,
    },
    flows::{AccountRefreshError, Broker},
};

/// Attempts whose socket this process holds at once.
const MOST_SOCKETS: usize = 1000;
/// The longest refresh token that is taken.
const LONGEST_TOKEN: usize = 16 * 1024;
/// When to come back where all places are taken, seconds.
const NO_PLACE: u64 = 5;
/// When to come back after an outage of the database, seconds.
const OUTAGE: u64 = 5;
/// When to come back while another asks the provider, seconds.
const UNDER_WAY: u64 = 5;
/// When to come back where the operator has something to do, seconds.
const MISCONFIGURED: u64 = 60;

/// What the sockets of this process share. Clones are the same.
#[derive(Debug, Clone)]
pub struct AccountLinkSockets {
    places: Arc<Semaphore>,
    /// Between pings; a client silent for two of them has gone.
    pub(super) heartbeat: Duration,
    /// Between looks at the database, should a knock be lost.
    pub(super) poll: Duration,
    /// Ends them all.
    pub(super) drain: CancellationToken,
}

impl AccountLinkSockets {
    /// With these periods, until `drain` is cancelled.
    pub fn new(heartbeat: Duration, poll: Duration, drain: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(MOST_SOCKETS)), heartbeat, poll, drain }
    }
}

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/v1").route(web::get().to(connect)))
        .service(web::resource("/services").route(web::get().to(services)))
        .service(web::resource("/refresh_token/{service}").route(web::post().to(refresh)));
    page::routes(config);
}

#[derive(Serialize)]
struct Offered<'a> {
    service: &'a ServiceDomain,
    min_version: &'a str,
    accepts_new_authorizations: bool,
}

#[derive(Deserialize)]
struct Refreshing {
    refresh_token: String,
}

async fn services(broker: web::Data<Broker>) -> Result<HttpResponse, Problem> {
    let services = broker.account_link_services().ok_or_else(Problem::not_found)?;
    let offered: Vec<_> = services
        .iter()
        .map(|(domain, service)| Offered {
            service: domain,
            min_version: service.min_version.as_str(),
            accepts_new_authorizations: service.accepts_new_authorizations,
        })
        .collect();
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "public, max-age=300")).json(offered))
}

async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
    sockets: web::Data<AccountLinkSockets>,
    throttles: web::Data<Throttles>,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    if broker.account_link_services().is_none() {
        return Err(Problem::not_found());
    }
    refuse_foreign_origin(request.headers(), &Frame::of(&request)?.public_url)?;
    let place =
        Arc::clone(&sockets.places).try_acquire_owned().map_err(|_| Problem::too_many_requests(NO_PLACE))?;
    let Begun { socket, answer } = handshake::upgrade(&request, payload)?;
    // Who asks too often is told so in words that the client understands, on the socket.
    let may_start = throttles.account_links.take(client.0, broker.now()).is_ok();
    let caller = Caller { network: client.0, may_start };
    let (broker, sockets) = (broker.get_ref().clone(), sockets.get_ref().clone());
    actix_web::rt::spawn(async move {
        socket::serve(&broker, &sockets, caller, Socket(socket)).await;
        drop(place);
    });
    Ok(answer)
}

async fn refresh(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    path: web::Path<String>,
    client: ClientAddress,
    body: Result<StrictJson<Refreshing>, Problem>,
) -> Result<HttpResponse, Problem> {
    let services = broker.account_link_services().ok_or_else(Problem::not_found)?;
    let domain = path.into_inner().parse::<ServiceDomain>().map_err(|_| Problem::not_found())?;
    if !services.contains_key(&domain) {
        return Err(Problem::not_found());
    }
    let token = body?.0.refresh_token;
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        return Err(gone());
    }
    throttles
        .account_refreshes
        .take(client.0, broker.now())
        .map_err(|wait| Problem::too_many_requests(wait.as_secs()))?;
    match broker.refresh_account(&domain, &RefreshToken::new(token), client.0).await? {
        RefreshAnswer::Tokens(members) => {
            Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(members))
        }
        RefreshAnswer::Gone => Err(gone()),
        RefreshAnswer::TooOften(wait) => Err(Problem::too_many_requests(wait.as_secs())),
        RefreshAnswer::Away(wait) => Err(Problem::unavailable("provider_unavailable", wait.as_secs())),
        RefreshAnswer::Misconfigured => Err(Problem::unavailable("service_misconfigured", MISCONFIGURED)),
    }
}

/// Home Assistant asks its person to link again.
fn gone() -> Problem {
    Problem::bad_request(
        "invalid_grant",
        "The refresh token is unknown or has ended: link the account again.",
    )
}

impl From<AccountRefreshError> for Problem {
    fn from(error: AccountRefreshError) -> Self {
        match error {
            AccountRefreshError::UnknownService => Self::not_found(),
            AccountRefreshError::UnderWay => Self::unavailable("refresh_under_way", UNDER_WAY),
            AccountRefreshError::TooManyWait(too_many) => too_many.into(),
            // Never a 500: the client would take it for nothing worth waiting for.
            AccountRefreshError::Store(cause) => {
                tracing::error!(
                    cause = &cause as &dyn std::error::Error,
                    "a refresh for Home Assistant failed"
                );
                Self::unavailable("database_unavailable", OUTAGE)
            }
        }
    }
}
