//! Knocks between replicas over NATS, for systems with more of them than NOTIFY carries (`docs/scale.md`).
//!
//! One connection a replica, one core subject that all of them publish on and listen to: no message is stored,
//! and nothing is subscribed anew when devices come and go. What the library would do by itself, it is kept from:
//! a connection that is lost is given up whole and made anew here, with bounded backoff and full jitter, so that
//! a stop ends everything. After every reconnect everybody is told to look at everything. Knocks wait in a bounded
//! queue meanwhile; what does not fit is dropped and the slow poll finds it.

use std::{error::Error, sync::Arc, time::Duration};

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, Subscriber};
use futures_util::StreamExt as _;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Bus, FAREWELL, GOOD, RETRIES,
    doorbell::Doorbells,
    incoming::Incoming,
    outgoing::{Queue, queue},
    payload::Origin,
};
use crate::domain::{
    clock::Entropy,
    nats_url::{NatsLogin, NatsUrl},
    secret::SecretValue,
};

/// The subject of all knocks.
const SUBJECT: &str = "cloudlink.knock";

/// For one server to take a connection.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// For one of several to do so, and for a message of ours to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between signs of life; the third that stays without an answer ends the connection.
const SILENCE: Duration = Duration::from_secs(10);
/// Knocks that the library holds on their way out.
const UNDER_WAY: usize = 256;

/// What the bus needs to reach the other replicas.
pub struct NatsBus {
    /// The servers, and who we are there.
    pub url: NatsUrl,
    /// Certificate authorities to trust besides the usual ones, in PEM; may be empty.
    pub extra_roots: Vec<u8>,
    /// Spreads reconnects, and names this replica.
    pub entropy: Arc<dyn Entropy>,
    /// Ends the connection when cancelled.
    pub stop: CancellationToken,
}

/// The bus can't be made of these settings.
#[derive(Debug, thiserror::Error)]
pub enum NatsBusError {
    /// A server has no usable address.
    #[error("a server in bus.url has no usable address")]
    Address(#[source] std::io::Error),
    /// The extra roots are no certificates.
    #[error("the certificate authorities for NATS are no PEM certificates")]
    Roots,
    /// TLS can't be set up.
    #[error("TLS for NATS can't be set up")]
    Tls(#[source] rustls::Error),
}

/// Why knocks of others are not heard.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error("NATS refuses the name and password, the token or the key in bus.url")]
    Refused,
    #[error("no NATS server of bus.url can be reached")]
    Away(#[source] ConnectError),
    #[error("no NATS server of bus.url answers")]
    Silent,
    #[error(
        "a message of ours did not come back from NATS; its user must be allowed to publish and subscribe on {SUBJECT}"
    )]
    Unheard,
    #[error("the connection to NATS was lost")]
    Lost,
}

impl Interruption {
    fn tell(&self) {
        let error: &(dyn Error + 'static) = self;
        tracing::warn!(error, "knocks of other replicas are not heard; the slow poll goes on");
    }
}

impl NatsBus {
    /// Starts the task that connects. Fails for settings alone: while NATS is away only latency suffers.
    pub fn start(self) -> Result<Bus, NatsBusError> {
        let Self { url, extra_roots, entropy, stop } = self;
        let servers = url.servers().iter().cloned().map(ServerAddr::from_url);
        let servers = servers.collect::<Result<Vec<_>, _>>().map_err(NatsBusError::Address)?;
        let (bells, (outgoing, queue)) = (Arc::<Doorbells>::default(), queue());
        let origin = Origin::draw(entropy.as_ref());
        let incoming = Incoming::new(origin.clone(), Arc::clone(&bells));
        let line = Line {
            servers,
            login: url.login().clone(),
            tls: tls(&extra_roots)?,
            origin,
            incoming,
            queue,
            stop,
        };
        let tasks = TaskTracker::new();
        tasks.spawn(line.keep(entropy));
        Ok(Bus::new(bells, outgoing, tasks))
    }
}

fn tls(extra_roots: &[u8]) -> Result<ClientConfig, NatsBusError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(extra_roots) {
        roots.add(certificate.map_err(|_| NatsBusError::Roots)?).map_err(|_| NatsBusError::Roots)?;
    }
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let config = config.with_safe_default_protocol_versions().map_err(NatsBusError::Tls)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The way to NATS, whether there is a connection or not.
struct Line {
    servers: Vec<ServerAddr>,
    login: NatsLogin,
    tls: ClientConfig,
    origin: Origin,
    incoming: Incoming,
    queue: Queue,
    stop: CancellationToken,
}

/// A connection on which others are heard.
struct Connection {
    client: Client,
    knocks: Subscriber,
    lost: CancellationToken,
}

impl Line {
    /// Connects, again and again, until told to stop.
    async fn keep(mut self, entropy: Arc<dyn Entropy>) {
        let (stop, mut backoff) = (self.stop.clone(), RETRIES);
        loop {
            let interruption = match stop.run_until_cancelled(self.connect()).await {
                None => return,
                Some(Ok(connection)) => {
                    let opened = Instant::now();
                    let Some(interruption) = self.carry(connection).await else { return };
                    if opened.elapsed() >= GOOD {
                        backoff.reset();
                    }
                    interruption
                }
                Some(Err(interruption)) => interruption,
            };
            interruption.tell();
            if stop.run_until_cancelled(sleep(backoff.wait(entropy.as_ref()))).await.is_none() {
                return;
            }
        }
    }

    /// A connection, proven by a message of ours that comes back: the server takes what we send in its order, so
    /// what others send is heard from then on.
    async fn connect(&self) -> Result<Connection, Interruption> {
        let lost = CancellationToken::new();
        let connecting = self.options(lost.clone()).connect(self.servers.as_slice());
        let client = timeout(PATIENCE, connecting).await.map_err(|_| Interruption::Silent)?;
        let client = client.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                Interruption::Refused
            }
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Tls
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => Interruption::Away(error),
        })?;
        let mut knocks = client.subscribe(SUBJECT).await.map_err(|_| Interruption::Lost)?;
        let hello = self.origin.name().to_owned().into();
        client.publish(SUBJECT, hello).await.map_err(|_| Interruption::Lost)?;
        let back = async {
            while let Some(message) = knocks.next().await {
                if *message.payload == *self.origin.name().as_bytes() {
                    return Ok(());
                }
            }
            Err(Interruption::Lost)
        };
        let back = timeout(PATIENCE, lost.run_until_cancelled(back)).await;
        back.ok().flatten().ok_or(Interruption::Unheard)??;
        Ok(Connection { client, knocks, lost })
    }

    fn options(&self, lost: CancellationToken) -> ConnectOptions {
        let exposed = |secret: &SecretValue| secret.expose().to_owned();
        let options = match &self.login {
            NatsLogin::Nobody => ConnectOptions::new(),
            NatsLogin::Password(name, password) => {
                ConnectOptions::with_user_and_password(exposed(name), exposed(password))
            }
            NatsLogin::Token(token) => ConnectOptions::with_token(exposed(token)),
            NatsLogin::Key(seed) => ConnectOptions::with_nkey(exposed(seed)),
        };
        options
            .name("cloudlink")
            .tls_client_config(self.tls.clone())
            .connection_timeout(HANDSHAKE)
            .ping_interval(SILENCE)
            .client_capacity(UNDER_WAY)
            .ignore_discovered_servers()
            // As many attempts as to begin with; then it is our turn.
            .max_reconnects(self.servers.len())
            .reconnect_delay_callback(|_| Duration::ZERO)
            .event_callback(move |event| {
                // Not what it says while it connects, which fails by itself.
                if !matches!(event, Event::Connected | Event::ClientError(_)) {
                    lost.cancel();
                }
                std::future::ready(())
            })
    }

    /// Rings for what comes and sends what waits, until the connection is lost; none at a stop, and once nobody
    /// can knock any more.
    async fn carry(&mut self, connection: Connection) -> Option<Interruption> {
        let Connection { client, mut knocks, lost } = connection;
        tokio::select! {
            () = lost.cancelled() => Some(Interruption::Lost),
            () = hear(&mut knocks, &self.incoming) => Some(Interruption::Lost),
            sent = send(&client, &self.origin, &mut self.queue) => sent.err(),
            never = self.incoming.connected() => match never {},
            () = self.stop.cancelled() => {
                self.queue.close();
                let farewell = async {
                    send(&client, &self.origin, &mut self.queue).await?;
                    client.flush().await.map_err(|_| Interruption::Lost)
                };
                // Whoever does not get these in time finds the changes by the slow poll.
                let _ = timeout(FAREWELL, farewell).await;
                None
            }
        }
    }
}

async fn hear(knocks: &mut Subscriber, incoming: &Incoming) {
    while let Some(message) = knocks.next().await {
        if let Ok(payload) = std::str::from_utf8(&message.payload) {
            incoming.hear(payload);
        }
    }
}

/// Sends until the queue has ended.
async fn send(client: &Client, origin: &Origin, queue: &mut Queue) -> Result<(), Interruption> {
    while let Some(batch) = queue.take().await {
        let mut left = batch.len();
        for address in &batch {
            if client.publish(SUBJECT, origin.knock(address).into()).await.is_err() {
                queue.dropped(left);
                return Err(Interruption::Lost);
            }
            left -= 1;
            queue.sent(1);
        }
    }
    Ok(())
}
