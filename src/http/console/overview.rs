//! `/admin`: what needs attention, how much there is, and for a newcomer what to do first.

use actix_web::{HttpResponse, http::StatusCode, web};
use askama::Template;

use super::{
    page::{Around, Section, page},
    plugins::PluginLine,
    refused::Refused,
    visit::Visit,
    words::slot_page,
};
use crate::{
    flows::{Broker, Counts},
    http::pages::{Shown, assets},
};

/// Plugins that are named; the list of plugins has them all.
const NAMED: usize = 20;

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    around: Around,
    counts: Counts,
    plugins: Vec<PluginLine>,
    more_plugins: usize,
    slots: Vec<SlotLink>,
    more_slots: i64,
}

struct SlotLink {
    page: String,
    slot: String,
    device: Shown,
}

impl OverviewPage {
    fn is_calm(&self) -> bool {
        self.plugins.is_empty() && self.slots.is_empty()
    }

    /// What a newcomer does, in order: whether it is done, where, and in which words.
    fn steps(&self) -> [(bool, &'static str, &'static str, &'static str); 4] {
        let Counts { plugins, devices, slots, linked, .. } = self.counts;
        [
            (
                plugins > 0,
                "/admin/plugins/new",
                "Add a plugin",
                "what its author or provider gave you, as JSON",
            ),
            (
                devices > 0,
                "/admin/enrolment",
                "Enrol a device",
                "make a one-time code, and give it to your hub",
            ),
            (slots > 0, "/admin/devices", "Install a plugin on it", "the hub may do that by itself"),
            (linked > 0, "/admin/devices", "Authenticate", "link the slot to an account at the provider"),
        ]
    }

    fn is_beginning(&self) -> bool {
        self.steps().iter().any(|(done, ..)| !done)
    }
}

pub(super) async fn show(broker: web::Data<Broker>, visit: Visit) -> Result<HttpResponse, Refused> {
    let overview = broker.show_overview().await?;
    let slots: Vec<_> = overview
        .slots
        .iter()
        .map(|named| SlotLink {
            page: slot_page(&named.address),
            slot: named.address.slot.to_string(),
            device: Shown::name(&named.device_name),
        })
        .collect();
    let shown = i64::try_from(slots.len()).unwrap_or(i64::MAX);
    Ok(page(
        StatusCode::OK,
        &OverviewPage {
            around: visit.around(Section::Overview),
            counts: overview.counts,
            plugins: overview.plugins.iter().take(NAMED).map(PluginLine::of).collect(),
            more_plugins: overview.plugins.len().saturating_sub(NAMED),
            more_slots: overview.counts.reauthorize.saturating_sub(shown),
            slots,
        },
    ))
}
