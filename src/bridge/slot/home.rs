//! A home for the tests of a slot's machine: a clock that they set, a disk, and what the machine has asked for.

use serde_json::{Value, json};
use time::macros::{datetime, offset};

use super::*;
use crate::bridge::{tokens::Held, wire::PluginName};

pub(super) const ENDPOINT: &str = "https://link.example/api/cloudlink/token";
pub(super) const NAME: &str = "hub_3";

/// A machine, and all that it has asked for since that was last looked at.
pub(super) struct Home {
    pub(super) slot: Slot,
    up: u64,
    pub(super) asked: Vec<Effect>,
    disk_is_full: bool,
}

pub(super) fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("{value} is no object") };
    object
}

pub(super) fn configuration() -> Object {
    object(json!({"name": "Acme", "client_id": "cl_1", "client_secret": "s1", "token_endpoint": ENDPOINT,
        "auth_endpoint": "https://acme.example/auth", "scope": "read"}))
}

/// Tokens as the relay brings them.
pub(super) fn tokens(name: &str, expires_in: u64) -> Object {
    object(json!({"access_token": name, "refresh_token": "clh_1", "expires_in": expires_in,
        "expiry": "2026-01-02T03:04:05Z"}))
}

impl Home {
    pub(super) fn new(mode: Mode) -> Self {
        Self::with(mode, Kept::default())
    }

    pub(super) fn with(mode: Mode, kept: Kept) -> Self {
        let slot = Slot::new("ecobee".parse().unwrap(), 3, mode, ENDPOINT.to_owned(), kept);
        Self { slot, up: 0, asked: Vec::new(), disk_is_full: false }
    }

    /// Standalone, both connections up, configured, and with a plugin that has started and is not linked.
    pub(super) fn with_a_plugin() -> Self {
        let mut home = Self::uninvited();
        home.answers(
            Kind::Connect,
            json!({"connect_url": "https://link.example/connect/0", "expires_in": 600}),
        );
        home.is_asked();
        home
    }

    /// The same, while the server is asked for a connect URL.
    pub(super) fn uninvited() -> Self {
        let mut home = Self::new(Mode::Standalone);
        home.hears(Input::MqttUp);
        home.hears(Input::RelayUp);
        home.arrives(1, News::Configuration(configuration()));
        home.plugin_starts();
        home.later(4);
        home.answers(Kind::Status, json!({"status": "unlinked"}));
        home.is_asked();
        home
    }

    /// The same, linked, and the plugin has the tokens.
    pub(super) fn linked() -> Self {
        let mut home = Self::with_a_plugin();
        home.arrives(2, News::Consent(tokens("first", 3600)));
        home.hears(Input::Delivered(Version(2)));
        home.is_asked();
        home
    }

    /// After a restart of the bridge: what was on the disk.
    pub(super) fn restarted(self) -> Self {
        let kept = serde_json::from_str(&serde_json::to_string(self.slot.kept()).unwrap()).unwrap();
        Self::with(self.slot.mode, kept)
    }

    pub(super) fn at(&self) -> Moment {
        let up = Duration::from_secs(self.up);
        Moment { up, now: datetime!(2026-01-02 03:04:05 UTC) + up, offset: offset!(+1) }
    }

    pub(super) fn hears(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let at = self.at();
            for effect in self.slot.hear(input, &at) {
                if effect == Effect::Store {
                    next = Some(Input::Stored(!self.disk_is_full));
                } else {
                    self.asked.push(effect);
                }
            }
        }
    }

    pub(super) fn fills_its_disk(&mut self, full: bool) {
        self.disk_is_full = full;
    }

    pub(super) fn later(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.up += 1;
            self.hears(Input::Tick);
        }
    }

    pub(super) fn arrives(&mut self, version: i64, news: News) {
        self.hears(Input::Arrived(Version(version), news));
    }

    /// A message of the plugin, or to it.
    pub(super) fn says(&mut self, topic: &str, payload: &Value) {
        let topic = match topic {
            "connections" => format!("udi/pg3/connections/ns/{NAME}"),
            kind => format!("udi/pg3/ns/{kind}/{NAME}"),
        };
        let message = PluginName(NAME.to_owned()).read(&topic, payload.to_string().as_bytes(), false);
        self.hears(Input::Said(message.unwrap()));
    }

    pub(super) fn plugin_connects(&mut self) {
        self.says("connections", &json!({"connected": [{}]}));
    }

    pub(super) fn plugin_starts(&mut self) {
        self.plugin_connects();
        self.says("system", &json!({"config": {"version": "1"}}));
        self.says("custom", &json!({"getAll": {}}));
    }

    pub(super) fn plugin_sets(&mut self, key: &str, value: &Value) {
        self.says("custom", &json!({"set": [{"key": key, "value": value}]}));
    }

    /// The call that is under way ends well.
    pub(super) fn answers(&mut self, kind: Kind, answer: Value) {
        self.hears(Input::Called(Outcome { kind, result: Ok(answer) }));
    }

    pub(super) fn refuses(&mut self, kind: Kind, status: u16, code: &str) {
        let failure =
            Failure { status: Some(status), code: code.to_owned(), text: format!("refused: {code}") };
        self.hears(Input::Called(Outcome { kind, result: Err(failure) }));
    }

    /// What was asked for since; forgets it.
    pub(super) fn is_asked(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.asked)
    }

    /// The payloads that the plugin was told since; forgets all else, too.
    pub(super) fn told(&mut self) -> Vec<Value> {
        let told = self.is_asked().into_iter().filter_map(|effect| match effect {
            Effect::Tell(payload, _) => Some(payload),
            Effect::Store
            | Effect::SpeakFor(_)
            | Effect::Ack(_)
            | Effect::Call(_)
            | Effect::Say(_)
            | Effect::Show(_) => None,
        });
        told.collect()
    }

    /// The versions that were acknowledged since; forgets nothing.
    pub(super) fn acks(&self) -> Vec<i64> {
        let acks = self.asked.iter().filter_map(|effect| match effect {
            Effect::Ack(version) => Some(version.0),
            Effect::Store
            | Effect::SpeakFor(_)
            | Effect::Tell(..)
            | Effect::Call(_)
            | Effect::Say(_)
            | Effect::Show(_) => None,
        });
        acks.collect()
    }

    /// The bodies of calls of this kind since; forgets nothing.
    pub(super) fn calls(&self, kind: Kind) -> Vec<Option<Object>> {
        let calls = self.asked.iter().filter_map(|effect| match effect {
            Effect::Call(call) if call.kind == kind => Some(call.body.clone()),
            Effect::Store
            | Effect::SpeakFor(_)
            | Effect::Tell(..)
            | Effect::Ack(_)
            | Effect::Call(_)
            | Effect::Say(_)
            | Effect::Show(_) => None,
        });
        calls.collect()
    }

    /// What was said to PG3 since; forgets nothing.
    pub(super) fn spoken(&self) -> Vec<Value> {
        let spoken = self.asked.iter().filter_map(|effect| match effect {
            Effect::SpeakFor(payload) => Some(payload.clone()),
            Effect::Store
            | Effect::Ack(_)
            | Effect::Tell(..)
            | Effect::Call(_)
            | Effect::Say(_)
            | Effect::Show(_) => None,
        });
        spoken.collect()
    }

    pub(super) fn held(&self) -> Option<&Held> {
        self.slot.kept.tokens.as_ref()
    }
}

/// The value of `key` in a `getAll`.
pub(super) fn in_all(payload: &Value, key: &str) -> Option<Value> {
    let pairs = payload.get("getAll")?.as_array()?;
    pairs.iter().find(|pair| pair["key"] == key).map(|pair| pair["value"].clone())
}

/// The last `getAll` of these.
pub(super) fn all_of(told: &[Value]) -> &Value {
    told.iter().rfind(|payload| payload.get("getAll").is_some()).unwrap()
}
