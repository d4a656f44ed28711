//! The bridge beside PG3, which answers the plugin itself. What PG3 is to answer is saved there as the plugin would
//! save it; where a running plugin must hear of it, PG3 is asked in the plugin's name, so that the answer is PG3's and
//! whole. A `getAll` of our own would tell the plugin that all that it leaves out is empty.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Effect, Slot};
use crate::{
    bridge::{
        kept::Link,
        tokens::Moment,
        wire::{self, Answer},
    },
    domain::{ids::Version, json::Object},
};

/// PG3 has as long to confirm, at first, and then longer and longer.
const CONFIRM: Duration = Duration::from_secs(10);
const LONGEST_CONFIRM: Duration = Duration::from_mins(10);

/// A value on its way to PG3.
struct Saving<K> {
    asked: Option<(K, Duration)>,
    tries: u32,
    has: Option<K>,
}

impl<K> Default for Saving<K> {
    fn default() -> Self {
        Self { asked: None, tries: 0, has: None }
    }
}

impl<K: PartialEq + Clone> Saving<K> {
    /// Whether it is to be sent now.
    fn wants(&mut self, value: &K, up: Duration) -> bool {
        if self.has.as_ref() == Some(value) {
            return false;
        }
        let wait =
            CONFIRM.saturating_mul(2_u32.saturating_pow(self.tries.saturating_sub(1))).min(LONGEST_CONFIRM);
        match &self.asked {
            Some((asked, since)) if asked == value && up < *since + wait => return false,
            Some((asked, _)) if asked == value => {}
            Some(_) | None => self.tries = 0,
        }
        self.tries += 1;
        self.asked = Some((value.clone(), up));
        true
    }

    fn confirmed(&mut self) {
        if let Some((value, _)) = self.asked.take() {
            self.has = Some(value);
            self.tries = 0;
        }
    }

    fn is(&self, value: &K) -> bool {
        self.has.as_ref() == Some(value) || self.asked.as_ref().is_some_and(|(asked, _)| asked == value)
    }
}

/// What PG3 has of ours.
#[derive(Default)]
pub(super) struct Pg3 {
    configuration: Saving<Object>,
    /// Tokens, or that there are none, by the version that said so.
    grant: Saving<Version>,
    notices: Saving<Object>,
    /// How many of our own `getAll` are still to come back to us.
    echoes: u32,
    /// Since when the answer to one of them is awaited.
    asked_all: Option<Duration>,
}

impl Pg3 {
    /// What was asked before the connection was lost is asked again.
    pub(super) fn forget_questions(&mut self) {
        self.configuration.asked = None;
        self.grant.asked = None;
        self.notices.asked = None;
        self.echoes = 0;
        self.asked_all = None;
    }

    pub(super) fn has_configuration(&self, wanted: Option<&Object>) -> bool {
        wanted.is_some() && self.configuration.has.as_ref() == wanted
    }

    pub(super) fn has_grant(&self, version: Version) -> bool {
        self.grant.has == Some(version)
    }

    /// Whether a `set` is one of ours that comes back.
    pub(super) fn is_our_own(&self, key: &str, value: &Value) -> bool {
        let Value::Object(value) = value else { return false };
        (key == "oauth" && self.configuration.is(value)) || (key == "notices" && self.notices.is(value))
    }

    /// The plugin saved a configuration, so PG3 has that one.
    pub(super) fn plugin_wrote(&mut self, written: &Object) {
        self.configuration = Saving { has: Some(written.clone()), ..Saving::default() };
    }

    pub(super) fn plugin_wrote_notices(&mut self, written: &Object) {
        self.notices = Saving { has: Some(written.clone()), ..Saving::default() };
    }
}

impl Slot {
    /// The plugin asks PG3 for everything, or we did.
    pub(super) fn pg3_is_asked(&mut self) {
        if self.pg3.echoes > 0 {
            self.pg3.echoes -= 1;
        } else {
            self.plugin.starts();
        }
    }

    /// What PG3 tells the plugin.
    pub(super) fn pg3_said(&mut self, answer: Answer) {
        if let Answer::Value(..) = answer {
            self.pg3.asked_all = None;
        }
        match answer {
            Answer::Kept(key) => match key.as_str() {
                "oauth" => self.pg3.configuration.confirmed(),
                "oauthTokens" => self.pg3.grant.confirmed(),
                "notices" => self.pg3.notices.confirmed(),
                _ => {}
            },
            Answer::Value(key, Value::Object(value)) => match key.as_str() {
                "oauth" if self.kept.given.as_ref() != Some(&value) => {
                    self.kept.given = Some(value);
                    self.dirty = true;
                }
                "oauthTokens" => {
                    let has_tokens = value.contains_key("access_token");
                    self.dirty |= self.kept.has_tokens != has_tokens;
                    self.kept.has_tokens = has_tokens;
                }
                "notices" => self.dirty |= self.notices_written(value),
                _ => {}
            },
            Answer::Value(..) => {}
        }
    }

    /// Saves at PG3 what it lacks, and has it tell a running plugin.
    pub(super) fn sync_with_pg3(&mut self, at: &Moment) {
        if !self.mqtt {
            return;
        }
        self.save_configuration(at);
        self.save_grant(at);
        if self.plugin.running_since().is_none() {
            return;
        }
        let configuration = self.configuration();
        let changed = self.pg3.has_configuration(configuration.as_ref()) && configuration != self.kept.given;
        let tokens = self.kept.tokens.as_ref().map(|held| held.version);
        let owed = self.owes_tokens(at) && tokens.is_some_and(|version| self.pg3.has_grant(version));
        let awaited = self.pg3.asked_all.is_some_and(|since| at.up < since + CONFIRM);
        if (changed || owed) && !awaited && self.plugin.may_repeat(at.up) {
            self.pg3.asked_all = Some(at.up);
            self.pg3.echoes += 1;
            self.out.push(Effect::SpeakFor(json!({"getAll": {}})));
        }
    }

    fn save_configuration(&mut self, at: &Moment) {
        // What the plugin has changed goes to the server first.
        if self.overriding.is_pending() {
            return;
        }
        if let Some(configuration) = self.configuration()
            && self.pg3.configuration.wants(&configuration, at.up)
        {
            self.out.push(Effect::SpeakFor(wire::set("oauth", &configuration.into())));
        }
    }

    fn save_grant(&mut self, at: &Moment) {
        let (version, tokens) = match (&self.kept.tokens, self.kept.link, self.unacked_grant) {
            (Some(held), Link::Linked, _) => (held.version, self.tokens(at)),
            (None, Link::Unlinked, Some(version)) => (version, Some(Object::new())),
            (Some(_) | None, _, _) => return,
        };
        if let Some(tokens) = tokens
            && self.pg3.grant.wants(&version, at.up)
        {
            self.out.push(Effect::SpeakFor(wire::set("oauthTokens", &tokens.into())));
        }
    }

    /// Saves the notices, ours among them.
    pub(super) fn save_notices(&mut self, at: &Moment) {
        let notices = self.all_notices();
        if self.invite.text().is_none() && self.pg3.notices.has.as_ref() == Some(&notices) {
            self.kept.noticed = false;
            self.dirty = true;
        } else if self.pg3.notices.wants(&notices, at.up) {
            self.out.push(Effect::SpeakFor(wire::set("notices", &notices.into())));
        }
    }
}
