//! Knocks between replicas over PostgreSQL's LISTEN and NOTIFY: the one place outside the store with SQL.
//!
//! One connection a replica listens, one sends. Each is lost and found again on its own, with bounded
//! backoff and full jitter; after every reconnect everybody is told to look at everything, because what was
//! sent in between is gone. NOTIFY is a statement of its own outside any transaction that writes: inside
//! one, its commits would queue behind a lock of the whole database. Knocks that wait are coalesced into one
//! statement; when the queue is full, or the statement fails, they are dropped and the slow poll finds them.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sqlx::{
    Executor as _,
    postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Bus, doorbell::Doorbells};
use crate::domain::{
    clock::{Entropy, draw},
    ids::SlotAddress,
    metric,
};

/// The channel's name.
const CHANNEL: &str = "cloudlink_knock";

/// Knocks that wait to be sent.
const QUEUE: usize = 4096;
/// Knocks in one statement.
const BATCH: usize = 256;
/// For one statement, and for opening a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// A silent connection is asked for a sign of life after this long.
const SILENCE: Duration = Duration::from_secs(30);
/// The first and the longest wait before a new attempt; the real one is random, up to that.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What the bus needs to reach the other replicas.
pub struct PostgresBus {
    /// The database: the one that holds the slots, or any other all replicas reach.
    pub database: PgConnectOptions,
    /// Spreads reconnects, and names this replica.
    pub entropy: Arc<dyn Entropy>,
    /// Ends both tasks when cancelled.
    pub stop: CancellationToken,
}

/// The way to the other replicas.
#[derive(Clone)]
pub(super) struct Outgoing(mpsc::Sender<SlotAddress>);

impl Outgoing {
    /// Queues a knock; drops it where the queue is full.
    pub(super) fn send(&self, address: &SlotAddress) {
        if self.0.try_send(address.clone()).is_err() {
            metrics::counter!(metric::KNOCKS_DROPPED).increment(1);
        }
    }
}

impl PostgresBus {
    /// Starts the two tasks. Never fails: while the database is away only latency suffers.
    pub fn start(self) -> Bus {
        let bells = Arc::<Doorbells>::default();
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(PATIENCE)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(self.database);
        let origin: Arc<str> = URL_SAFE_NO_PAD.encode(draw::<9>(self.entropy.as_ref())).into();
        let (outgoing, queue) = mpsc::channel(QUEUE);

        let sending = send(pool.clone(), Arc::clone(&origin), queue);
        let listening = listen(pool, origin, Arc::clone(&bells), self.entropy);
        for task in [Box::pin(sending) as futures_util::future::BoxFuture<'static, ()>, Box::pin(listening)] {
            let stop = self.stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(task).await });
        }
        Bus { bells, others: Some(Outgoing(outgoing)) }
    }
}

async fn send(pool: PgPool, origin: Arc<str>, mut queue: mpsc::Receiver<SlotAddress>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let addresses: BTreeSet<SlotAddress> = batch.drain(..).collect();
        let payloads: Vec<String> = addresses.iter().map(|address| format!("{address}/{origin}")).collect();
        let dropped = payloads.len();
        let outcome = timeout(PATIENCE, notify(&pool, payloads)).await;
        if !matches!(outcome, Ok(Ok(()))) {
            metrics::counter!(metric::KNOCKS_DROPPED).increment(dropped as u64);
            tracing::warn!(dropped, "knocks could not be sent; the slow poll will find the changes");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "NOTIFY touches no table: there is nothing to check at compile time"
)]
async fn notify(pool: &PgPool, payloads: Vec<String>) -> Result<(), sqlx::Error> {
    let statement = "-- notify\nselect pg_notify($1, payload) from unnest($2::text[]) as payload";
    sqlx::query(statement).bind(CHANNEL).bind(payloads).execute(pool).await.map(drop)
}

async fn listen(pool: PgPool, origin: Arc<str>, bells: Arc<Doorbells>, entropy: Arc<dyn Entropy>) {
    let mut failures = 0;
    loop {
        match PgListener::connect_with(&pool).await {
            Ok(listener) => {
                let Err(error) = hear(listener, &origin, &bells, &mut failures).await;
                tracing::warn!(%error, "the connection that listens for knocks was lost");
            }
            Err(error) => tracing::warn!(%error, "no connection to listen for knocks; the slow poll goes on"),
        }
        tokio::time::sleep(backoff(failures, entropy.as_ref())).await;
        failures = failures.saturating_add(1);
    }
}

/// Rings for what comes, until the connection is lost. Once it listens, earlier failures are forgotten.
async fn hear(
    mut listener: PgListener,
    origin: &str,
    bells: &Doorbells,
    failures: &mut u32,
) -> Result<Infallible, sqlx::Error> {
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    *failures = 0;
    bells.ring_everybody();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                if let Some(address) = parse(notification.payload(), origin) {
                    bells.ring(&address);
                }
            }
            Ok(Ok(None)) => return Err(sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let alive = timeout(PATIENCE, listener.execute("select 1")).await;
                alive.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
            }
        }
    }
}

/// The address in a payload, `device/slot` or `device/slot/origin`, unless we sent it ourselves.
fn parse(payload: &str, origin: &str) -> Option<SlotAddress> {
    let mut parts = payload.split('/');
    let device = parts.next()?.parse().ok()?;
    let slot = parts.next()?.parse().ok()?;
    match (parts.next(), parts.next()) {
        (Some(sender), None) if sender == origin => None,
        (_, None) => Some(SlotAddress { device, slot }),
        (_, Some(_)) => None,
    }
}

/// A random wait before attempt number `failures` + 1 (full jitter).
fn backoff(failures: u32, entropy: &dyn Entropy) -> Duration {
    let (first, longest) = BACKOFF;
    let ceiling = first.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(longest);
    ceiling.mul_f64(f64::from(u32::from_be_bytes(draw(entropy))) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn a_replica_hears_others_and_not_itself() {
        let device = "00000000-0000-0000-0000-000000000001";
        let heard = |payload: &str| parse(payload, "me").map(|address| address.to_string());
        let address = format!("{device}/ecobee");
        assert_eq!(heard(&format!("{address}/you")), Some(address.clone()));
        assert_eq!(heard(&address), Some(address.clone()));
        assert_eq!(heard(&format!("{address}/me")), None);
    }

    #[test]
    fn what_is_no_address_is_ignored() {
        for payload in ["", "/", "x/y", "00000000-0000-0000-0000-000000000001/UPPER", "a/b/c/d"] {
            assert_eq!(parse(payload, "me"), None, "{payload:?}");
        }
    }

    #[test]
    fn the_wait_between_attempts_grows_to_its_limit_and_is_spread() {
        assert_eq!(backoff(0, &Constant(255)), BACKOFF.0);
        assert_eq!(backoff(3, &Constant(255)), BACKOFF.0 * 8);
        assert_eq!(backoff(u32::MAX, &Constant(255)), BACKOFF.1);
        assert_eq!(backoff(u32::MAX, &Constant(0)), Duration::ZERO);
    }

    #[tokio::test]
    async fn knocks_reach_this_process_while_the_database_is_away() {
        let database = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1);
        let stop = CancellationToken::new();
        let bus = PostgresBus { database, entropy: Arc::new(Constant(1)), stop: stop.clone() }.start();
        let address: SlotAddress = parse("00000000-0000-0000-0000-000000000001/ecobee", "me").unwrap();
        let mut knocks = bus.subscribe(address.device);
        for _ in 0..2 * QUEUE {
            bus.knock(&address);
        }
        assert_eq!(knocks.recv().await, super::super::Knocked::Slots([address.slot].into()));
        stop.cancel();
    }
}
