//! The stylesheet and the icon: embedded, named by their content, kept by browsers.

use actix_web::{HttpRequest, HttpResponse, http::header::CACHE_CONTROL, web};

use super::{error::Problem, pages::assets};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/assets/{name}").route(web::get().to(asset)));
}

async fn asset(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asset = assets::find(request.path()).ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((CACHE_CONTROL, assets::CACHE_CONTROL))
        .body(asset.body))
}
