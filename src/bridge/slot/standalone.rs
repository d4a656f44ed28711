//! The bridge as the plugin's hub: what PG3 would answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::Slot;
use crate::bridge::{
    kept::Link,
    tokens::Moment,
    wire::{self, DEEPEST, Request},
};

/// How long a plugin that asks for everything waits while something is still on its way.
const PATIENCE: Duration = Duration::from_secs(10);
/// A plugin that runs and has not asked by then asked while nobody listened.
const UNASKED: Duration = Duration::from_secs(10);

impl Slot {
    pub(super) fn asked(&mut self, request: Request, at: &Moment) {
        match request {
            Request::Config => self.tell_config(),
            Request::All => {
                self.plugin.starts();
                self.plugin.asked = Some(at.up);
            }
            Request::Plain(answer) => self.tell(answer),
            Request::SetTooDeep => self.refuse_to_keep(&format!("a value has more than {DEEPEST} levels")),
            Request::Set(..) => {}
        }
    }

    /// Tells the plugin that what it saves is lost, and why.
    pub(super) fn refuse_to_keep(&mut self, why: &str) {
        self.tell(json!({"error": format!("{why}: it was not kept")}));
    }

    fn tell_config(&mut self) {
        let config = json!({"name": self.name, "profileNum": self.profile, "nodes": []});
        self.tell(json!({ "config": config }));
    }

    /// Answers who asked, and gives everything again to whom something is missing.
    pub(super) fn serve(&mut self, at: &Moment) {
        if !self.mqtt {
            return;
        }
        if let Some(since) = self.plugin.asked {
            if self.is_complete(at) || at.up >= since + PATIENCE {
                self.tell_all(at);
            }
            return;
        }
        let Some(since) = self.plugin.running_since() else { return };
        if !self.plugin.served {
            if at.up >= since + UNASKED {
                self.tell_config();
                self.plugin.starts();
                self.tell_all(at);
            }
            return;
        }
        // What the plugin has changed goes to the server first.
        if self.overriding.is_pending() {
            return;
        }
        let configuration = self.configuration();
        let changed = configuration.is_some() && configuration != self.kept.given;
        if (changed || self.owes_tokens(at)) && self.plugin.may_repeat(at.up) {
            self.tell_all(at);
        }
    }

    /// Whether everything is known that the plugin should start with.
    fn is_complete(&self, at: &Moment) -> bool {
        self.kept.configuration.is_some()
            && match self.kept.link {
                Link::Unknown => false,
                Link::Linked => self.tokens(at).is_some(),
                Link::Unlinked => true,
            }
    }

    /// Whether a running plugin has no tokens of a link that is there, and no consent on its way.
    pub(super) fn owes_tokens(&self, at: &Moment) -> bool {
        self.kept.link == Link::Linked
            && !self.kept.has_tokens
            && self.consent.is_none()
            && self.tokens(at).is_some()
    }

    /// Configuration first, then tokens, then the rest; at the end of it the plugin starts over.
    fn tell_all(&mut self, at: &Moment) {
        let configuration = self.configuration();
        let tokens = self.tokens(at).filter(|_| self.kept.link != Link::Unlinked);
        let mut all: Vec<(String, Value)> = Vec::new();
        all.extend(configuration.clone().map(|members| ("oauth".to_owned(), members.into())));
        all.extend(tokens.clone().map(|members| ("oauthTokens".to_owned(), members.into())));
        all.push(("notices".to_owned(), self.all_notices().into()));
        let others = self.kept.custom.iter().filter(|(key, _)| *key != "notices");
        all.extend(others.map(|(key, value)| (key.clone(), value.clone())));
        self.plugin.asked = None;
        self.told_notice = self.invite.text();
        self.kept.noticed = self.told_notice.is_some();
        // Without one it has none that could be told from the next.
        let given = Some(configuration.unwrap_or_default());
        if self.kept.given != given || self.kept.has_tokens != tokens.is_some() {
            self.kept.given = given;
            self.kept.has_tokens = tokens.is_some();
            self.dirty = true;
        }
        if let Some(consent) = self.consent.as_mut().filter(|_| tokens.is_some()) {
            consent.told = true;
            consent.delivered = true;
            self.kept.delivered = Some(consent.version);
            self.dirty = true;
        }
        self.tell(wire::all(all));
    }

    /// Tells the plugin what was written.
    pub(super) fn confirm_kept(&mut self) {
        if self.mqtt && !self.plugin.unconfirmed.is_empty() {
            let keys = std::mem::take(&mut self.plugin.unconfirmed);
            self.tell(wire::confirmed(&keys));
        }
    }
}
