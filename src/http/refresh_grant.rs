//! `POST /api/cloudlink/token`: where a plugin's stock OAuth library refreshes (RFC 6749 §6).

use actix_web::{HttpResponse, web};

use super::{
    extract::{Authorization, BasicCredentials, ClientAddress, OauthForm},
    oauth_error::{OauthError, OauthErrorCode},
    throttle::Throttles,
};
use crate::{
    domain::{
        secret::{ClientSecret, RefreshToken},
        slot::ClientCredentials,
    },
    flows::{Broker, RefreshGrantError},
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/cloudlink/token").route(web::post().to(refresh)));
}

/// How the client says who it is (RFC 6749 §2.3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Basic,
    Post,
}

async fn refresh(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    client: Option<ClientAddress>,
    authorization: Option<Authorization>,
    form: OauthForm,
) -> Result<HttpResponse, OauthError> {
    match form.get("grant_type") {
        Some("refresh_token") => {}
        Some(_) => {
            let description = "the only grant type here is refresh_token";
            return Err(OauthError::new(OauthErrorCode::UnsupportedGrantType, description));
        }
        None => return Err(OauthError::invalid_request("grant_type is missing")),
    }
    let token = form.get("refresh_token").map(RefreshToken::new);
    let token = token.ok_or_else(|| OauthError::invalid_request("refresh_token is missing"))?;
    let (method, spellings) = credentials(authorization.unwrap_or(Authorization::Missing), &form)?;
    match broker.refresh_grant(&spellings, &token).await {
        Ok(answer) => Ok(HttpResponse::Ok()
            .insert_header(("cache-control", "no-store"))
            .insert_header(("pragma", "no-cache"))
            .json(answer)),
        Err(RefreshGrantError::Client) => Err(wrong_client(&broker, &throttles, client, method)),
        Err(error) => Err(error.into()),
    }
}

/// Who the client says that it is, in each way in which that can be read.
fn credentials(
    authorization: Authorization,
    form: &OauthForm,
) -> Result<(Method, Vec<ClientCredentials>), OauthError> {
    match (authorization, form.get("client_id"), form.get("client_secret")) {
        (Authorization::Basic(_), _, Some(_)) => {
            Err(OauthError::invalid_request("the client authenticates twice: in the header and in the body"))
        }
        (Authorization::Basic(basic), id, None) => {
            let spellings = [basic.form_decoded(), basic].map(client_of);
            if id.is_some_and(|id| spellings.iter().all(|client| client.id != id)) {
                return Err(OauthError::invalid_request("client_id is another one than in the header"));
            }
            Ok((Method::Basic, spellings.into()))
        }
        (Authorization::Missing, Some(id), Some(secret)) => Ok((
            Method::Post,
            vec![ClientCredentials { id: id.to_owned(), secret: ClientSecret::new(secret) }],
        )),
        (Authorization::Missing | Authorization::Unreadable | Authorization::Bearer(_), _, _) => {
            Err(OauthError::invalid_client())
        }
    }
}

fn client_of(basic: BasicCredentials) -> ClientCredentials {
    ClientCredentials { id: basic.user, secret: ClientSecret::new(basic.password.expose()) }
}

/// A wrong secret is counted, and after too many of them is told nothing any more. Right ones are never refused: they
/// can't be guessed, and whoever shares an address with a guesser goes on.
fn wrong_client(
    broker: &Broker,
    throttles: &Throttles,
    client: Option<ClientAddress>,
    method: Method,
) -> OauthError {
    let taken = client.map_or(Ok(()), |client| throttles.slot_clients.take(client.0, broker.now()));
    match (taken, method) {
        (Err(wait), _) => OauthError::too_many_requests(wait.as_secs()),
        (Ok(()), Method::Basic) => OauthError::invalid_basic_client(),
        (Ok(()), Method::Post) => OauthError::invalid_client(),
    }
}

impl From<RefreshGrantError> for OauthError {
    fn from(error: RefreshGrantError) -> Self {
        match error {
            RefreshGrantError::Client => Self::invalid_client(),
            RefreshGrantError::Grant => Self::invalid_grant(
                "the refresh token is unknown or has ended: its user must link the account again",
            ),
            RefreshGrantError::Misconfigured => Self::new(
                OauthErrorCode::UnauthorizedClient,
                "the provider refuses the slot's client or configuration",
            ),
            RefreshGrantError::Withheld => Self::new(
                OauthErrorCode::UnauthorizedClient,
                "the key that the slot's tokens are sealed to is not trusted any more: see seal_to",
            ),
            RefreshGrantError::ProviderAway { retry_after } => Self::unavailable(retry_after.as_secs()),
            RefreshGrantError::TooManyWait(too_many) => {
                Self::too_many_requests(too_many.retry_after.as_secs())
            }
            RefreshGrantError::Store(cause) if cause.is_outage() => {
                tracing::warn!(cause = &cause as &dyn std::error::Error, "the database is away");
                Self::unavailable(5)
            }
            RefreshGrantError::Store(cause) => Self::internal(&cause),
        }
    }
}
