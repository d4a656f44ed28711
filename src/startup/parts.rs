//! Settings become the parts that the application is made of.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::{Seams, handlers::HandlerData};
#[cfg(feature = "nats")]
use crate::bus::NatsBus;
use crate::{
    bus::{Bus, PostgresBus},
    config::{BusKind, Settings},
    domain::secret::Password,
    flows::{Broker, BrokerSettings, Owner, PkcePolicy, WaiterLimits},
    http::{
        frame::Frame,
        health::{Check, Health},
        relay_listener::{RelayDoor, RelayListener},
        server::Tuning,
    },
    provider::{self, ProviderClient},
    relay::{Capacity, HandshakeLimits, Places, RelaySettings, RequestSettings},
    store::Store,
};

/// Connections beyond `relay.max_connections` that may be open, to shake hands or to be told that it is full.
const SHAKING_HANDS: usize = 1024;

pub(super) fn bus(
    settings: &Settings,
    database: PgConnectOptions,
    seams: &Seams,
    stop: &CancellationToken,
) -> Result<Bus> {
    let (entropy, stop) = (Arc::clone(&seams.entropy), stop.clone());
    match &settings.bus.kind {
        // Nobody else reaches a private database.
        BusKind::Postgres { url: None } if settings.database.url.is_none() => Ok(Bus::in_process()),
        BusKind::Postgres { url: None } => Ok(PostgresBus { database, entropy, stop }.start()),
        BusKind::Postgres { url: Some(url) } => {
            // The URL holds a password, so the cause is not told.
            let database = url.expose().parse().ok().context(
                "bus.url is no PostgreSQL URL; write it like postgres://user:password@host/database",
            )?;
            Ok(PostgresBus { database, entropy, stop }.start())
        }
        #[cfg(feature = "nats")]
        BusKind::Nats { url } => {
            let extra_roots = extra_roots(settings)?;
            Ok(NatsBus { url: url.clone(), extra_roots, entropy, stop }.start()?)
        }
        #[cfg(not(feature = "nats"))]
        BusKind::Nats { .. } => anyhow::bail!(
            "this binary was built without NATS; set bus.kind = \"postgres\", or build it with the feature nats"
        ),
    }
}

fn extra_roots(settings: &Settings) -> Result<Vec<u8>> {
    match &settings.egress.extra_roots {
        None => Ok(Vec::new()),
        Some(path) => std::fs::read(path)
            .with_context(|| format!("egress.extra_roots: {} can't be read", path.display())),
    }
}

pub(super) fn provider(settings: &Settings) -> Result<ProviderClient> {
    let roots = extra_roots(settings)?;
    Ok(ProviderClient::new(settings.egress.policy, provider::Limits::default(), &roots)?)
}

pub(super) fn broker_settings(settings: &Settings) -> BrokerSettings {
    let owner = settings.admin.password.as_ref().map(|password| Owner {
        user: settings.admin.user.clone(),
        password: Password::new(password.expose()),
    });
    BrokerSettings {
        public_url: settings.server.public_url.clone(),
        egress: settings.egress.policy,
        consent_binding: settings.consent.binding,
        flow_ttl: settings.flow.ttl.try_into().unwrap_or(time::Duration::minutes(10)),
        flows_per_device: settings.flow.pending_per_device,
        pkce_policy: if settings.flow.require_pkce { PkcePolicy::Required } else { PkcePolicy::Optional },
        owner,
        enrolment: settings.enrolment.policy,
        audit_retention: settings.audit.retention.try_into().unwrap_or(time::Duration::days(90)),
        refresh_margin: settings.refresh.margin.try_into().unwrap_or(time::Duration::minutes(2)),
        refresh_concurrency: settings.refresh.concurrency,
        waiters: WaiterLimits::within(settings.server.max_requests),
        access_token_life: settings.login.token.try_into().unwrap_or(time::Duration::hours(1)),
        openid: settings.login.openid.clone(),
        account_link: settings.account_link.clone(),
    }
}

pub(super) fn relay_settings(settings: &Settings) -> RelaySettings {
    RelaySettings {
        heartbeat: settings.relay.heartbeat,
        poll: settings.relay.poll,
        capacity: Capacity {
            per_device: settings.relay.connections_per_device,
            total: settings.relay.max_connections,
        },
        handshakes: HandshakeLimits {
            at_once: settings.relay.handshakes_at_once,
            waiting: settings.relay.handshakes_waiting,
            ..HandshakeLimits::default()
        },
        requests: RequestSettings {
            answer: settings.requests.answer,
            places: Places {
                total: settings.requests.in_flight,
                per_device: settings.requests.in_flight_per_device,
                per_slot: settings.requests.in_flight_per_slot,
            },
        },
        ..RelaySettings::default()
    }
}

/// The relay's own listener, where there is one.
pub(super) fn relay_listener(
    settings: &Settings,
    data: &HandlerData,
    frame: &Frame,
) -> Result<Option<RelayListener>> {
    let Some(address) = settings.relay.bind else { return Ok(None) };
    let tuning = Tuning::new(None, settings.server.max_connections, settings.server.drain);
    let door = RelayDoor {
        broker: data.broker.clone(),
        relay: data.relay.clone(),
        throttles: data.throttles.clone(),
        frame: frame.clone(),
        head: tuning.head,
        linger: tuning.linger,
        most: settings.relay.max_connections.saturating_add(SHAKING_HANDS),
    };
    let listener = RelayListener::bind(address, door)
        .with_context(|| format!("relay.bind: {address} can't be listened on"))?;
    Ok(Some(listener))
}

pub(super) fn checks(store: &Store, broker: &Broker) -> Vec<Check> {
    let (store, access) = (store.clone(), broker.access.clone());
    vec![
        Check::new("database", move || {
            let store = store.clone();
            async move { if store.ping().await.is_ok() { Health::Works } else { Health::Fails } }
        }),
        Check::new("signing_keys", move || {
            let ready = access.is_ready();
            async move { if ready { Health::Works } else { Health::Fails } }
        }),
    ]
}
