//! `/admin/audit`: who did what, newest first.

use actix_web::{HttpResponse, http::StatusCode, web};
use askama::Template;

use super::{
    page::{Around, Section, page},
    refused::Refused,
    visit::Visit,
    words::{Entry, Subject, devices_in},
};
use crate::{
    flows::{AuditPage, Broker},
    http::{error::Problem, extract::QueryPairs, pages::assets},
};

/// The longest subject there is: a slot's, with a device's id and a name.
const LONGEST_SUBJECT: usize = 256;

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/admin/audit").route(web::get().to(show)));
}

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditShown {
    around: Around,
    entries: Vec<Entry>,
    subject: Option<Subject>,
    older: Option<i64>,
    newer: Option<i64>,
}

async fn show(broker: web::Data<Broker>, visit: Visit, query: QueryPairs) -> Result<HttpResponse, Refused> {
    let (before, after) = (number(&query, "before")?, number(&query, "after")?);
    let subject = query.one("subject")?.filter(|subject| !subject.is_empty());
    if subject.is_some_and(|subject| subject.len() > LONGEST_SUBJECT) {
        return Err(Refused::not_found());
    }
    let asked = match (subject, after) {
        (Some(subject), _) => AuditPage::Of(subject.to_owned(), before),
        (None, Some(after)) => AuditPage::After(after),
        (None, None) => AuditPage::Before(before),
    };
    let mut listed = broker.show_audit_page(&asked).await?;
    if listed.rows.is_empty() && after.is_some() {
        // Nothing is newer: the newest, then.
        listed = broker.show_audit_page(&AuditPage::Before(None)).await?;
    }
    let mut devices = devices_in(&listed.rows);
    if let Some(device) = subject.and_then(device_of) {
        devices.push(device);
    }
    let names = broker.name_devices(&devices).await?;
    let first = listed.rows.first().map(|row| row.id);
    let page_of = AuditShown {
        older: listed.rows.last().filter(|_| listed.more).map(|row| row.id),
        newer: first.filter(|_| subject.is_none() && (before.is_some() || after.is_some())),
        entries: listed.rows.iter().map(|row| Entry::of(row, &names)).collect(),
        subject: subject.map(|subject| Subject::of(subject, &names)),
        around: visit.around(Section::Audit),
    };
    Ok(page(StatusCode::OK, &page_of))
}

fn device_of(subject: &str) -> Option<crate::domain::ids::DeviceId> {
    let (_, rest) = subject.split_once(':')?;
    rest.split('/').next()?.parse().ok()
}

fn number(query: &QueryPairs, name: &str) -> Result<Option<i64>, Refused> {
    let refusal = || Problem::bad_request("bad_query", "before and after are ids of entries.");
    query.one(name)?.map(|text| text.parse().map_err(|_| refusal().into())).transpose()
}
