//! A started service: the same `Application` as `serve`, with a clock that tests can move.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, Ordering},
};

use cloudlink::{
    config::Settings,
    domain::clock::Clock as _,
    flows::Broker,
    seams::{SystemClock, SystemEntropy},
    startup::{Application, Seams},
};
use reqwest::Method;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{cluster::Database, within};

/// `server.public_url`: replicas behind one name, so none of them listens there.
pub(crate) const PUBLIC: &str = "http://127.0.0.1:9";
/// `vault.keys`.
pub(crate) const KEYS: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub(crate) const OWNER: (&str, &str) = ("owner", "a password for the owner");

/// The machine's clock, moved and stopped as a test wishes.
#[derive(Clone, Default)]
pub(crate) struct Clock {
    ahead: Arc<AtomicI64>,
    stopped: Arc<OnceLock<OffsetDateTime>>,
}

impl Clock {
    /// Moves the present.
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead.fetch_add(by.whole_milliseconds().try_into().unwrap(), Ordering::SeqCst);
    }

    /// From now on only `advance` moves the present, however long a test takes.
    pub(crate) fn stop(&self) {
        self.stopped.get_or_init(|| SystemClock.now());
    }
}

impl cloudlink::domain::clock::Clock for Clock {
    fn now(&self) -> OffsetDateTime {
        let present = self.stopped.get().copied().unwrap_or_else(|| SystemClock.now());
        present + Duration::milliseconds(self.ahead.load(Ordering::SeqCst))
    }
}

/// A running service.
pub(crate) struct Service {
    /// `http://127.0.0.1:PORT` of the public listener.
    pub(crate) url: String,
    /// The same of the operator's listener.
    pub(crate) admin_url: String,
    /// The same of the relay's own listener.
    pub(crate) relay_url: String,
    /// Its database.
    pub(crate) database: Arc<Database>,
    /// Its clock; replicas share it.
    pub(crate) clock: Clock,
    http: reqwest::Client,
    settings: Vec<(String, String)>,
    broker: Option<Broker>,
    stop: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

/// An answer, read whole.
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: u16,
    /// Its headers.
    pub(crate) headers: reqwest::header::HeaderMap,
    /// Its body; `Null` where it is no JSON.
    pub(crate) json: Value,
    /// Its body as text.
    pub(crate) text: String,
}

impl Service {
    /// With the defaults, on a fresh database.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With settings of the form `("CONSENT__BINDING", "code")`.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let ring = cloudlink::vault::ring::KeyRing::parse([KEYS]).unwrap();
        let database =
            Database::fresh(async |pool| cloudlink::store::migrate(pool, &ring, &SystemEntropy).await).await;
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::on(Arc::new(database), Clock::default(), settings).await
    }

    /// On a database that exists, as empty as it may be.
    pub(crate) async fn at(database: Database, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::on(Arc::new(database), Clock::default(), settings).await
    }

    /// Another replica: the same database, clock and settings.
    pub(crate) async fn replica(&self) -> Self {
        Self::on(Arc::clone(&self.database), self.clock.clone(), self.settings.clone()).await
    }

    /// Another replica, with these settings changed.
    pub(crate) async fn replica_with(&self, settings: &[(&str, &str)]) -> Self {
        let settings = self.changed(settings);
        Self::on(Arc::clone(&self.database), self.clock.clone(), settings).await
    }

    /// What is driven from here and runs elsewhere: a process of its own, at these addresses.
    pub(crate) fn elsewhere(
        &self,
        [url, admin_url, relay_url]: [String; 3],
        settings: &[(&str, &str)],
    ) -> Self {
        Self {
            url,
            admin_url,
            relay_url,
            database: Arc::clone(&self.database),
            clock: Clock::default(),
            http: client(),
            settings: self.changed(settings),
            broker: None,
            stop: CancellationToken::new(),
            running: None,
        }
    }

    fn changed(&self, changes: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut settings = self.settings.clone();
        settings.retain(|(key, _)| changes.iter().all(|(other, _)| other != key));
        settings.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        settings
    }

    async fn on(database: Arc<Database>, clock: Clock, settings: Vec<(String, String)>) -> Self {
        let parsed = Settings::load(None, environment(&database.url, &settings)).unwrap();
        let seams = Seams { clock: Arc::new(clock.clone()), entropy: Arc::new(SystemEntropy), metrics: None };
        let application = Application::build(&parsed, seams).await.unwrap();
        let url = format!("http://{}", application.public_addr());
        let admin_url = format!("http://{}", application.admin_addr());
        let relay_url = format!("http://{}", application.relay_addr().unwrap());
        let broker = Some(application.broker().clone());
        let stop = CancellationToken::new();
        let running = Some(tokio::spawn(application.run(stop.clone())));
        Self { url, admin_url, relay_url, database, clock, http: client(), settings, broker, stop, running }
    }

    /// The broker of a service in this process.
    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("a service in this process")
    }

    /// Stops as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            within("the stop", running).await.unwrap().unwrap();
        }
    }

    /// Stops, and starts on the same database.
    pub(crate) async fn restart(self) -> Self {
        let (database, clock, settings) =
            (Arc::clone(&self.database), self.clock.clone(), self.settings.clone());
        self.stop().await;
        Self::on(database, clock, settings).await
    }

    /// The present of this service.
    pub(crate) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// A request to the public listener.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// A request to the operator's listener.
    pub(crate) fn admin(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.admin_url))
    }

    /// A request as the owner.
    pub(crate) async fn owner(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let request = self.request(method, path).basic_auth(OWNER.0, Some(OWNER.1));
        Reply::of(with_json(request, body)).await
    }

    /// `server.public_url` of this service.
    pub(crate) fn public_url(&self) -> &str {
        let set = self.settings.iter().find(|(key, _)| key == "SERVER__PUBLIC_URL");
        set.map_or(PUBLIC, |(_, value)| value)
    }

    /// The environment of a `cloudlink` process on the same database.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        environment(&self.database.url, &self.settings)
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // A browser waits through an outage of half a minute.
        .timeout(if super::long() { 5 * super::PATIENCE } else { super::PATIENCE })
        .build()
        .unwrap()
}

/// Adds a JSON body, where there is one.
pub(crate) fn with_json(request: reqwest::RequestBuilder, body: Option<Value>) -> reqwest::RequestBuilder {
    match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    }
}

impl Reply {
    /// Sends a request and reads the answer.
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        Self { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    /// The JSON, if the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn environment(database: &str, settings: &[(String, String)]) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = [
        ("SERVER__BIND", "127.0.0.1:0"),
        ("SERVER__PUBLIC_URL", PUBLIC),
        ("SERVER__WORKERS", "2"),
        ("SERVER__DRAIN_SECONDS", "5"),
        ("ADMIN__BIND", "127.0.0.1:0"),
        ("ADMIN__USER", OWNER.0),
        ("ADMIN__PASSWORD", OWNER.1),
        ("DATABASE__URL", database),
        ("VAULT__KEYS", KEYS),
        ("EGRESS__ALLOW_PRIVATE", "true"),
        ("RELAY__BIND", "127.0.0.1:0"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    environment.retain(|(key, _)| settings.iter().all(|(other, _)| other != key));
    environment.extend(settings.iter().cloned());
    environment.into_iter().map(|(key, value)| (format!("CLOUDLINK__{key}"), value)).collect()
}
