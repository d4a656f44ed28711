//! One slot between its plugin and the server: a machine that hears what happens and says what is to be done. It does
//! nothing itself, and knows no time but what it is told.
//!
//! Each input changes what is known; then [`Slot::settle`] looks at what is known and asks for whatever is still
//! missing. So it does not matter in which order the server, the broker and the plugin went and came back: nothing is
//! remembered but states, and what got lost on the way is missing and asked for again.
//!
//! Guarantees: a version is acknowledged only after it was written to the state's file and is where the plugin finds
//! it (PG3's store, or the running plugin); a refresh never makes a running plugin start over; no plugin gets tokens
//! with a minute or less left; what a plugin only writes back is neither an override nor an import; every exchange that
//! could echo has a bound.

mod cloud;
mod companion;
#[cfg(test)]
mod companion_tests;
#[cfg(test)]
mod home;
#[cfg(test)]
mod loss_tests;
mod notices;
mod plugin;
mod standalone;
#[cfg(test)]
mod standalone_tests;

use std::time::Duration;

use serde_json::Value;

use self::{companion::Pg3, plugin::Plugin};
use super::{
    calls::{Call, Calls, Failure, Kind, Outcome},
    invite::Invite,
    kept::{Kept, Link},
    overrides,
    tokens::Moment,
    wire::Message,
};
use crate::domain::{
    ids::{SlotName, Version},
    json::Object,
};

/// After a failure to write, the wait until the next attempt.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// Who answers the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The bridge.
    Standalone,
    /// PG3; the bridge stands beside it.
    Companion,
}

/// What happens.
pub(super) enum Input {
    /// The broker is there, and tells us what we asked for.
    MqttUp,
    /// It is not.
    MqttDown,
    /// Somebody said something on the slot's topics.
    Said(Message),
    /// The broker has what was sent with this version.
    Delivered(Version),
    /// The relay is open.
    RelayUp,
    /// It is not.
    RelayDown,
    /// The server told a state.
    Arrived(Version, News),
    /// A call has ended.
    Called(Outcome),
    /// The state was written, or could not be.
    Stored(bool),
    /// Time went by.
    Tick,
}

/// A slot's state as the server tells it.
pub(super) enum News {
    /// The configuration.
    Configuration(Object),
    /// Tokens, refreshed or told again.
    Tokens(Object),
    /// Tokens of a person's new consent.
    Consent(Object),
    /// There are none any more.
    Ended,
    /// Encrypted to a key that is not here.
    Sealed,
}

/// What is to be done, in this order.
#[derive(PartialEq)]
pub(super) enum Effect {
    /// Write the state.
    Store,
    /// Tell the plugin; with a version, say when the broker has it.
    Tell(Value, Option<Version>),
    /// Say something as the plugin would, to PG3.
    SpeakFor(Value),
    /// Acknowledge a version to the server.
    Ack(Version),
    /// Call the API.
    Call(Call),
    /// Tell a person how things go.
    Say(String),
    /// Give a person what they must have.
    Show(String),
}

/// A slot.
pub(super) struct Slot {
    name: SlotName,
    profile: u16,
    mode: Mode,
    /// The broker's token endpoint.
    endpoint: String,
    kept: Kept,
    dirty: bool,
    store_after: Duration,
    mqtt: bool,
    plugin: Plugin,
    pg3: Pg3,
    /// When to ask whether the slot is linked, which no event has said yet.
    ask_status_at: Option<Duration>,
    /// What is to be acknowledged once it is there.
    unacked_configuration: Option<Version>,
    unacked_grant: Option<Version>,
    consent: Option<Consent>,
    calls: Calls,
    overriding: Overriding,
    importing: Option<Object>,
    /// The tokens that were taken over last, and are no news.
    imported: Option<Object>,
    /// Tokens came since the import began.
    granted_meanwhile: bool,
    invite: Invite,
    /// The notice that the running plugin was told.
    told_notice: Option<String>,
    out: Vec<Effect>,
}

/// A consent on its way to the plugin.
struct Consent {
    version: Version,
    /// The plugin was told on this connection.
    told: bool,
    /// The broker, or a `getAll`, has brought it.
    delivered: bool,
}

/// Overrides on their way to the server.
#[derive(Default)]
struct Overriding {
    /// To be sent.
    wanted: Option<Object>,
    /// Being sent.
    sending: Option<Object>,
    /// Refused, and not sent again before something else is changed.
    refused: Option<Object>,
}

impl Overriding {
    /// What the server will have when all goes well.
    fn on_top_of(&self, overrides: &Object) -> Object {
        let pending = self.sending.iter().chain(&self.wanted);
        pending.fold(overrides.clone(), |overrides, patch| overrides::merged(&overrides, patch))
    }

    fn is_pending(&self) -> bool {
        self.wanted.is_some() || self.sending.is_some()
    }
}

impl Slot {
    pub(super) fn new(name: SlotName, profile: u16, mode: Mode, endpoint: String, kept: Kept) -> Self {
        Self {
            name,
            profile,
            mode,
            endpoint,
            kept,
            dirty: false,
            store_after: Duration::ZERO,
            mqtt: false,
            plugin: Plugin::default(),
            pg3: Pg3::default(),
            ask_status_at: None,
            unacked_configuration: None,
            unacked_grant: None,
            consent: None,
            calls: Calls::default(),
            overriding: Overriding::default(),
            importing: None,
            imported: None,
            granted_meanwhile: false,
            invite: Invite::default(),
            told_notice: None,
            out: Vec::new(),
        }
    }

    /// What is kept.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Custom parameters that the home sets, in place of those that were there.
    pub(super) fn set_parameters(&mut self, parameters: Object) {
        let parameters = Value::Object(parameters);
        if self.kept.custom.get("customparams") != Some(&parameters) {
            self.dirty |= self.kept.set_custom("customparams", parameters);
        }
    }

    /// Hears of something; answers what is to be done.
    pub(super) fn hear(&mut self, input: Input, at: &Moment) -> Vec<Effect> {
        match input {
            Input::MqttUp => {
                self.mqtt = true;
                self.plugin.look_again(at.up);
            }
            Input::MqttDown => {
                self.mqtt = false;
                self.plugin.look_again(at.up);
                self.told_notice = None;
                self.pg3.forget_questions();
                if let Some(consent) = &mut self.consent {
                    consent.told = false;
                }
            }
            Input::Said(message) => self.said(message, at),
            Input::Delivered(version) => self.delivered(version),
            Input::RelayUp => self.ask_status_at = Some(at.up + cloud::EVENTS_FIRST),
            Input::RelayDown => self.ask_status_at = None,
            Input::Arrived(version, news) => self.arrived(version, news, at),
            Input::Called(outcome) => self.called(outcome, at),
            Input::Stored(true) => self.dirty = false,
            Input::Stored(false) => {
                self.store_after = at.up + STORE_AGAIN;
                self.report("what is known of it can't be written: check the disk and the folder's owner");
            }
            Input::Tick => {}
        }
        self.settle(at);
        std::mem::take(&mut self.out)
    }

    /// Asks for what is missing.
    fn settle(&mut self, at: &Moment) {
        if self.mqtt {
            self.plugin.give_up_waiting(at.up);
        }
        self.bring_consent(at);
        match self.mode {
            Mode::Standalone => self.serve(at),
            Mode::Companion => self.sync_with_pg3(at),
        }
        self.show_notice(at);
        self.call(at);
        if self.dirty {
            if self.store_after <= at.up {
                self.out.insert(0, Effect::Store);
            }
            return;
        }
        self.confirm_kept();
        self.acknowledge();
    }

    /// An ack covers all versions up to its own: a configuration's waits for tokens that came before it.
    fn acknowledge(&mut self) {
        let grant_is_there = self.grant_is_there();
        let owed = self.unacked_grant.filter(|_| !grant_is_there);
        if self.configuration_is_there()
            && let Some(version) =
                self.unacked_configuration.take_if(|version| owed.is_none_or(|grant| grant > *version))
        {
            self.out.push(Effect::Ack(version));
        }
        if grant_is_there && let Some(version) = self.unacked_grant.take() {
            self.out.push(Effect::Ack(version));
        }
        // A plugin that was away may come back without asking: then it is still to be told.
        if self.unacked_grant.is_none() && self.consent.as_ref().is_some_and(|consent| consent.delivered) {
            self.consent = None;
        }
    }

    fn configuration_is_there(&self) -> bool {
        match self.mode {
            Mode::Standalone => true,
            Mode::Companion => self.pg3.has_configuration(self.configuration().as_ref()),
        }
    }

    fn grant_is_there(&self) -> bool {
        let stored = match self.mode {
            Mode::Standalone => true,
            Mode::Companion => self.unacked_grant.is_some_and(|version| self.pg3.has_grant(version)),
        };
        let heard = self.consent.as_ref().is_none_or(|consent| consent.delivered || self.plugin.is_away());
        stored && heard
    }

    /// The configuration as the plugin is given it.
    fn configuration(&self) -> Option<Object> {
        let sent = self.kept.configuration.as_ref()?;
        Some(overrides::for_plugin(sent, &self.kept.overrides))
    }

    /// Whether the plugin keeps its tokens itself.
    fn is_in_devices_custody(&self) -> bool {
        let custody = self.kept.configuration.as_ref().and_then(|sent| sent.get("custody"));
        custody.and_then(Value::as_str) == Some("device")
    }

    /// The tokens as the plugin is given them, where it may have them.
    fn tokens(&self, at: &Moment) -> Option<Object> {
        let held = self.kept.tokens.as_ref()?;
        if self.is_in_devices_custody() { held.for_their_keeper(at) } else { held.for_plugin(at) }
    }

    fn tell(&mut self, payload: Value) {
        self.out.push(Effect::Tell(payload, None));
    }

    fn say(&mut self, text: impl Into<String>) {
        self.out.push(Effect::Say(text.into()));
    }

    /// Tells a person of a failure, once.
    fn report(&mut self, text: &str) {
        if let Some(text) = self.calls.news(text) {
            self.say(text);
        }
    }
}
