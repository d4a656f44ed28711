//! `/api/plugins`: the plugin store, for the owner.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::{
    caller::Caller,
    error::Problem,
    extract::{ClientAddress, JsonBody, NewPlugin, PluginPath},
};
use crate::flows::{Broker, PluginView, PutPlugin, PutPluginError};

/// What answers say beside the configuration's own members.
const ADDED_TO_ANSWERS: [&str; 3] = ["plugin", "redirect_uris", "warnings"];

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/plugins").route(web::get().to(list)))
        .service(
            web::resource("/api/plugins/{plugin}")
                .route(web::put().to(put))
                .route(web::get().to(show))
                .route(web::delete().to(remove)),
        )
        .service(web::resource("/api/plugins/{plugin}/approve").route(web::post().to(approve)));
}

async fn put(
    broker: web::Data<Broker>,
    caller: Caller,
    plugin: NewPlugin,
    client: ClientAddress,
    body: JsonBody,
) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    let mut members = body.0;
    // So that an answer can be sent back as it is.
    for ours in ADDED_TO_ANSWERS {
        members.shift_remove(ours);
    }
    let (put, view) = broker.put_plugin(&plugin.0, members, &caller.origin(client)).await?;
    let mut response = match put {
        PutPlugin::Created => HttpResponse::Created(),
        PutPlugin::Replaced => HttpResponse::Ok(),
    };
    Ok(response.json(rendered(view)))
}

async fn show(broker: web::Data<Broker>, caller: Caller, path: PluginPath) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    let view = broker.show_plugin(&path.plugin).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().json(rendered(view)))
}

async fn list(broker: web::Data<Broker>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    let views = broker.show_plugins().await?;
    Ok(HttpResponse::Ok().json(views.into_iter().map(rendered).collect::<Vec<_>>()))
}

async fn remove(
    broker: web::Data<Broker>,
    caller: Caller,
    path: PluginPath,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    if broker.remove_plugin(&path.plugin, &caller.origin(client)).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found())
    }
}

async fn approve(
    broker: web::Data<Broker>,
    caller: Caller,
    path: PluginPath,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    if broker.approve_plugin(&path.plugin, &caller.origin(client)).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found())
    }
}

fn rendered(view: PluginView) -> Value {
    let mut members = view.members;
    members.insert("plugin".to_owned(), view.id.as_str().into());
    members.insert(
        "redirect_uris".to_owned(),
        json!({ "own": view.own_redirect_uri, "shared": view.shared_redirect_uri }),
    );
    members.insert("warnings".to_owned(), json!(view.warnings));
    Value::Object(members)
}

impl From<PutPluginError> for Problem {
    fn from(error: PutPluginError) -> Self {
        match error {
            PutPluginError::Invalid(errors) => Self::invalid(errors),
            PutPluginError::Store(cause) => cause.into(),
        }
    }
}
