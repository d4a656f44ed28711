//! `/admin/enrolment`: one-time codes, by which a hub becomes a device. A code is shown once, in the answer that
//! makes it.

use actix_web::{HttpResponse, http::StatusCode, web};
use askama::Template;

use super::{
    page::{Around, Section, page},
    refused::Refused,
    visit::{Posted, Visit},
    words::Moment,
};
use crate::{
    domain::enrolment::EnrolmentPolicy,
    flows::{Broker, ENROLMENT_CODE_LIFE},
    http::pages::assets,
};

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/admin/enrolment").route(web::get().to(show)).route(web::post().to(make_code)),
    );
}

#[derive(Template)]
#[template(path = "console/enrolment.html")]
struct EnrolmentPage {
    around: Around,
    open: bool,
    public: String,
    minutes: i64,
    code: Option<MadeCode>,
}

struct MadeCode {
    code: String,
    until: Moment,
}

async fn show(broker: web::Data<Broker>, visit: Visit) -> HttpResponse {
    answer(&broker, visit, None)
}

async fn make_code(broker: web::Data<Broker>, posted: Posted) -> Result<HttpResponse, Refused> {
    let code = broker.make_enrolment_code(&posted.visit.origin()).await?;
    let until = Moment::of(broker.now() + ENROLMENT_CODE_LIFE);
    let code = MadeCode { code: code.expose().to_owned(), until };
    Ok(answer(&broker, posted.visit, Some(code)))
}

fn answer(broker: &Broker, visit: Visit, code: Option<MadeCode>) -> HttpResponse {
    let settings = broker.settings();
    page(
        StatusCode::OK,
        &EnrolmentPage {
            around: visit.around(Section::Enrolment),
            open: settings.enrolment == EnrolmentPolicy::Open,
            public: settings.public_url.origin().to_owned(),
            minutes: ENROLMENT_CODE_LIFE.whole_minutes(),
            code,
        },
    )
}
