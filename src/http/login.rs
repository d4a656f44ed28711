//! `/api/login`, `/api/devices/{device}/login` and `…/password`: what a password earns, and changing it.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use time::Duration;

use super::{
    caller::Caller,
    error::Problem,
    extract::{ClientAddress, DevicePath, StrictJson},
    throttle::Throttles,
};
use crate::{
    domain::{plugin::FieldError, secret::Password},
    flows::{
        Broker, Entitlement, HashingError, Issued, LoginError, PasswordChangeError, PasswordError,
        PasswordReach, Throttle,
    },
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/login").route(web::post().to(login_owner)))
        .service(web::resource("/api/devices/{device}/login").route(web::post().to(login_device)))
        .service(web::resource("/api/devices/{device}/password").route(web::put().to(change_password)));
}

#[derive(Deserialize)]
struct OwnerLogin {
    user: String,
    pass: String,
}

#[derive(Deserialize)]
struct DeviceLogin {
    password: String,
}

#[derive(Deserialize)]
struct PasswordChange {
    old_password: Option<String>,
    new_password: String,
    #[serde(default = "yes")]
    reset_acl: bool,
}

fn yes() -> bool {
    true
}

async fn login_owner(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    client: ClientAddress,
    body: StrictJson<OwnerLogin>,
) -> Result<HttpResponse, Problem> {
    let password = Password::new(body.0.pass);
    let login = broker.login_owner(&body.0.user, &password, client.0);
    throttled(&broker, &throttles.logins, client, login).await.map(|issued| granted(&issued))
}

async fn login_device(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    path: DevicePath,
    client: ClientAddress,
    body: StrictJson<DeviceLogin>,
) -> Result<HttpResponse, Problem> {
    let login = broker.login_device(path.device, Password::new(body.0.password), client.0);
    throttled(&broker, &throttles.device_logins, client, login).await.map(|issued| granted(&issued))
}

async fn change_password(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    caller: Caller,
    path: DevicePath,
    client: ClientAddress,
    body: StrictJson<PasswordChange>,
) -> Result<HttpResponse, Problem> {
    caller.owner_or_device(path.device)?;
    let PasswordChange { old_password, new_password, reset_acl } = body.0;
    let entitlement = match (old_password, &caller) {
        (Some(old), _) => Entitlement::OldPassword(Password::new(old)),
        (None, Caller::Owner) => Entitlement::Owner,
        (None, Caller::Device(..)) => {
            let missing = FieldError { field: "/old_password".to_owned(), detail: "is missing".to_owned() };
            return Err(Problem::invalid(vec![missing]));
        }
    };
    let reach = if reset_acl { PasswordReach::Everything } else { PasswordReach::Logins };
    let (new, by) = (Password::new(new_password), caller.origin(client));
    let change = broker.change_password(path.device, entitlement, new, reach, &by);
    throttled(&broker, &throttles.device_logins, client, change).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Runs `attempt` where its network has guesses left. It is counted before, and given back where it was no guess.
async fn throttled<T, E: IsGuess + Into<Problem>>(
    broker: &Broker,
    throttle: &Throttle,
    client: ClientAddress,
    attempt: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    throttle.take(client.0, broker.now()).map_err(|wait| Problem::too_many_requests(wait.as_secs()))?;
    let outcome = attempt.await;
    if !outcome.as_ref().is_err_and(IsGuess::is_guess) {
        throttle.give_back(client.0);
    }
    outcome.map_err(Into::into)
}

/// Whether a refusal means that a wrong password was given.
trait IsGuess {
    fn is_guess(&self) -> bool;
}

impl IsGuess for PasswordError {
    fn is_guess(&self) -> bool {
        matches!(self, Self::Wrong)
    }
}

impl IsGuess for LoginError {
    fn is_guess(&self) -> bool {
        matches!(self, Self::Password(refused) if refused.is_guess())
    }
}

impl IsGuess for PasswordChangeError {
    fn is_guess(&self) -> bool {
        matches!(self, Self::Old(refused) if refused.is_guess())
    }
}

fn granted(issued: &Issued) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "token": issued.token.expose(),
        "token_type": "Bearer",
        "expires_in": issued.life.whole_seconds(),
    }))
}

/// Seconds, rounded up: who comes back then is not too early.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.whole_seconds()).unwrap_or_default().saturating_add(1)
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Password(refused) => refused.into(),
            LoginError::NotReady => Self::unavailable("not_ready", 1),
            LoginError::Store(cause) => cause.into(),
        }
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Wrong => Self::wrong_login(),
            PasswordError::Wait(wait) => Self::too_many_requests(whole_seconds(wait)),
            PasswordError::Hash(cause) => cause.into(),
            PasswordError::Store(cause) => cause.into(),
        }
    }
}

impl From<PasswordChangeError> for Problem {
    fn from(error: PasswordChangeError) -> Self {
        match error {
            PasswordChangeError::UnknownDevice => Self::not_found(),
            PasswordChangeError::Old(PasswordError::Wrong) => Self::wrong_password(),
            PasswordChangeError::Old(refused) => refused.into(),
            PasswordChangeError::Refused(refused) => {
                let field = "/new_password".to_owned();
                Self::invalid(vec![FieldError { field, detail: refused.to_string() }])
            }
            PasswordChangeError::Hash(cause) => cause.into(),
            PasswordChangeError::Store(cause) => cause.into(),
        }
    }
}

impl From<HashingError> for Problem {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Busy => Self::unavailable("busy", 2),
            HashingError::Failed | HashingError::Interrupted(_) => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError as _;

    use super::*;

    #[test]
    fn i02_who_finds_the_hasher_busy_is_told_to_come_back() {
        let answer =
            Problem::from(LoginError::from(PasswordError::from(HashingError::Busy))).error_response();
        assert_eq!(answer.status().as_u16(), 503);
        assert_eq!(answer.headers().get("retry-after").unwrap(), "2");
    }

    #[test]
    fn a_wait_is_told_in_seconds_that_are_enough() {
        let wait = PasswordError::Wait(Duration::milliseconds(900));
        assert_eq!(Problem::from(wait).error_response().headers().get("retry-after").unwrap(), "1");
        assert_eq!(whole_seconds(Duration::milliseconds(1100)), 2);
        assert_eq!(whole_seconds(Duration::milliseconds(-5)), 1);
    }

    #[test]
    fn only_a_wrong_password_is_a_guess() {
        let hashing = || PasswordError::from(HashingError::Busy);
        assert!(LoginError::from(PasswordError::Wrong).is_guess());
        assert!(PasswordChangeError::from(PasswordError::Wrong).is_guess());
        assert!(!LoginError::from(PasswordError::Wait(Duration::SECOND)).is_guess());
        assert!(!LoginError::from(hashing()).is_guess() && !PasswordChangeError::from(hashing()).is_guess());
        assert!(!PasswordChangeError::UnknownDevice.is_guess());
    }
}
