//! Putting the service together, running it, and ending it so that nobody loses anything.
//!
//! `main` and the tests build the same [`Application`]. It stops in this order: not ready any more; relay
//! connections are told and closed, polls answered; requests under way finish; exchanges under way are stored;
//! then the sweep, the bus and the database end.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix_web::{dev::ServerHandle, web};
use anyhow::{Context as _, Result};
use sqlx::{PgPool, postgres::PgConnectOptions, postgres::PgPoolOptions};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bus::{Bus, PostgresBus},
    cluster::{Cluster, ClusterSettings, DATABASE, Durability, default_data_dir},
    config::{BusKind, Settings},
    domain::{
        clock::{Clock, Entropy},
        secret::{Password, SecretValue},
    },
    flows::{Broker, BrokerSettings, Owner, Parts, PkcePolicy, keep_access_fresh, sweep},
    http::{
        self,
        frame::{Frame, Limits},
        health::{Check, Health, Readiness},
        server::{Tuning, listen},
        throttle::Throttles,
    },
    provider::{self, ProviderClient},
    relay::{Capacity, Relay, RelayParts, RelaySettings},
    seams::{SystemClock, SystemEntropy},
    store::{self, Store},
    telemetry::Metrics,
    vault::{password::PasswordHasher, ring::KeyRing},
};

/// Password hashes computed at once: each takes 19 MiB and most of a core.
const HASHES_AT_ONCE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
/// For a connection to the database to be free.
const DATABASE_PATIENCE: Duration = Duration::from_secs(5);
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
    relay: Relay,
    readiness: Readiness,
    servers: Vec<actix_web::dev::Server>,
    public: SocketAddr,
    admin: SocketAddr,
    stop_background: CancellationToken,
    stop_relay: CancellationToken,
    drain: Duration,
    cluster: Option<Cluster>,
}

impl Application {
    /// Connects to the database, or starts the private one; migrates it; binds the listeners.
    ///
    /// # Errors
    /// In words for the operator, with what to do.
    pub async fn build(settings: &Settings, seams: Seams) -> Result<Self> {
        let ring = KeyRing::parse(settings.vault.keys.iter().map(SecretValue::expose))?;
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
        let pool = connect(&options, settings.database.max_connections).await?;
        store::migrate(&pool, &ring, &*seams.entropy).await?;
        let store = Store::new(pool, Arc::clone(&ring), Arc::clone(&seams.entropy));

        let stop_background = CancellationToken::new();
        let bus = bus(settings, options, &seams, &stop_background)?;
        let provider = provider(settings)?;
        let broker = Broker::new(Parts {
            store: store.clone(),
            ring,
            bus: bus.clone(),
            provider,
            passwords: PasswordHasher::new(HASHES_AT_ONCE),
            clock: Arc::clone(&seams.clock),
            entropy: Arc::clone(&seams.entropy),
            settings: broker_settings(settings),
            runtime: Handle::current(),
        });
        broker.prepare_access().await?;

        let stop_relay = CancellationToken::new();
        let relay = Relay::new(RelayParts {
            source: Arc::new(store.clone()),
            bus,
            settings: relay_settings(settings),
            public_url: Arc::new(settings.server.public_url.clone()),
            clock: Arc::clone(&seams.clock),
            entropy: Arc::clone(&seams.entropy),
            drain: stop_relay.clone(),
        });
        let readiness = Readiness::new(checks(&store, &broker), READINESS_PATIENCE);
        let frame = Frame {
            public_url: settings.server.public_url.clone(),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            entropy: Arc::clone(&seams.entropy),
            limits: Limits::default(),
        };
        let data = HandlerData {
            broker: web::Data::new(broker.clone()),
            relay: web::Data::new(relay.clone()),
            readiness: web::Data::new(readiness.clone()),
            throttles: web::Data::new(Throttles::default()),
            metrics: seams.metrics.map(web::Data::new),
        };

        let server = &settings.server;
        let tuning = Tuning::new(server.workers, server.max_connections, server.drain);
        let routes = data.clone();
        let public = listen(server.bind, frame.clone(), tuning, move |config| routes.public(config))
            .with_context(|| format!("server.bind: {} can't be listened on", server.bind))?;
        let tuning = Tuning { workers: Some(1), ..tuning };
        let admin = listen(settings.admin.bind, frame, tuning, move |config| data.admin(config))
            .with_context(|| format!("admin.bind: {} can't be listened on", settings.admin.bind))?;
        Ok(Self {
            broker,
            relay,
            readiness,
            public: public.address,
            admin: admin.address,
            servers: vec![public.server, admin.server],
            stop_background,
            stop_relay,
            drain: settings.server.drain,
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

    /// The broker, for who runs in the same process.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Serves until `stop` is cancelled, then drains. An error where the private database ends by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let tasks = TaskTracker::new();
        tasks.spawn(keep_access_fresh(self.broker.clone(), self.stop_background.clone()));
        tasks.spawn(sweep(self.broker.clone(), self.stop_background.clone()));
        let relay = self.relay.clone();
        let stop_background = self.stop_background.clone();
        tasks.spawn(async move {
            stop_background.run_until_cancelled_owned(relay.poll_slowly()).await;
        });
        let handles: Vec<ServerHandle> = self.servers.iter().map(actix_web::dev::Server::handle).collect();
        let mut servers: Vec<_> = self.servers.into_iter().map(tokio::spawn).collect();
        tracing::info!(public = %self.public, admin = %self.admin, "serving");

        let mut cluster = self.cluster;
        let lost = tokio::select! {
            () = stop.cancelled() => None,
            error = cluster_ended(cluster.as_mut()) => Some(error),
        };

        tracing::info!("draining");
        self.readiness.drain();
        self.stop_relay.cancel();
        let drained = async {
            self.relay.drained().await;
            futures_util::future::join_all(handles.iter().map(|handle| handle.stop(true))).await;
            for server in servers.drain(..) {
                // A server that failed has nothing left to drain.
                let _ = server.await;
            }
            self.broker.finish_exchanges().await;
        };
        // The servers bound their own part by the same time; exchanges may take a little longer.
        if tokio::time::timeout(self.drain + Duration::from_secs(15), drained).await.is_err() {
            tracing::warn!(
                "some work did not end in time; what it left behind is taken up at the next start"
            );
        }
        self.stop_background.cancel();
        tasks.close();
        tasks.wait().await;
        self.broker.store.pool().close().await;
        match (lost, cluster) {
            (Some(error), _) => Err(error.into()),
            (None, Some(cluster)) => Ok(cluster.stop().await?),
            (None, None) => Ok(()),
        }
    }
}

/// `serve`: runs until SIGTERM or SIGINT.
pub async fn serve(settings: &Settings) -> Result<()> {
    settings.fit_to_serve()?;
    if settings.admin.password.is_none() {
        tracing::warn!("admin.password is not set: nobody can log in as the owner");
    }
    let metrics = Metrics::install()?;
    raise_limits();
    let application = Application::build(settings, Seams::of_this_machine(Some(metrics))).await?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    application.run(stop).await
}

/// `migrate`: brings the database up to date and ends. Safe when several start at once.
pub async fn migrate(settings: &Settings) -> Result<()> {
    let ring = KeyRing::parse(settings.vault.keys.iter().map(SecretValue::expose))?;
    let (options, cluster) = database(settings).await?;
    let migrated = async {
        let pool = connect(&options, 2).await?;
        let done = store::migrate(&pool, &ring, &SystemEntropy).await;
        pool.close().await;
        Ok::<_, anyhow::Error>(done?)
    }
    .await;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    migrated
}

/// Cancels `stop` at the first SIGTERM or SIGINT.
pub async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind| match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(error) => {
            tracing::error!(%error, "signals can't be heard");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
    stop.cancel();
}

/// Where the private database of `settings` lives.
pub fn cluster_folder(data_dir: Option<&Path>) -> PathBuf {
    data_dir.map_or_else(default_data_dir, Path::to_path_buf).join("postgres")
}

async fn database(settings: &Settings) -> Result<(PgConnectOptions, Option<Cluster>)> {
    if let Some(url) = &settings.database.url {
        // The URL holds a password, so the cause is not told.
        let options = url.expose().parse().ok().context(
            "database.url is no PostgreSQL URL; write it like postgres://user:password@host/database",
        )?;
        return Ok((options, None));
    }
    let data_dir = cluster_folder(settings.database.data_dir.as_deref());
    let max_connections =
        u16::try_from(settings.database.max_connections).unwrap_or(u16::MAX).saturating_add(10);
    let cluster =
        Cluster::start(&ClusterSettings { data_dir, durability: Durability::Full, max_connections }).await?;
    let options = cluster.url(DATABASE).parse().context("the private PostgreSQL has no usable address")?;
    Ok((options, Some(cluster)))
}

async fn connect(options: &PgConnectOptions, max_connections: u32) -> Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(DATABASE_PATIENCE)
        .connect_with(options.clone())
        .await
        .context("the database can't be reached; check database.url and that the server runs")
}

fn bus(
    settings: &Settings,
    database: PgConnectOptions,
    seams: &Seams,
    stop: &CancellationToken,
) -> Result<Bus> {
    match &settings.bus.kind {
        // Nobody else reaches a private database.
        BusKind::Postgres if settings.database.url.is_none() => Ok(Bus::in_process()),
        BusKind::Postgres => {
            Ok(PostgresBus { database, entropy: Arc::clone(&seams.entropy), stop: stop.clone() }.start())
        }
        BusKind::Nats { .. } => {
            anyhow::bail!("this binary was built without NATS; set bus.kind = \"postgres\"")
        }
    }
}

fn provider(settings: &Settings) -> Result<ProviderClient> {
    let roots = match &settings.egress.extra_roots {
        None => Vec::new(),
        Some(path) => std::fs::read(path)
            .with_context(|| format!("egress.extra_roots: {} can't be read", path.display()))?,
    };
    Ok(ProviderClient::new(settings.egress.policy, provider::Limits::default(), &roots)?)
}

fn broker_settings(settings: &Settings) -> BrokerSettings {
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
        access_token_life: settings.login.token.try_into().unwrap_or(time::Duration::hours(1)),
    }
}

fn relay_settings(settings: &Settings) -> RelaySettings {
    RelaySettings {
        heartbeat: settings.relay.heartbeat,
        poll: settings.relay.poll,
        capacity: Capacity {
            per_device: settings.relay.connections_per_device,
            total: settings.relay.max_connections,
        },
        ..RelaySettings::default()
    }
}

fn checks(store: &Store, broker: &Broker) -> Vec<Check> {
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

/// What handlers are given.
#[derive(Clone)]
struct HandlerData {
    broker: web::Data<Broker>,
    relay: web::Data<Relay>,
    readiness: web::Data<Readiness>,
    throttles: web::Data<Throttles>,
    metrics: Option<web::Data<Metrics>>,
}

impl HandlerData {
    fn give(&self, config: &mut web::ServiceConfig) {
        config
            .app_data(self.broker.clone())
            .app_data(self.relay.clone())
            .app_data(self.readiness.clone())
            .app_data(self.throttles.clone());
    }

    fn public(&self, config: &mut web::ServiceConfig) {
        self.give(config);
        http::public_routes(config);
    }

    fn admin(&self, config: &mut web::ServiceConfig) {
        self.give(config);
        http::admin_routes(config);
        if let Some(metrics) = &self.metrics {
            config.app_data(metrics.clone()).route("/metrics", web::get().to(render_metrics));
        }
    }
}

async fn render_metrics(metrics: web::Data<Metrics>) -> actix_web::HttpResponse {
    actix_web::HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics.render())
}

/// Pending until the private database ends by itself, if there is one.
async fn cluster_ended(cluster: Option<&mut Cluster>) -> crate::cluster::ClusterError {
    match cluster {
        Some(cluster) => cluster.ended().await,
        None => std::future::pending().await,
    }
}

fn raise_limits() {
    match http::server::raise_open_files() {
        Ok(Some(limit)) => tracing::info!(limit, "open files"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files could not be raised"),
    }
}
