//! `/api/plugins/{plugin}/doctor`: what will go wrong with a configuration, for the owner.

use actix_web::{HttpResponse, web};

use super::{caller::Caller, error::Problem, extract::PluginPath, throttle::Throttles};
use crate::flows::Broker;

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/plugins/{plugin}/doctor").route(web::post().to(examine)));
}

async fn examine(
    broker: web::Data<Broker>,
    throttles: web::Data<Throttles>,
    caller: Caller,
    path: PluginPath,
) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    let taken = throttles.examinations.take("owner", broker.now());
    taken.map_err(|wait| Problem::too_many_requests(wait.as_secs()))?;
    let findings = broker.examine_plugin(&path.plugin).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().json(findings))
}
