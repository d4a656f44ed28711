//! The server's side of a slot: what it tells, and what it is asked.

use std::time::Duration;

use serde_json::Value;

use super::{Call, Consent, Effect, Failure, Kind, Link, Mode, News, Outcome, Slot};
use crate::{
    bridge::{
        overrides,
        tokens::{Held, Moment},
    },
    domain::{ids::Version, json::Object},
};

/// On a new connection a slot's events come at once; what has not come by then does not come.
pub(super) const EVENTS_FIRST: Duration = Duration::from_secs(3);
/// Where nobody has installed the plugin, it is asked for again.
const STATUS_AGAIN: Duration = Duration::from_mins(5);

impl Slot {
    pub(super) fn arrived(&mut self, version: Version, news: News, at: &Moment) {
        match news {
            News::Configuration(sent) => {
                self.unacked_configuration = Some(version);
                if self.kept.configuration.as_ref() != Some(&sent) {
                    self.kept.configuration = Some(sent);
                    self.dirty = true;
                    // A link that was begun before may have ended with the old settings.
                    self.invite.renew();
                }
            }
            News::Tokens(members) => {
                // A consent that the plugin has not heard of is one still.
                self.consent = self
                    .consent
                    .take()
                    .filter(|consent| !consent.delivered)
                    .map(|consent| Consent { version, told: false, ..consent });
                self.granted(version, members, at);
            }
            News::Consent(members) => {
                let known = self.kept.delivered == Some(version);
                let same = self.consent.take().filter(|consent| consent.version == version);
                let fresh = || Consent { version, told: known, delivered: known };
                self.consent = Some(same.unwrap_or_else(fresh));
                self.granted(version, members, at);
            }
            News::Ended => {
                self.unacked_grant = Some(version);
                // No consent that comes after this is one that was delivered before.
                self.kept.delivered = None;
                self.is_unlinked();
            }
            News::Sealed => {
                self.ask_status_at = None;
                self.report(
                    "its tokens come sealed to a key that the bridge does not have: `cloudlink slot override` \
                     with {\"seal_to\": null} ends that",
                );
            }
        }
    }

    fn granted(&mut self, version: Version, members: Object, at: &Moment) {
        self.ask_status_at = None;
        let Some(held) = Held::new(members, version, at) else {
            self.report("its tokens have no lifetime that a plugin could use");
            return;
        };
        // What is held back is not there: the refresh that is asked for next brings a newer version.
        let usable = held.are_usable(at) || self.is_in_devices_custody();
        self.unacked_grant = usable.then_some(version);
        if usable {
            self.calls.helped(Kind::Refresh);
        } else {
            self.report("its tokens last a minute or less, which locks plugins up: they are held back");
        }
        if self.importing.is_some() {
            self.granted_meanwhile = true;
            self.kept.has_tokens = false;
        }
        self.kept.tokens = Some(held);
        self.kept.link = Link::Linked;
        self.invite = super::Invite::NotNeeded;
        self.dirty = true;
    }

    fn is_unlinked(&mut self) {
        self.ask_status_at = None;
        self.consent = None;
        self.invite.need();
        self.dirty |= self.kept.link != Link::Unlinked || self.kept.tokens.is_some() || self.kept.has_tokens;
        self.kept.link = Link::Unlinked;
        self.kept.tokens = None;
        self.kept.has_tokens = false;
    }

    /// The next call, if there is one to make and its time has come.
    pub(super) fn call(&mut self, at: &Moment) {
        let status_is_due = self.ask_status_at.is_some_and(|due| due <= at.up);
        let wanted = [
            (Kind::Override, self.overriding.wanted.is_some()),
            (Kind::Import, self.importing.is_some()),
            (Kind::Refresh, self.needs_refresh(at)),
            (Kind::Status, status_is_due),
            (Kind::Connect, self.invite.wants_url(at.up) && !self.overriding.is_pending()),
        ];
        let next = wanted.into_iter().find(|(kind, wanted)| *wanted && self.calls.may(*kind, at.up));
        let Some((kind, _)) = next else { return };
        let body = match kind {
            Kind::Override => {
                self.overriding.sending = self.overriding.wanted.take();
                self.overriding.sending.clone()
            }
            Kind::Import => {
                self.granted_meanwhile = false;
                self.importing.clone()
            }
            Kind::Refresh | Kind::Status | Kind::Connect => None,
        };
        self.calls.start(kind);
        self.out.push(Effect::Call(Call { kind, body }));
    }

    /// Whether somebody waits for tokens, and those there are have too little left.
    fn needs_refresh(&self, at: &Moment) -> bool {
        let Some(held) = &self.kept.tokens else { return false };
        if held.are_usable(at) || self.is_in_devices_custody() || self.kept.link != Link::Linked {
            return false;
        }
        let running_without = self.plugin.running_since().is_some() && !self.kept.has_tokens;
        let pg3_lacks_them = self.mode == Mode::Companion && !self.pg3.has_grant(held.version);
        self.plugin.asked.is_some() || self.consent.is_some() || running_without || pg3_lacks_them
    }

    pub(super) fn called(&mut self, outcome: Outcome, at: &Moment) {
        let Outcome { kind, result } = outcome;
        self.calls.end(kind, at.up);
        match result {
            Ok(answer) => self.answered(kind, &answer, at),
            Err(failure) => self.refused(kind, &failure, at),
        }
    }

    fn answered(&mut self, kind: Kind, answer: &Value, at: &Moment) {
        self.calls.all_is_well();
        match kind {
            Kind::Override => {
                self.calls.helped(kind);
                if let Some(sent) = self.overriding.sending.take() {
                    self.kept.overrides = overrides::merged(&self.kept.overrides, &sent);
                    self.overriding.refused = None;
                    self.dirty = true;
                }
            }
            Kind::Import => {
                self.calls.helped(kind);
                self.imported = self.importing.take();
                // The plugin's own refresh token is the broker's now, which rotates it: it needs what comes next.
                if !std::mem::take(&mut self.granted_meanwhile) {
                    self.kept.has_tokens = false;
                    self.dirty = true;
                }
                self.say("took over the tokens that the plugin had");
            }
            // What it brings comes by the relay; where that is as short, the next one waits longer.
            Kind::Refresh => {}
            Kind::Status => {
                self.calls.helped(kind);
                self.ask_status_at = None;
                match answer.get("status").and_then(Value::as_str) {
                    Some("linked") => {
                        self.dirty |= self.kept.link != Link::Linked;
                        self.kept.link = Link::Linked;
                        self.invite = super::Invite::NotNeeded;
                    }
                    Some("unlinked" | "reauthorize") => self.is_unlinked(),
                    Some(_) | None => {}
                }
            }
            Kind::Connect => {
                if self.invite == super::Invite::NotNeeded {
                    return;
                }
                if self.invite.show(answer, at.up) {
                    self.calls.helped(kind);
                    self.out.extend(self.invite.text().map(Effect::Show));
                } else {
                    self.report("the server gave no connect URL");
                }
            }
        }
    }

    fn refused(&mut self, kind: Kind, failure: &Failure, at: &Moment) {
        if kind == Kind::Status && failure.status == Some(404) {
            let name = &self.name;
            let advice = format!("no plugin is installed there: `cloudlink slot install {name} --plugin ID`");
            self.report(&advice);
        } else {
            self.report(&failure.text);
        }
        match kind {
            Kind::Override => {
                let Some(sent) = self.overriding.sending.take() else { return };
                if failure.is_lasting() {
                    self.overriding.refused = Some(sent);
                } else {
                    let later = self.overriding.wanted.take().unwrap_or_default();
                    self.overriding.wanted = Some(overrides::merged(&sent, &later));
                }
            }
            Kind::Import if failure.is_lasting() => self.imported = self.importing.take(),
            Kind::Status if failure.status == Some(404) => self.ask_status_at = Some(at.up + STATUS_AGAIN),
            // The event says so, too.
            Kind::Refresh if failure.code == "authorization_required" => self.is_unlinked(),
            Kind::Import | Kind::Refresh | Kind::Status | Kind::Connect => {}
        }
    }
}
