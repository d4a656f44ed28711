//! The application: built once, run once, ended in order.
//!
//! It stops in this order: not ready any more, which a balancer is given time to see; the listeners close; relay
//! connections are told and closed, polls answered; requests under way finish; exchanges and refreshes under way are
//! stored; then the sweep, the bus and the database's connections end. All of it takes no longer than
//! `server.drain_seconds`; the private database ends after that, and takes a time of its own.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use actix_web::{dev::ServerHandle, web};
use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use tokio::{runtime::Handle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    bounds::Bounds,
    database::{connect, database, serving_pool},
    handlers::HandlerData,
    parts,
    stopping::{LAST_MOMENT, Stopping},
    vault_ring,
};
use crate::{
    bus::Bus,
    cluster::Cluster,
    config::Settings,
    domain::{
        clock::{Clock, Entropy},
        plugin::MAX_DOCUMENT,
    },
    flows::{Broker, Parts, WebhookRates, keep_access_fresh, keep_tokens_fresh, sweep},
    http::{
        account_link::AccountLinkSockets,
        frame::{Frame, Limits},
        health::Readiness,
        load::Load,
        relay_listener::RelayListener,
        server::{ListeningSocket, Tuning, listen},
        throttle::Throttles,
    },
    relay::{Relay, RelayParts},
    seams::{SystemClock, SystemEntropy},
    store::{self, Store},
    telemetry::Metrics,
    vault::{password::PasswordHasher, ring::KeyRing},
};

/// Password hashes computed at once: each takes 19 MiB and most of a core.
const HASHES_AT_ONCE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
/// Connections for the migrations: one works, one looks.
const MIGRATING: u32 = 2;
/// For connections that are being opened when nobody is let in any more.
const LAST_HANDSHAKES: Duration = Duration::from_millis(100);
/// For the threads that accept to let go of their sockets: one that is late meets a closed one, and logs that.
const PAUSING: Duration = Duration::from_millis(20);
/// Between the closing of the sockets and the stop of who serves behind it.
const LAST_ARRIVALS: Duration = Duration::from_millis(500);
/// For one readiness check.
const READINESS_PATIENCE: Duration = Duration::from_secs(2);

/// What the outside world hands in: tests hand in their own.
pub struct Seams {
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Renders `/metrics`, where metrics are recorded.
    pub metrics: Option<Metrics>,
}

impl Seams {
    /// The machine's own clock and generator.
    pub fn of_this_machine(metrics: Option<Metrics>) -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), metrics }
    }
}

/// A service that is ready to run: its listeners are bound, its database is migrated.
pub struct Application {
    broker: Broker,
    bus: Bus,
    relay: Relay,
    readiness: Readiness,
    servers: Vec<actix_web::dev::Server>,
    relay_listener: Option<RelayListener>,
    sockets: Vec<ListeningSocket>,
    public: SocketAddr,
    admin: SocketAddr,
    stop_background: CancellationToken,
    stop_sweep: CancellationToken,
    stop_relay: CancellationToken,
    drain: Duration,
    drain_delay: Duration,
    cluster: Option<Cluster>,
}

impl Application {
    /// Connects to the database, or starts the private one; migrates it; binds the listeners.
    ///
    /// # Errors
    /// In words for the operator, with what to do.
    pub async fn build(settings: &Settings, seams: Seams) -> Result<Self> {
        let ring = vault_ring(settings).await?;
        let (options, cluster) = database(settings).await?;
        match Self::on_database(settings, seams, Arc::new(ring), options).await {
            Ok(application) => Ok(Self { cluster, ..application }),
            Err(error) => {
                if let Some(cluster) = cluster {
                    // The first error is the one to tell.
                    let _ = cluster.stop().await;
                }
                Err(error)
            }
        }
    }

    async fn on_database(
        settings: &Settings,
        seams: Seams,
        ring: Arc<KeyRing>,
        options: PgConnectOptions,
    ) -> Result<Self> {
        // A migration may take its time, and waits for another replica's.
        let unhurried = connect(&options, MIGRATING).await?;
        store::migrate(&unhurried, &ring, &*seams.entropy).await?;
        unhurried.close().await;
        let (pool, patience) = serving_pool(options.clone(), &settings.database);
        let store = Store::new(pool, patience, Arc::clone(&ring), Arc::clone(&seams.entropy));

        let stop_background = CancellationToken::new();
        let bus = parts::bus(settings, options, &seams, &stop_background)?;
        let provider = parts::provider(settings)?;
        let broker = Broker::new(Parts {
            store: store.clone(),
            ring,
            bus: bus.clone(),
            provider,
            passwords: PasswordHasher::new(HASHES_AT_ONCE),
            clock: Arc::clone(&seams.clock),
            entropy: Arc::clone(&seams.entropy),
            settings: parts::broker_settings(settings),
            runtime: Handle::current(),
        });
        broker.prepare_access().await?;

        let stop_relay = CancellationToken::new();
        let relay = Relay::new(RelayParts {
            source: Arc::new(store.clone()),
            mailbox: Arc::new(store.clone()),
            bus: bus.clone(),
            settings: parts::relay_settings(settings),
            public_url: Arc::new(settings.server.public_url.clone()),
            clock: Arc::clone(&seams.clock),
            entropy: Arc::clone(&seams.entropy),
            drain: stop_relay.clone(),
        });
        let readiness = Readiness::new(parts::checks(&store, &broker), READINESS_PATIENCE);
        let frame = Frame {
            public_url: settings.server.public_url.clone(),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            entropy: Arc::clone(&seams.entropy),
            limits: Limits::default(),
            load: Load::new("public", settings.server.max_requests),
        };
        let broker_data = web::Data::new(broker.clone());
        let throttles = web::Data::new(Throttles::default());
        let webhook_rates = web::Data::new(WebhookRates::new(
            settings.requests.per_minute_per_network,
            settings.requests.per_minute_per_slot,
        ));
        let metrics = seams.metrics.map(|metrics| {
            let bounds = Bounds::new(broker_data.clone(), throttles.clone(), webhook_rates.clone());
            (web::Data::new(metrics), web::Data::new(bounds))
        });
        let data = HandlerData {
            broker: broker_data,
            relay: web::Data::new(relay.clone()),
            readiness: web::Data::new(readiness.clone()),
            throttles,
            account_link: web::Data::new(AccountLinkSockets::new(
                settings.relay.heartbeat,
                settings.relay.poll,
                stop_relay.clone(),
            )),
            webhook_rates,
            webhook_bodies: web::Data::default(),
            metrics,
        };

        let relay_listener = parts::relay_listener(settings, &data, &frame)?;
        let server = &settings.server;
        let requests = server.drain.saturating_sub(server.drain_delay + 2 * LAST_MOMENT);
        let tuning = Tuning::new(server.workers, server.max_connections, requests);
        let routes = data.clone();
        let public = listen(server.bind, frame.clone(), tuning, move |config| routes.public(config))
            .with_context(|| format!("server.bind: {} can't be listened on", server.bind))?;
        let tuning = Tuning { workers: Some(1), ..tuning };
        // A form of the console holds a whole configuration, each quotation mark of it as three bytes.
        let limits = Limits { body_bytes: 4 * MAX_DOCUMENT, ..frame.limits };
        let frame = Frame { limits, load: Load::new("admin", settings.server.max_requests), ..frame };
        let admin = listen(settings.admin.bind, frame, tuning, move |config| data.admin(config))
            .with_context(|| format!("admin.bind: {} can't be listened on", settings.admin.bind))?;
        Ok(Self {
            broker,
            bus,
            relay,
            readiness,
            public: public.address,
            admin: admin.address,
            servers: vec![public.server, admin.server],
            relay_listener,
            sockets: vec![public.socket, admin.socket],
            stop_background,
            stop_sweep: CancellationToken::new(),
            stop_relay,
            drain: settings.server.drain,
            drain_delay: settings.server.drain_delay,
            cluster: None,
        })
    }

    /// Where the public listener waits.
    pub fn public_addr(&self) -> SocketAddr {
        self.public
    }

    /// Where the operator's listener waits.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Where the relay's own listener waits, if there is one.
    pub fn relay_addr(&self) -> Option<SocketAddr> {
        self.relay_listener.as_ref().map(RelayListener::address)
    }

    /// The broker, for who runs in the same process.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The bus, for who runs in the same process.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Serves until `stop` is cancelled, then drains. An error where the private database ends by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let tasks = TaskTracker::new();
        let sweeps = TaskTracker::new();
        sweeps.spawn(sweep(self.broker.clone(), self.stop_sweep.clone()));
        sweeps.spawn(keep_tokens_fresh(self.broker.clone(), self.stop_sweep.clone()));
        tasks.spawn(keep_access_fresh(self.broker.clone(), self.stop_background.clone()));
        let relay = self.relay.clone();
        let stop_background = self.stop_background.clone();
        tasks.spawn(async move {
            stop_background.run_until_cancelled_owned(relay.poll_slowly()).await;
        });
        tasks.spawn(self.relay.clone().carry_requests());
        let handles: Vec<ServerHandle> = self.servers.iter().map(actix_web::dev::Server::handle).collect();
        let mut servers: Vec<_> = self.servers.into_iter().map(tokio::spawn).collect();
        match self.relay_listener {
            None => tracing::info!(public = %self.public, admin = %self.admin, "serving"),
            Some(listener) => {
                let relay = listener.address();
                tracing::info!(public = %self.public, admin = %self.admin, %relay, "serving");
                tasks.spawn(listener.run(self.stop_relay.clone()));
            }
        }

        let mut cluster = self.cluster;
        let lost = tokio::select! {
            () = stop.cancelled() => None,
            error = cluster_ended(cluster.as_mut()) => Some(error),
        };

        self.readiness.drain();
        tracing::info!("draining");
        let stopping = Stopping::within(self.drain, Instant::now());
        if lost.is_none() {
            // Until the balancer has looked it sends more, which is served as ever.
            stopping.pause(self.drain_delay).await;
        }
        // Nobody waits at a socket that is about to close.
        self.sockets.iter().for_each(ListeningSocket::turn_away);
        stopping.pause(LAST_HANDSHAKES).await;
        futures_util::future::join_all(handles.iter().map(ServerHandle::pause)).await;
        stopping.pause(PAUSING).await;
        self.sockets.iter().for_each(ListeningSocket::close);
        self.stop_relay.cancel();
        let drained = async {
            // Until workers have begun with whoever came in last.
            tokio::join!(self.relay.drained(), tokio::time::sleep(LAST_ARRIVALS));
            futures_util::future::join_all(handles.iter().map(|handle| handle.stop(true))).await;
            for server in servers.drain(..) {
                // A server that failed has nothing left to drain.
                let _ = server.await;
            }
            // Nobody may start an exchange or a refresh any more before the last one is waited for.
            self.stop_sweep.cancel();
            sweeps.close();
            sweeps.wait().await;
            self.broker.finish_exchanges().await;
        };
        if !stopping.work(drained).await {
            tracing::warn!(
                "some work did not end in time; what it left behind is taken up by another replica, or at the \
                 next start"
            );
        }
        self.stop_background.cancel();
        tasks.close();
        // Someone at the relay's listener may still take a refusal or wait for the database; the process ends that.
        stopping.tasks(tasks.wait()).await;
        let connections = async {
            self.bus.stopped().await;
            self.broker.store.close().await;
        };
        // What did not end in time may hold one, and the process ends it.
        stopping.connections(connections).await;
        match (lost, cluster) {
            (Some(error), _) => Err(error.into()),
            (None, Some(cluster)) => Ok(cluster.stop().await?),
            (None, None) => Ok(()),
        }
    }
}

/// Pending until the private database ends by itself, if there is one.
async fn cluster_ended(cluster: Option<&mut Cluster>) -> crate::cluster::ClusterError {
    match cluster {
        Some(cluster) => cluster.ended().await,
        None => std::future::pending().await,
    }
}
