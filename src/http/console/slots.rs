//! A slot: how it stands, linking it, unlinking it, removing it.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::LOCATION},
    web,
};
use askama::Template;

use super::{
    page::{Around, Complaint, Section, SurePage, done, page_with, status},
    plugins::pretty,
    refused::Refused,
    visit::{Posted, Visit},
    words::{Entry, Moment, device_page, slot_page, status_words},
};
use crate::{
    domain::{
        ids::{DeviceId, FlowId, PluginId, SlotAddress, Version},
        secret::ConfirmCode,
        slot::SlotStatus,
    },
    flows::{AuditPage, AuditRow, Broker, OverrideError, SlotRow, Unlinked, WaitingFlow},
    http::{
        error::Problem,
        extract::SlotPath,
        pages::{Scope, Shown, Written, assets, policy_with_forms_to},
    },
};

/// Entries of the record that a slot's page shows.
const HISTORY: usize = 20;

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    const SLOT: &str = "/admin/devices/{device}/slots/{slot}";
    config
        .service(web::resource(SLOT).route(web::get().to(show)))
        .service(web::resource(format!("{SLOT}/authenticate")).route(web::post().to(authenticate)))
        .service(web::resource(format!("{SLOT}/confirm")).route(web::post().to(confirm)))
        .service(
            web::resource(format!("{SLOT}/unlink"))
                .route(web::get().to(ask_to_unlink))
                .route(web::post().to(unlink)),
        )
        .service(
            web::resource(format!("{SLOT}/remove"))
                .route(web::get().to(ask_to_remove))
                .route(web::post().to(remove)),
        );
}

/// A slot with its buttons.
pub(super) struct SlotCard {
    pub(super) page: String,
    pub(super) name: String,
    pub(super) plugin: PluginId,
    pub(super) status: &'static str,
    pub(super) look: &'static str,
    pub(super) linked: bool,
    pub(super) expiry: Option<Moment>,
    pub(super) scope: Scope,
    pub(super) version: Version,
    pub(super) acked: Version,
    pub(super) last: Option<Entry>,
    pub(super) waiting: Vec<FlowId>,
}

impl SlotCard {
    /// A slot, with what of `last` and `waiting` is its own; `names` are those of devices.
    pub(super) fn of(
        slot: &SlotRow,
        address: &SlotAddress,
        last: &[AuditRow],
        waiting: &[WaitingFlow],
        names: &BTreeMap<DeviceId, String>,
    ) -> Self {
        let subject = format!("slot:{address}");
        let last = last.iter().find(|row| row.subject.as_deref() == Some(subject.as_str()));
        let (status, look) = status_words(slot.status);
        Self {
            page: slot_page(address),
            name: slot.name.to_string(),
            plugin: slot.plugin.clone(),
            status,
            look,
            linked: slot.status != SlotStatus::Unlinked,
            expiry: slot.expires_at.map(Moment::of),
            scope: Scope::of(slot.scope.as_deref()),
            version: slot.version,
            acked: slot.acked_version,
            last: last.map(|row| Entry::of(row, names)),
            waiting: waiting.iter().filter(|flow| flow.address == *address).map(|flow| flow.id).collect(),
        }
    }

    /// Whether the plugin has been told the newest state.
    pub(super) fn is_told(&self) -> bool {
        self.acked == self.version
    }
}

#[derive(Template)]
#[template(path = "console/slot.html")]
struct SlotPage {
    around: Around,
    complaint: Option<Complaint>,
    slot: SlotCard,
    device_name: Shown,
    device_page: String,
    settings: Written,
    history: Vec<Entry>,
    subject: String,
}

async fn show(broker: web::Data<Broker>, visit: Visit, path: SlotPath) -> Result<HttpResponse, Refused> {
    slot_answer(&broker, visit, &path.address(), None).await
}

async fn authenticate(
    broker: web::Data<Broker>,
    posted: Posted,
    path: SlotPath,
) -> Result<HttpResponse, Refused> {
    let address = path.address();
    match broker.connect(&address, None, posted.visit.network).await {
        Ok(connection) => {
            let path = format!("/connect/{}", connection.handle.expose());
            let url = broker.settings().public_url.join(&path);
            Ok(HttpResponse::SeeOther().insert_header((LOCATION, url)).finish())
        }
        Err(error) => {
            let complaint = Complaint::of(error)?;
            slot_answer(&broker, posted.visit, &address, Some(complaint)).await
        }
    }
}

async fn confirm(broker: web::Data<Broker>, posted: Posted, path: SlotPath) -> Result<HttpResponse, Refused> {
    let address = path.address();
    let flow: FlowId = posted.field("flow").parse().map_err(|_| Refused::not_found())?;
    if broker.show_flow(&address, flow).await?.is_none() {
        return Err(Refused::not_found());
    }
    let digits: String = posted.field("code").chars().filter(char::is_ascii_digit).take(16).collect();
    match broker.confirm(&address, flow, &ConfirmCode::new(digits)).await {
        Ok(()) => Ok(done(&slot_page(&address), "confirmed")),
        Err(error) => {
            let complaint = Complaint::of(error)?;
            slot_answer(&broker, posted.visit, &address, Some(complaint)).await
        }
    }
}

async fn ask_to_unlink(
    broker: web::Data<Broker>,
    visit: Visit,
    path: SlotPath,
) -> Result<HttpResponse, Refused> {
    let address = path.address();
    broker.show_slot(&address).await?.ok_or_else(Refused::not_found)?;
    let sure = SurePage {
        around: visit.around(Section::Devices),
        heading: format!("Unlink {}?", address.slot),
        what: "The tokens are erased here and the plugin is told, so that it loses the account. Where the \
               plugin names a revocation endpoint, the access is ended at the provider too; elsewhere its user takes it \
               back there.",
        action: format!("{}/unlink", slot_page(&address)),
        hidden: None,
        button: "Unlink",
        back: slot_page(&address),
    };
    Ok(sure.answer())
}

async fn unlink(broker: web::Data<Broker>, posted: Posted, path: SlotPath) -> Result<HttpResponse, Refused> {
    let address = path.address();
    match broker.unlink(&address, &posted.visit.origin()).await? {
        Unlinked::Erased(_) => Ok(done(&slot_page(&address), "unlinked")),
        Unlinked::Already => Ok(done(&slot_page(&address), "not-linked")),
        Unlinked::UnknownSlot => Err(Refused::not_found()),
    }
}

async fn ask_to_remove(
    broker: web::Data<Broker>,
    visit: Visit,
    path: SlotPath,
) -> Result<HttpResponse, Refused> {
    let address = path.address();
    broker.show_slot(&address).await?.ok_or_else(Refused::not_found)?;
    let sure = SurePage {
        around: visit.around(Section::Devices),
        heading: format!("Remove the slot {}?", address.slot),
        what: "Its tokens and its own settings are erased, and the plugin is told. It must be installed and linked \
               anew to work again.",
        action: format!("{}/remove", slot_page(&address)),
        hidden: None,
        button: "Remove",
        back: slot_page(&address),
    };
    Ok(sure.answer())
}

async fn remove(broker: web::Data<Broker>, posted: Posted, path: SlotPath) -> Result<HttpResponse, Refused> {
    let address = path.address();
    if broker.remove_slot(&address, &posted.visit.origin()).await? {
        Ok(done(&device_page(address.device), "slot-removed"))
    } else {
        Err(Refused::not_found())
    }
}

async fn slot_answer(
    broker: &Broker,
    visit: Visit,
    address: &SlotAddress,
    complaint: Option<Complaint>,
) -> Result<HttpResponse, Refused> {
    let device = broker.show_device(address.device).await?.ok_or_else(Refused::not_found)?;
    let slot = broker.show_slot(address).await?.ok_or_else(Refused::not_found)?;
    let settings = broker.show_settings(address).await.map_err(|error| match error {
        OverrideError::Store(cause) => cause.into(),
        OverrideError::UnknownSlot | OverrideError::Invalid(_) | OverrideError::Contended => {
            Refused::from(Problem::not_found())
        }
    })?;
    let waiting = broker.show_waiting_flows(address.device).await?;
    let subject = format!("slot:{address}");
    let recorded = broker.show_audit_page(&AuditPage::Of(subject.clone(), None)).await?.rows;
    let names = BTreeMap::from([(device.id, device.name.clone())]);
    let policy = policy_with_forms_to(broker.settings().public_url.origin());
    let page = SlotPage {
        around: visit.around(Section::Devices),
        complaint,
        slot: SlotCard::of(&slot, address, &[], &waiting, &names),
        device_name: Shown::name(&device.name),
        device_page: device_page(device.id),
        settings: Written::new(&pretty(&settings)),
        history: recorded.iter().take(HISTORY).map(|row| Entry::of(row, &names)).collect(),
        subject,
    };
    let status: StatusCode = status(page.complaint.as_ref());
    Ok(page_with(status, &page, &policy))
}
