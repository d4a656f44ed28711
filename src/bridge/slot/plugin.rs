//! What is known of the plugin, and what it says that concerns the server.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Consent, Effect, Mode, Slot};
use crate::{
    bridge::{
        kept::Link,
        overrides::{self, BrokersOwn},
        tokens::{Held, Moment, are_the_plugins_own},
        wire::{Message, Request},
    },
    domain::{ids::Version, json::Object},
};

/// A broker tells at once who is connected; who is not named by then is not.
const PRESENCE: Duration = Duration::from_secs(5);
/// A plugin that starts asks for everything within this time; one that only comes back does not.
const ASKS_WITHIN: Duration = Duration::from_secs(3);
/// How often a running plugin may be given everything again, and how soon that is forgotten.
const MOST_ROUNDS: u32 = 5;
const ROUNDS_FORGOTTEN: Duration = Duration::from_mins(10);

/// Whether the plugin is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Nobody has said, since then.
    Unknown(Duration),
    /// It is, at least since then.
    Running(Duration),
    /// It is not.
    Away,
}

/// The plugin.
pub(super) struct Plugin {
    presence: Presence,
    /// Since when it waits for an answer to `getAll`.
    pub(super) asked: Option<Duration>,
    /// Whether it has asked, or was given, everything in this run of the bridge.
    pub(super) served: bool,
    /// What was kept and is still to be confirmed.
    pub(super) unconfirmed: Vec<String>,
    rounds: u32,
    last_round: Duration,
    junk: bool,
}

impl Default for Plugin {
    fn default() -> Self {
        Self {
            presence: Presence::Unknown(Duration::ZERO),
            asked: None,
            served: false,
            unconfirmed: Vec::new(),
            rounds: 0,
            last_round: Duration::ZERO,
            junk: false,
        }
    }
}

impl Plugin {
    /// The broker is back: who is there is told anew.
    pub(super) fn look_again(&mut self, up: Duration) {
        self.presence = Presence::Unknown(up);
    }

    /// Nobody said that it is there.
    pub(super) fn give_up_waiting(&mut self, up: Duration) {
        if let Presence::Unknown(since) = self.presence
            && up >= since + PRESENCE
        {
            self.presence = Presence::Away;
        }
    }

    /// Since when it runs.
    pub(super) fn running_since(&self) -> Option<Duration> {
        match self.presence {
            Presence::Running(since) => Some(since),
            Presence::Unknown(_) | Presence::Away => None,
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.presence == Presence::Away
    }

    /// It spoke, so it is there.
    fn is_heard(&mut self, up: Duration) {
        if self.running_since().is_none() {
            self.presence = Presence::Running(up);
        }
    }

    /// It starts: what came before does not count.
    pub(super) fn starts(&mut self) {
        self.rounds = 0;
        self.served = true;
    }

    /// Whether it may be given everything once more; counts.
    pub(super) fn may_repeat(&mut self, up: Duration) -> bool {
        if up >= self.last_round + ROUNDS_FORGOTTEN {
            self.rounds = 0;
        }
        if self.rounds >= MOST_ROUNDS {
            return false;
        }
        self.rounds += 1;
        self.last_round = up;
        true
    }
}

impl Slot {
    pub(super) fn said(&mut self, message: Message, at: &Moment) {
        match message {
            Message::Presence { running: true } => self.plugin.is_heard(at.up),
            Message::Presence { running: false } => {
                self.plugin.presence = Presence::Away;
                self.plugin.asked = None;
            }
            Message::Requests(requests) => {
                for request in requests {
                    match (self.mode, request) {
                        (_, Request::Set(key, value)) => self.set(key, value, at),
                        (Mode::Companion, Request::All) => self.pg3_is_asked(),
                        (Mode::Companion, Request::Config | Request::SetTooDeep | Request::Plain(_)) => {}
                        (Mode::Standalone, request) => {
                            self.plugin.is_heard(at.up);
                            self.asked(request, at);
                        }
                    }
                }
            }
            Message::Answers(answers) => answers.into_iter().for_each(|answer| self.pg3_said(answer)),
            Message::Junk(why) if !self.plugin.junk => {
                self.plugin.junk = true;
                self.say(format!("a message on its topics is ignored: {why}; so will be others like it"));
            }
            Message::Junk(_) => {}
        }
    }

    /// The plugin saves a value, or what we said in its name comes back.
    fn set(&mut self, key: String, value: Value, at: &Moment) {
        if self.mode == Mode::Companion && self.pg3.is_our_own(&key, &value) {
            return;
        }
        let fits = match (key.as_str(), value) {
            ("oauth", Value::Object(written)) => {
                self.pg3.plugin_wrote(&written);
                self.configuration_written(&written);
                true
            }
            ("oauthTokens", Value::Object(written)) => {
                self.tokens_written(written, at);
                true
            }
            ("oauth" | "oauthTokens", _) => true,
            ("notices", Value::Object(written)) => {
                let fits = self.notices_written(written);
                self.dirty |= fits;
                fits
            }
            (_, value) if self.mode == Mode::Standalone => {
                let fits = self.kept.set_custom(&key, value);
                self.dirty |= fits;
                fits
            }
            _ => true,
        };
        if self.mode == Mode::Companion {
            return;
        }
        if fits {
            self.plugin.unconfirmed.push(key);
        } else {
            self.refuse_to_keep("the custom data is too large");
        }
    }

    /// What it changed goes to the server; what it wrote back does not.
    fn configuration_written(&mut self, written: &Object) {
        let (Some(given), Some(sent)) = (&self.kept.given, &self.kept.configuration) else { return };
        // What it had before the bridge was there is no base to tell changes by.
        if given.get("token_endpoint").is_none_or(|endpoint| *endpoint != self.endpoint) {
            return;
        }
        let own = BrokersOwn { endpoint: &self.endpoint, sent };
        let changed = overrides::difference(given, written, own);
        let known = self.overriding.on_top_of(&self.kept.overrides);
        let all = overrides::merged(&known, &changed);
        if all != known && self.overriding.refused.as_ref() != Some(&changed) {
            let wanted = self.overriding.wanted.take().unwrap_or_default();
            self.overriding.wanted = Some(overrides::merged(&wanted, &changed));
        }
    }

    fn tokens_written(&mut self, written: Object, at: &Moment) {
        if !are_the_plugins_own(&written) {
            return;
        }
        if self.is_in_devices_custody() {
            let version = self.kept.tokens.as_ref().map_or(Version(0), |held| held.version);
            if self.mode == Mode::Standalone
                && let Some(held) = Held::new(written, version, at)
            {
                self.kept.tokens = Some(held);
                self.dirty = true;
            }
        } else if self.imported.as_ref() != Some(&written) {
            self.importing = Some(written);
        }
    }

    /// A new consent goes to the running plugin at once.
    pub(super) fn bring_consent(&mut self, at: &Moment) {
        let settled = self.plugin.running_since().is_some_and(|since| at.up >= since + ASKS_WITHIN);
        if !self.mqtt || !settled || self.plugin.asked.is_some() {
            return;
        }
        let Some(version) =
            self.consent.as_ref().filter(|consent| !consent.told).map(|consent| consent.version)
        else {
            return;
        };
        let tokens = self.kept.tokens.as_ref().filter(|_| self.kept.link == Link::Linked);
        let Some(tokens) = tokens.and_then(|held| held.for_plugin(at)) else { return };
        if let Some(consent) = &mut self.consent {
            consent.told = true;
        }
        self.out.push(Effect::Tell(json!({ "oauth": tokens }), Some(version)));
    }

    pub(super) fn delivered(&mut self, version: Version) {
        match &mut self.consent {
            Some(consent @ Consent { told: true, .. }) if consent.version == version => {
                consent.delivered = true;
                self.kept.delivered = Some(version);
                self.kept.has_tokens = true;
                self.dirty = true;
            }
            Some(_) | None => {}
        }
    }
}
