//! A database full of linked slots, sealed as the broker seals them, by `copy` in PostgreSQL's binary format.

use std::{ops::Range, sync::Arc};

use anyhow::Result;
use cloudlink::{
    domain::{
        clock::Clock as _,
        ids::{DeviceId, SlotAddress, SlotName},
    },
    seams::{SystemClock, SystemEntropy},
    vault::{envelope::Place, ring::KeyRing},
};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

/// The slots of each device. Those of the first name are the ones that get due.
pub(crate) const SLOTS: [&str; 2] = ["heating", "garden"];

/// Devices of one `copy`.
const BATCH: u64 = 2500;
/// Connections that write at once.
const WRITERS: u64 = 4;
/// 2000-01-01, from which PostgreSQL counts.
const EPOCH: i128 = 946_684_800_000_000;

const DEVICES: &str = "copy devices (id, name, password_hash, created_at) from stdin with (format binary)";
const SLOTS_COPY: &str =
    "copy slots (device, name, plugin, configuration, overrides, variables, configured_at,
    client_id, client_secret, handle, handle_hash, status, version, acked_version, configuration_version,
    tokens_version, link_version, installed_at) from stdin with (format binary)";
const GRANTS: &str =
    "copy grants (device, slot, tokens, scope, expires_at, obtained_at, refresh_at, refresh_set_at)
    from stdin with (format binary)";

/// The id of a device: spread over the whole range, as drawn ones are (splitmix64).
pub(crate) fn device(number: u64) -> DeviceId {
    let mix = |seed: u64| {
        let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    DeviceId(Uuid::from_u64_pair(mix(2 * number + 1), mix(2 * number + 2)))
}

/// Stores `devices` devices with two linked slots each, of providers in turn; no grant is due for a day.
pub(crate) async fn fill(
    database: &str,
    ring: Arc<KeyRing>,
    devices: u64,
    providers: &[String],
) -> Result<()> {
    let batches = devices.div_ceil(BATCH);
    let writers = (0..WRITERS).map(|writer| {
        let (ring, providers, database) = (Arc::clone(&ring), providers.to_vec(), database.to_owned());
        tokio::spawn(async move {
            let mine = (writer..batches).step_by(usize::try_from(WRITERS)?);
            let mine = mine.map(|batch| batch * BATCH..devices.min((batch + 1) * BATCH));
            write(&database, &ring, mine, &providers).await
        })
    });
    for written in futures_util::future::join_all(writers).await {
        written??;
    }
    let mut connection = PgConnection::connect(database).await?;
    for statement in ["vacuum (analyze)", "checkpoint"] {
        connection.execute(statement).await?;
    }
    Ok(connection.close().await?)
}

async fn write(
    database: &str,
    ring: &KeyRing,
    batches: impl Iterator<Item = Range<u64>>,
    providers: &[String],
) -> Result<()> {
    let mut connection = PgConnection::connect(database).await?;
    // What refers to what is right as it is made, and who loses the end of this begins anew.
    connection.execute("set session_replication_role = replica").await?;
    connection.execute("set synchronous_commit = off").await?;
    for batch in batches {
        let rows = rows(ring, batch, providers)?;
        for (statement, rows) in [DEVICES, SLOTS_COPY, GRANTS].into_iter().zip(rows) {
            let mut copy = connection.copy_in_raw(statement).await?;
            copy.send(rows.ended()).await?;
            copy.finish().await?;
        }
    }
    Ok(connection.close().await?)
}

fn rows(ring: &KeyRing, numbers: Range<u64>, providers: &[String]) -> Result<[Rows; 3]> {
    let [mut devices, mut slots, mut grants] = [Rows::begun(), Rows::begun(), Rows::begun()];
    let now = SystemClock.now();
    for number in numbers {
        let device = device(number);
        devices.row(4).field(device.0.as_bytes()).field(b"A hub").field(b"no password").time(now);
        for (which, name) in (0..).zip(SLOTS) {
            let address = SlotAddress { device, slot: name.parse::<SlotName>()? };
            let unique = format!("{number}-{which}");
            let seal = |table, column, plain: &str| {
                ring.seal(&Place::new(table, column, &address), plain.as_bytes(), &SystemEntropy)
            };
            let provider = &providers[usize::try_from(number)? % providers.len()];
            slots.row(18).field(device.0.as_bytes()).field(name.as_bytes()).field(b"acme");
            slots.field(&seal("slots", "configuration", &configuration(provider)));
            slots.field(&seal("slots", "overrides", "{}")).field(b"\x01{}").time(now);
            slots.field(unique.as_bytes()).field(&seal("slots", "client_secret", &format!("{number:043}")));
            slots.field(&seal("slots", "handle", &format!("clh_{number:043}")));
            slots.field(format!("hash of {unique}").as_bytes()).field(b"linked");
            for version in [2, 2, 1, 2, 2_i64] {
                slots.field(&version.to_be_bytes());
            }
            slots.time(now);
            let later = now + time::Duration::seconds(86_400 + i64::try_from(number % 2_000_000)?);
            let tokens = json!({"access_token": format!("at-{number:064}"), "refresh_token":
                format!("rt-{number:064}"), "expires_in": 3600, "token_type": "Bearer"});
            let tokens = json!({"members": tokens, "expires_at": later.unix_timestamp()}).to_string();
            grants.row(8).field(device.0.as_bytes()).field(name.as_bytes());
            grants.field(&seal("grants", "tokens", &tokens)).field(b"read write");
            grants.time(later).time(now).time(later).time(now);
        }
    }
    Ok([devices, slots, grants])
}

fn configuration(provider: &str) -> String {
    let (authorize, token) = (format!("{provider}/authorize"), format!("{provider}/token"));
    json!({"name": "Acme Thermostats", "client_id": "the-client", "client_secret": "the-secret", "scope": "read write",
           "auth_endpoint": authorize, "token_endpoint": token, "addRedirect": true})
    .to_string()
}

/// Rows of a binary `copy`.
struct Rows(Vec<u8>);

impl Rows {
    fn begun() -> Self {
        Self(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec())
    }

    fn row(&mut self, fields: i16) -> &mut Self {
        self.0.extend(fields.to_be_bytes());
        self
    }

    fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend(bytes);
        self
    }

    fn time(&mut self, at: OffsetDateTime) -> &mut Self {
        let microseconds = i64::try_from(at.unix_timestamp_nanos() / 1000 - EPOCH).unwrap_or_default();
        self.field(&microseconds.to_be_bytes())
    }

    fn ended(mut self) -> Vec<u8> {
        self.0.extend((-1_i16).to_be_bytes());
        self.0
    }
}
