//! What the relay's tests share: a slot's state by its numbers, a database in memory, a relay over it.

mod alone;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use time::{OffsetDateTime, macros::datetime};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use self::alone::Alone;
use super::{Answer, Relay, RelayAccess, RelayParts, RelaySettings, SlotSource, Standing, StateOf};
use crate::{
    bus::Bus,
    domain::{
        clock::{Clock, Entropy},
        delivery::{Delivery, NotEncrypted, Recipient},
        ids::{DeviceId, SlotAddress, SlotName, Version},
        json,
        plugin::{Custody, Document},
        public_url::PublicUrl,
        secret::{ClientSecret, RefreshHandle},
        slot::{Ack, SlotConfiguration, SlotCredentials, SlotState, SlotStatus},
        tokens::TokenSet,
        topic::Topics,
    },
    store::StoreError,
};

pub(super) const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);
pub(super) const HOME: DeviceId = DeviceId(Uuid::from_u128(1));
pub(super) const TOKENS: &str = r#"{"access_token":"access","refresh_token":"real-refresh"}"#;

pub(super) fn public_url() -> PublicUrl {
    "https://cloud.example".parse().unwrap()
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) name: &'static str,
    pub(super) incarnation: &'static str,
    pub(super) configuration: &'static str,
    pub(super) tokens: Option<&'static str>,
    pub(super) custody: Custody,
    pub(super) status: SlotStatus,
    pub(super) version: i64,
    pub(super) acked: i64,
    pub(super) configuration_version: i64,
    pub(super) tokens_version: i64,
    pub(super) link_version: i64,
    pub(super) delivery: Delivery,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            name: "ecobee",
            incarnation: "slot-id",
            configuration: "{}",
            tokens: None,
            custody: Custody::Broker,
            status: SlotStatus::Unlinked,
            version: 1,
            acked: 0,
            configuration_version: 1,
            tokens_version: 0,
            link_version: 0,
            delivery: Delivery::Plain,
        }
    }
}

impl Slot {
    pub(super) fn linked() -> Self {
        let (version, tokens_version, link_version) = (2, 2, 2);
        let (tokens, status) = (Some(TOKENS), SlotStatus::Linked);
        Self { tokens, status, version, tokens_version, link_version, ..Self::default() }
    }

    /// A slot whose configuration was last changed at `version`.
    pub(super) fn at(name: &'static str, version: i64) -> Self {
        Self { name, version, configuration_version: version, ..Self::default() }
    }

    fn state_of(&self) -> StateOf {
        (HOME, Ok(self.state()))
    }

    pub(super) fn state(&self) -> SlotState {
        let members = |text: &str| json::parse_object(text.as_bytes()).unwrap();
        SlotState {
            address: SlotAddress { device: HOME, slot: self.name.parse().unwrap() },
            plugin: "ecobee".parse().unwrap(),
            configuration: SlotConfiguration {
                copy: Document::new(members(self.configuration)),
                overrides: Document::default(),
                variables: BTreeMap::new(),
                seal_to: None,
            },
            credentials: SlotCredentials {
                client_id: self.incarnation.to_owned(),
                client_secret: ClientSecret::new("slot-secret"),
                handle: RefreshHandle::new("slot-handle"),
            },
            custody: self.custody,
            status: self.status,
            version: Version(self.version),
            acked_version: Version(self.acked),
            configuration_version: Version(self.configuration_version),
            tokens_version: Version(self.tokens_version),
            link_version: Version(self.link_version),
            reason: (self.status == SlotStatus::Reauthorize).then(|| "invalid_grant".to_owned()),
            tokens: self.tokens.map(|text| TokenSet::new(members(text), None).unwrap()),
            delivery: self.delivery.clone(),
        }
    }
}

/// A recipient whose texts are read by nobody.
#[derive(Debug)]
pub(super) struct Blackbox;

impl Recipient for Blackbox {
    fn encrypt(&self, plaintext: &[u8], _entropy: &dyn Entropy) -> Result<String, NotEncrypted> {
        Ok(format!("{} bytes", plaintext.len()))
    }
}

/// A recipient to whom nothing can be encrypted.
#[derive(Debug)]
pub(super) struct Broken;

impl Recipient for Broken {
    fn encrypt(&self, _plaintext: &[u8], _entropy: &dyn Entropy) -> Result<String, NotEncrypted> {
        Err(NotEncrypted)
    }
}

/// A database in memory that says what a test wants.
#[derive(Default)]
pub(super) struct Database {
    slots: Mutex<BTreeMap<&'static str, Slot>>,
    away: AtomicBool,
    /// After each ack.
    news: Notify,
}

impl Database {
    pub(super) fn with(slots: impl IntoIterator<Item = Slot>) -> Arc<Self> {
        let database = Arc::new(Self::default());
        slots.into_iter().for_each(|slot| database.put(slot));
        database
    }

    pub(super) fn put(&self, slot: Slot) {
        self.slots.lock().unwrap().insert(slot.name, slot);
    }

    pub(super) fn delete(&self, slot: &str) {
        self.slots.lock().unwrap().remove(slot);
    }

    pub(super) fn acked(&self, slot: &str) -> i64 {
        self.slots.lock().unwrap()[slot].acked
    }

    /// Waits until this version is.
    pub(super) async fn acknowledged(&self, slot: &str, version: i64) {
        while self.acked(slot) < version {
            self.news.notified().await;
        }
    }

    pub(super) fn go_away(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    pub(super) fn come_back(&self) {
        self.away.store(false, Ordering::Relaxed);
    }

    fn ask<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&mut BTreeMap<&'static str, Slot>) -> T,
    ) -> Answer<'_, T> {
        let away = self.away.load(Ordering::Relaxed);
        let answer = if away {
            Err(StoreError::Database(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()))
        } else {
            Ok(answer(&mut self.slots.lock().unwrap()))
        };
        Box::pin(std::future::ready(answer))
    }
}

impl SlotSource for Database {
    fn list_states<'a>(&'a self, devices: &'a [DeviceId]) -> Answer<'a, Vec<StateOf>> {
        let here = devices.contains(&HOME);
        self.ask(|slots| slots.values().filter(|_| here).map(Slot::state_of).collect())
    }

    fn find_states<'a>(&'a self, addresses: &'a [SlotAddress]) -> Answer<'a, Vec<StateOf>> {
        let wanted = addresses.iter().filter(|address| address.device == HOME);
        self.ask(|slots| {
            wanted.filter_map(|address| slots.get(address.slot.as_str()).map(Slot::state_of)).collect()
        })
    }

    fn list_versions<'a>(
        &'a self,
        devices: &'a [DeviceId],
    ) -> Answer<'a, Vec<(DeviceId, SlotName, Version)>> {
        let here = devices.contains(&HOME);
        let row = |slot: &Slot| (HOME, slot.name.parse().unwrap(), Version(slot.version));
        self.ask(|slots| slots.values().filter(|_| here).map(row).collect())
    }

    fn ack<'a>(&'a self, address: &'a SlotAddress, version: Version) -> Answer<'a, Ack> {
        self.ask(|slots| match slots.get_mut(address.slot.as_str()) {
            None => Ack::UnknownSlot,
            Some(slot) if (slot.acked + 1..=slot.version).contains(&version.0) => {
                slot.acked = version.0;
                self.news.notify_one();
                Ack::Advanced
            }
            Some(_) => Ack::Unchanged,
        })
    }
}

/// A relay over a database in memory, at a moment that stands still.
pub(super) struct Bench {
    pub(super) database: Arc<Database>,
    pub(super) bus: Bus,
    pub(super) drain: CancellationToken,
    pub(super) relay: Relay,
    pub(super) standing: Arc<Revocable>,
}

impl Bench {
    pub(super) fn new(slots: impl IntoIterator<Item = Slot>, settings: RelaySettings) -> Self {
        let (database, bus, drain) = (Database::with(slots), Bus::in_process(), CancellationToken::new());
        let relay = Relay::new(RelayParts {
            source: Arc::clone(&database) as Arc<dyn SlotSource>,
            mailbox: Arc::new(Alone),
            bus: bus.clone(),
            settings,
            public_url: public_url().into(),
            clock: Arc::new(StandingStill),
            entropy: Arc::new(StandingStill),
            drain: drain.clone(),
        });
        Self { database, bus, drain, relay, standing: Arc::default() }
    }

    /// All of the device, for an hour.
    pub(super) fn access(&self) -> RelayAccess {
        let standing = Arc::clone(&self.standing) as Arc<dyn Standing>;
        RelayAccess {
            device: HOME,
            topics: Arc::new(Topics::of_device(HOME, None)),
            expires_at: NOW + time::Duration::HOUR,
            standing,
        }
    }

    pub(super) fn knock(&self, slot: &str) {
        self.bus.knock(&SlotAddress { device: HOME, slot: slot.parse().unwrap() });
    }
}

pub(super) struct StandingStill;

impl Clock for StandingStill {
    fn now(&self) -> OffsetDateTime {
        NOW
    }
}

impl Entropy for StandingStill {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x80);
    }
}

/// A token that can be revoked.
#[derive(Default)]
pub(super) struct Revocable(watch::Sender<u64>);

impl Revocable {
    pub(super) fn revoke(&self) {
        self.0.send_replace(1);
    }
}

impl Standing for Revocable {
    fn is_revoked(&self) -> bool {
        *self.0.borrow() > 0
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
