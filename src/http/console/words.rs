//! The words of records and states, for people: times, actions, who and where.

use std::collections::{BTreeMap, BTreeSet};

use time::{
    OffsetDateTime, UtcOffset,
    format_description::{StaticFormatDescription, well_known::Rfc3339},
    macros::format_description,
};

use crate::{
    domain::{
        audit::Action,
        flow::FlowError,
        ids::{DeviceId, PluginId, SlotAddress},
        slot::SlotStatus,
    },
    flows::AuditRow,
    http::pages::Shown,
};

const MINUTES: StaticFormatDescription = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");

/// A point in time, to the minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// For machines.
    pub(super) exact: String,
    /// For people.
    pub(super) shown: String,
}

impl Moment {
    pub(super) fn of(at: OffsetDateTime) -> Self {
        let at = at.to_offset(UtcOffset::UTC);
        Self { exact: at.format(&Rfc3339).unwrap_or_default(), shown: at.format(MINUTES).unwrap_or_default() }
    }
}

/// An entry of the audit record.
#[derive(Debug)]
pub(super) struct Entry {
    /// When.
    pub(super) at: Moment,
    /// What happened.
    pub(super) what: String,
    /// Whether it is one that somebody should look at.
    pub(super) alarming: bool,
    /// More about it: a key's hash, or why a flow ended.
    pub(super) detail: Option<Shown>,
    /// Who did it.
    pub(super) who: Shown,
    /// From where.
    pub(super) from: Option<Shown>,
    /// To what, where it still has a page.
    pub(super) subject: Option<Subject>,
}

/// What an entry is about.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// As it is recorded, for a link to all of its entries.
    pub(super) recorded: String,
    /// What people call it.
    pub(super) name: Shown,
    /// Its page.
    pub(super) page: Option<String>,
}

/// The devices that entries name, so that their names can be looked up at once.
pub(super) fn devices_in(rows: &[AuditRow]) -> Vec<DeviceId> {
    let named = |text: &str| {
        let (kind, rest) = text.split_once(':')?;
        let device = rest.split('/').next().filter(|_| matches!(kind, "device" | "slot"))?;
        device.parse::<DeviceId>().ok()
    };
    let texts = rows.iter().flat_map(|row| [Some(row.actor.as_str()), row.subject.as_deref()]).flatten();
    texts.filter_map(named).collect::<BTreeSet<_>>().into_iter().collect()
}

impl Entry {
    /// An entry in words; `names` are those of devices.
    pub(super) fn of(row: &AuditRow, names: &BTreeMap<DeviceId, String>) -> Self {
        let action = row.action.parse::<Action>().ok();
        let reason = row.detail.as_deref().map(|detail| match detail.parse::<FlowError>() {
            Ok(error) => Shown::capped(reason(error), 200),
            Err(_) => Shown::capped(detail, 200),
        });
        Self {
            at: Moment::of(row.at),
            what: action
                .map_or_else(|| Shown::name(&row.action).to_string(), |action| told(action).to_owned()),
            alarming: action.is_some_and(is_alarming),
            detail: reason,
            who: who(&row.actor, names),
            from: row.address.as_deref().map(Shown::name),
            subject: row.subject.as_deref().map(|subject| Subject::of(subject, names)),
        }
    }
}

impl Subject {
    /// What a recorded subject is called, and where its page is.
    pub(super) fn of(recorded: &str, names: &BTreeMap<DeviceId, String>) -> Self {
        let (kind, rest) = recorded.split_once(':').unwrap_or(("", recorded));
        let device_name =
            |device: &DeviceId| names.get(device).map_or("a device that is gone", String::as_str);
        let (name, page) = match kind {
            "device" => match rest.parse::<DeviceId>() {
                Ok(device) => {
                    let page = names.contains_key(&device).then(|| device_page(device));
                    (device_name(&device).to_owned(), page)
                }
                Err(_) => (rest.to_owned(), None),
            },
            "plugin" => (rest.to_owned(), rest.parse().ok().map(|plugin| plugin_page(&plugin))),
            "slot" => match slot_of(rest) {
                Some(address) => {
                    let page = names.contains_key(&address.device).then(|| slot_page(&address));
                    (format!("{} on {}", address.slot, device_name(&address.device)), page)
                }
                None => (rest.to_owned(), None),
            },
            _ => (recorded.to_owned(), None),
        };
        Self { recorded: recorded.to_owned(), name: Shown::capped(&name, 140), page }
    }
}

fn slot_of(text: &str) -> Option<SlotAddress> {
    let (device, slot) = text.split_once('/')?;
    Some(SlotAddress { device: device.parse().ok()?, slot: slot.parse().ok()? })
}

fn who(actor: &str, names: &BTreeMap<DeviceId, String>) -> Shown {
    let words = match actor {
        "owner" => "the owner",
        "anyone" => "somebody",
        "browser" => "a browser",
        "operator" => "a command on the machine",
        "broker" => "cloudlink",
        other => {
            let device = other.strip_prefix("device:").and_then(|id| id.parse::<DeviceId>().ok());
            device.and_then(|device| names.get(&device)).map_or(other, String::as_str)
        }
    };
    Shown::name(words)
}

/// The page of a plugin. `/admin/plugins/new` is the form for another one.
pub(super) fn plugin_page(plugin: &PluginId) -> String {
    let slash = if plugin.as_str() == "new" { "/" } else { "" };
    format!("/admin/plugins/{plugin}{slash}")
}

/// The page of a device.
pub(super) fn device_page(device: DeviceId) -> String {
    format!("/admin/devices/{device}")
}

/// The page of a slot.
pub(super) fn slot_page(address: &SlotAddress) -> String {
    format!("/admin/devices/{}/slots/{}", address.device, address.slot)
}

/// A slot's status: its word, and how it looks.
pub(super) fn status_words(status: SlotStatus) -> (&'static str, &'static str) {
    match status {
        SlotStatus::Unlinked => ("not linked", "plain"),
        SlotStatus::Linked => ("linked", "good"),
        SlotStatus::Reauthorize => ("link again", "warn"),
    }
}

fn told(action: Action) -> &'static str {
    match action {
        Action::OwnerLogin => "Logged in for a token",
        Action::OwnerLoginFailed => "Wrong login as the owner",
        Action::DeviceLogin => "Device logged in by password",
        Action::DeviceLoginFailed => "Wrong password for a device",
        Action::LoginDenied => "Sign-in at a terminal refused",
        Action::TokenRevoked => "Access token given back",
        Action::DeviceEnrolled => "Device enrolled",
        Action::DeviceRemoved => "Device removed",
        Action::PasswordChanged => "Password changed",
        Action::TokensRevoked => "All access tokens revoked",
        Action::EnrolmentCodeMade => "Enrolment code made",
        Action::KeyAdded => "Key trusted",
        Action::KeyRemoved => "Key removed",
        Action::PluginPut => "Plugin stored",
        Action::PluginDeleted => "Plugin deleted",
        Action::PluginApproved => "Plugin approved",
        Action::SlotInstalled => "Plugin installed",
        Action::SlotRemoved => "Slot removed",
        Action::SlotUnlinked => "Unlinked",
        Action::FlowLinked => "Linked",
        Action::FlowDenied => "Refused at the provider",
        Action::FlowFailed => "Linking failed",
        Action::FlowCancelled => "Linking cancelled",
        Action::AccountLinked => "Linked for Home Assistant",
        Action::AccountLinkEnded => "Linking for Home Assistant ended without tokens",
        Action::GrantEnded => "Must be linked again",
        Action::WebhookChanged => "Webhook's proof changed",
        Action::CommandSent => "Command sent to the hub",
        Action::TokensImported => "Tokens taken over",
        Action::GrantRevoked => "Revoked at the provider",
        Action::RevocationFailed => "Could not be revoked at the provider",
        Action::RefreshRefused => "The provider refuses to refresh",
        Action::SigningKeyRotated => "Signing key replaced",
        Action::VaultKeyRotated => "Everything sealed under the first vault key",
    }
}

fn is_alarming(action: Action) -> bool {
    matches!(
        action,
        Action::OwnerLoginFailed
            | Action::DeviceLoginFailed
            | Action::FlowFailed
            | Action::GrantEnded
            | Action::RefreshRefused
    )
}

fn reason(error: FlowError) -> &'static str {
    match error {
        FlowError::AccessDenied => "the person refused there",
        FlowError::Cancelled => "the person pressed Cancel",
        FlowError::ExchangeFailed => "the provider refused, or the slot was changed meanwhile",
        FlowError::ProviderUnavailable => "the provider did not answer",
        FlowError::InvalidAnswer => "the provider's answer had no tokens in it",
        FlowError::AnswerTooLarge => "the provider's answer was too large",
        FlowError::WrongCode => "the confirm code was wrong five times",
        FlowError::IssuerMismatch => "the answer came from another issuer than was asked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10";

    fn row(action: &str, actor: &str, subject: &str) -> AuditRow {
        AuditRow {
            id: 1,
            at: time::macros::datetime!(2026-01-02 03:04:05 UTC),
            actor: actor.to_owned(),
            address: Some("203.0.113.7".to_owned()),
            action: action.to_owned(),
            subject: Some(subject.to_owned()),
            detail: Some("access_denied".to_owned()),
        }
    }

    #[test]
    fn an_entry_is_told_with_the_names_that_people_gave() {
        let row = row("flow.denied", "browser", &format!("slot:{DEVICE}/heating"));
        assert_eq!(devices_in(std::slice::from_ref(&row)), [DEVICE.parse().unwrap()]);
        let names = BTreeMap::from([(DEVICE.parse().unwrap(), "Living room".to_owned())]);
        let entry = Entry::of(&row, &names);
        assert_eq!((entry.what.as_str(), entry.who.as_str()), ("Refused at the provider", "a browser"));
        assert_eq!(entry.at.shown, "2026-01-02 03:04 UTC");
        let subject = entry.subject.unwrap();
        assert_eq!(subject.name.as_str(), "heating on Living room");
        assert_eq!(subject.page, Some(format!("/admin/devices/{DEVICE}/slots/heating")));
    }

    #[test]
    fn what_a_newer_replica_wrote_is_shown_as_it_is() {
        let entry = Entry::of(&row("tea.made", "kettle", "pot:1"), &BTreeMap::new());
        assert_eq!((entry.what.as_str(), entry.who.as_str()), ("tea.made", "kettle"));
        assert_eq!(entry.subject.unwrap().page, None);
    }
}
