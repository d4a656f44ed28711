//! `POST /api/enrolment-codes` and `POST /api/devices`: how a hub becomes a device.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{
    caller::{Caller, MaybeCaller},
    error::Problem,
    extract::{ClientAddress, StrictJson},
    throttle::Throttles,
};
use crate::{
    domain::{
        audit::{Actor, Origin},
        enrolment::EnrolmentPolicy,
        label::Label,
        plugin::FieldError,
        secret::{EnrolmentCode, Password},
    },
    flows::{Admission, Broker, ENROLMENT_CODE_LIFE, EnrolError},
};

/// The route that is this module's alone.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/enrolment-codes").route(web::post().to(make_code)));
}

#[derive(Deserialize)]
pub(super) struct NewDevice {
    name: String,
    password: String,
    enrolment_code: Option<String>,
}

async fn make_code(
    broker: web::Data<Broker>,
    caller: Caller,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    let code = broker.make_enrolment_code(&caller.origin(client)).await?;
    Ok(HttpResponse::Created().json(json!({
        "enrolment_code": code.expose(),
        "expires_in": ENROLMENT_CODE_LIFE.whole_seconds(),
    })))
}

/// `POST /api/devices`: by the owner, with a one-time code, or by anyone where the operator said so.
pub(super) async fn enrol(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    caller: MaybeCaller,
    client: ClientAddress,
    body: StrictJson<NewDevice>,
) -> Result<HttpResponse, Problem> {
    let code = body.0.enrolment_code.map(EnrolmentCode::new);
    let (admission, by) = match (caller.0, code) {
        (Some(owner @ Caller::Owner), _) => (Admission::Owner, owner.origin(client)),
        (_, Some(code)) => (Admission::Code(code), Origin::of(Actor::Anyone, client.0)),
        (Some(Caller::Device(..)), None) => return Err(Problem::forbidden()),
        (None, None) if broker.settings().enrolment == EnrolmentPolicy::Open => {
            (Admission::Open, Origin::of(Actor::Anyone, client.0))
        }
        (None, None) => return Err(Problem::unauthorized()),
    };
    if by.actor == Actor::Anyone {
        let spent = throttles.enrolments.take(client.0, broker.now());
        spent.map_err(|wait| Problem::too_many_requests(wait.as_secs()))?;
    }
    let name: Label = body.0.name.parse().map_err(|error| misfit("/name", &error))?;
    let device = broker.enrol_device(&name, Password::new(body.0.password), admission, &by).await?;
    Ok(HttpResponse::Created().json(json!({ "device": device, "name": name })))
}

fn misfit(field: &str, error: &impl ToString) -> Problem {
    Problem::invalid(vec![FieldError { field: field.to_owned(), detail: error.to_string() }])
}

impl From<EnrolError> for Problem {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Refused => Self::enrolment_refused(),
            EnrolError::Password(refused) => misfit("/password", &refused),
            EnrolError::Hash(cause) => cause.into(),
            EnrolError::Store(cause) => cause.into(),
        }
    }
}
