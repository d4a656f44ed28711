//! `GET /api/audit`: who did what, newest first.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{caller::Caller, error::Problem, extract::QueryPairs};
use crate::flows::{AuditRow, Broker};

const USUAL_PAGE: u8 = 50;
const LONGEST_PAGE: u8 = 200;

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/audit").route(web::get().to(list)));
}

async fn list(broker: web::Data<Broker>, caller: Caller, query: QueryPairs) -> Result<HttpResponse, Problem> {
    caller.owner()?;
    let before = match query.one("before")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| bad("before is the id of an entry."))?),
    };
    let limit = match query.one("limit")? {
        None => USUAL_PAGE,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=LONGEST_PAGE).contains(limit));
            limit.ok_or_else(|| bad("limit is a whole number, from 1 to 200."))?
        }
    };
    let rows = broker.show_audit(before, limit).await?;
    Ok(HttpResponse::Ok().json(rows.iter().map(rendered).collect::<Vec<_>>()))
}

fn bad(detail: &'static str) -> Problem {
    Problem::bad_request("bad_query", detail)
}

fn rendered(row: &AuditRow) -> Value {
    json!({
        "id": row.id,
        "at": row.at.format(&Rfc3339).ok(),
        "actor": row.actor,
        "address": row.address,
        "action": row.action,
        "subject": row.subject,
        "detail": row.detail,
    })
}
