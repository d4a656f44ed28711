//! `/admin`: the owner's console, on the operator's listener alone. Pages and forms, no script.
//!
//! Guarantees and what carries them:
//! - nobody is let in but the owner, by HTTP Basic: [`visit::Visit`], which every handler takes;
//! - nothing changes but by a form of ours (I06): browsers send a Basic login along with any site's request, so
//!   [`visit::Posted`] turns away what another site sends and what lacks the hidden `csrf`, and no GET calls a verb
//!   that changes anything;
//! - no name that somebody points at this machine reaches it (DNS rebinding): [`visit::Visit`] looks at `Host`;
//! - no secret is on a page: what is shown are the views of `flows`, which mask. What the owner typed a moment ago
//!   comes back where it was refused, a key never.
//!
//! Handlers are thin as elsewhere; what they cannot do is told on a page ([`refused`]) or beside the form
//! ([`page::Complaint`]).

mod audit;
mod device_page;
mod devices;
mod enrolment;
mod install;
mod keys;
mod overview;
mod page;
mod plugins;
mod refused;
mod slots;
mod visit;
mod words;

use actix_web::web;

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource(["/admin", "/admin/"]).route(web::get().to(overview::show)))
        .configure(plugins::routes)
        .configure(devices::routes)
        .configure(keys::routes)
        .configure(install::routes)
        .configure(slots::routes)
        .configure(enrolment::routes)
        .configure(audit::routes);
}
