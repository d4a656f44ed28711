//! `POST /api/revoke`: an access token of cloudlink's own is given back (RFC 7009).
//!
//! Whoever has the token may end it; there is no client to authenticate. A token that is unknown, expired or another
//! service's is answered like one that was good (§2.2).

use actix_web::{HttpResponse, web};

use super::{
    extract::{ClientAddress, OauthForm},
    oauth_error::OauthError,
    throttle::Throttles,
};
use crate::{
    domain::secret::BearerToken,
    flows::{Broker, GivenBack, RevokeError},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/revoke").route(web::post().to(revoke)));
}

async fn revoke(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    client: ClientAddress,
    form: OauthForm,
) -> Result<HttpResponse, OauthError> {
    let token = form.get("token").ok_or_else(|| OauthError::invalid_request("token is missing"))?;
    let admitted = throttles.revocations.take(client.0, broker.now());
    admitted.map_err(|wait| OauthError::too_many_requests(wait.as_secs()))?;
    let given_back = broker.give_back(&BearerToken::new(token), client.0).await;
    // What adds nothing to what every replica must remember costs nothing.
    if !matches!(given_back, Ok(GivenBack::Revoked)) {
        throttles.revocations.give_back(client.0);
    }
    given_back?;
    Ok(HttpResponse::Ok().finish())
}

impl From<RevokeError> for OauthError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotReady => Self::unavailable(1),
            RevokeError::Store(cause) => cause.into(),
        }
    }
}
