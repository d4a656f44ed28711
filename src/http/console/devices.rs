//! `/admin/devices`: the list of devices; a device's name, password and end.

use actix_web::{HttpResponse, http::StatusCode, web};
use askama::Template;

use super::{
    device_page::{DeviceForm, device_answer},
    page::{Around, Complaint, Section, SurePage, done, page},
    refused::Refused,
    visit::{Posted, Visit},
    words::{Moment, device_page},
};
use crate::{
    domain::{ids::DeviceId, label::Label, secret::Password},
    flows::{Broker, Entitlement, PasswordReach},
    http::{
        extract::{DevicePath, QueryPairs},
        pages::{Shown, assets},
    },
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/admin/devices").route(web::get().to(list)))
        .service(web::resource("/admin/devices/{device}").route(web::get().to(show)))
        .service(web::resource("/admin/devices/{device}/name").route(web::post().to(rename)))
        .service(web::resource("/admin/devices/{device}/password").route(web::post().to(set_password)))
        .service(
            web::resource("/admin/devices/{device}/remove")
                .route(web::get().to(ask_to_remove))
                .route(web::post().to(remove)),
        );
}

#[derive(Template)]
#[template(path = "console/devices.html")]
struct DevicesPage {
    around: Around,
    devices: Vec<DeviceLine>,
    next: Option<DeviceId>,
}

struct DeviceLine {
    page: String,
    id: DeviceId,
    name: Shown,
    enrolled: Moment,
}

async fn list(broker: web::Data<Broker>, visit: Visit, query: QueryPairs) -> Result<HttpResponse, Refused> {
    let after = query.one("after")?.and_then(|id| id.parse().ok());
    let listed = broker.list_devices(after).await?;
    let next = listed.rows.last().filter(|_| listed.more).map(|row| row.id);
    let devices = listed
        .rows
        .into_iter()
        .map(|row| DeviceLine {
            page: device_page(row.id),
            id: row.id,
            name: Shown::name(&row.name),
            enrolled: Moment::of(row.created_at),
        })
        .collect();
    Ok(page(StatusCode::OK, &DevicesPage { around: visit.around(Section::Devices), devices, next }))
}

async fn show(broker: web::Data<Broker>, visit: Visit, path: DevicePath) -> Result<HttpResponse, Refused> {
    device_answer(&broker, visit, path.device, None).await
}

async fn rename(
    broker: web::Data<Broker>,
    posted: Posted,
    path: DevicePath,
) -> Result<HttpResponse, Refused> {
    let name = match posted.field("name").parse::<Label>() {
        Ok(name) => name,
        Err(error) => {
            let complaint = DeviceForm::Name.complains(Complaint::about("/name", &error));
            return device_answer(&broker, posted.visit, path.device, Some(complaint)).await;
        }
    };
    if broker.rename_device(path.device, &name).await? {
        Ok(done(&device_page(path.device), "device-renamed"))
    } else {
        Err(Refused::not_found())
    }
}

async fn set_password(
    broker: web::Data<Broker>,
    posted: Posted,
    path: DevicePath,
) -> Result<HttpResponse, Refused> {
    let new = Password::new(posted.field("new_password"));
    let reach =
        if posted.field("reset_acl") == "yes" { PasswordReach::Everything } else { PasswordReach::Logins };
    let by = posted.visit.origin();
    match broker.change_password(path.device, Entitlement::Owner, new, reach, &by).await {
        Ok(()) => Ok(done(&device_page(path.device), "password-changed")),
        Err(error) => {
            let complaint = DeviceForm::Password.complains(Complaint::of(error)?);
            device_answer(&broker, posted.visit, path.device, Some(complaint)).await
        }
    }
}

async fn ask_to_remove(
    broker: web::Data<Broker>,
    visit: Visit,
    path: DevicePath,
) -> Result<HttpResponse, Refused> {
    let device = broker.show_device(path.device).await?.ok_or_else(Refused::not_found)?;
    let sure = SurePage {
        around: visit.around(Section::Devices),
        heading: format!("Remove the device {}?", Shown::name(&device.name)),
        what: "Its trusted keys, its slots and their tokens are erased, and its connections end within five \
               seconds. The hub must be enrolled anew to come back.",
        action: format!("/admin/devices/{}/remove", path.device),
        hidden: None,
        button: "Remove",
        back: device_page(path.device),
    };
    Ok(sure.answer())
}

async fn remove(
    broker: web::Data<Broker>,
    posted: Posted,
    path: DevicePath,
) -> Result<HttpResponse, Refused> {
    if broker.remove_device(path.device, &posted.visit.origin()).await? {
        Ok(done("/admin/devices", "device-removed"))
    } else {
        Err(Refused::not_found())
    }
}
