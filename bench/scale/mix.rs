//! The calls of an ordinary day, at slots picked at random.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use cloudlink::{
    domain::{
        ids::{DeviceId, SlotAddress, Version},
        slot::Ack,
    },
    seams::SystemEntropy,
    store::Store,
    vault::ring::KeyRing,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    fill::{SLOTS, device},
    stage::{KEYS, Stage},
};

/// For one statement.
const PATIENCE: Duration = Duration::from_mins(1);
/// From one device of the sample to the next: a prime, so that all are different, and pages apart.
const STRIDE: u64 = 7919;
/// Devices that one round of the slow poll asks for at once.
const CHUNK: u64 = 1000;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// A relay connection begins.
    Handshake,
    /// A knock is followed, or a token is read.
    Look,
    /// A plugin acknowledges.
    Acknowledge,
    /// The slow poll asks for a thousand devices.
    Poll,
}

impl Call {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Handshake, Self::Look, Self::Acknowledge, Self::Poll];

    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake (list_states)",
            Self::Look => "look (find_state)",
            Self::Acknowledge => "acknowledgement (ack)",
            Self::Poll => "poll of 1,000 devices",
        }
    }

    /// How many of them, where `calls` of the others are wanted and there are so many devices.
    pub(crate) fn share(self, calls: u64, devices: u64) -> u64 {
        match self {
            Self::Handshake | Self::Look => calls,
            // Each slot has something to acknowledge once.
            Self::Acknowledge => calls.min(devices),
            Self::Poll => (calls / 100).max(1),
        }
    }
}

/// The store, and who is in it.
pub(crate) struct Mix {
    store: Store,
    pool: PgPool,
    devices: u64,
}

impl Mix {
    pub(crate) fn new(stage: &Stage, devices: u64) -> Result<Self> {
        let ring = Arc::new(KeyRing::parse([KEYS])?);
        let pool = stage.pool().clone();
        Ok(Self { store: Store::new(pool.clone(), PATIENCE, ring, Arc::new(SystemEntropy)), pool, devices })
    }

    /// Device number `number` of the sample: far from its neighbours.
    fn sampled(&self, number: u64) -> DeviceId {
        device(number * STRIDE % self.devices)
    }

    fn address(&self, number: u64) -> Result<SlotAddress> {
        Ok(SlotAddress { device: self.sampled(number), slot: SLOTS[0].parse()? })
    }

    /// Gives each sampled slot something to acknowledge.
    pub(crate) async fn prepare(&self, call: Call, calls: u64) -> Result<()> {
        if call == Call::Acknowledge {
            let devices: Vec<Uuid> = (0..calls).map(|number| self.sampled(number).0).collect();
            let statement =
                "-- bench_raise\nupdate slots set version = version + 1 where device = any($1) and name = $2";
            sqlx::query(statement).bind(devices).bind(SLOTS[0]).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// `calls` of them, `at_once` at a time.
    pub(crate) async fn run(&self, call: Call, calls: u64, at_once: usize) -> Result<()> {
        let calls = stream::iter(0..calls).map(|number| self.once(call, number));
        calls.buffer_unordered(at_once).try_collect::<Vec<()>>().await.map(drop)
    }

    async fn once(&self, call: Call, number: u64) -> Result<()> {
        match call {
            Call::Handshake => {
                let states = self.store.list_states(&[self.sampled(number)]).await?;
                ensure!(states.len() == SLOTS.len(), "a device has {} slots", states.len());
            }
            Call::Look => {
                let state = self.store.find_state(&self.address(number)?).await?;
                ensure!(state.is_some_and(|state| state.tokens.is_some()), "a slot has no tokens");
            }
            Call::Acknowledge => {
                let ack = self.store.ack(&self.address(number)?, Version(3)).await?;
                ensure!(ack == Ack::Advanced, "an acknowledgement did nothing");
            }
            Call::Poll => {
                let devices: Vec<DeviceId> =
                    (0..CHUNK.min(self.devices)).map(|one| self.sampled(number * CHUNK + one)).collect();
                self.store.list_versions(&devices).await?;
            }
        }
        Ok(())
    }
}
