//! Knocks between replicas over PostgreSQL's LISTEN and NOTIFY: the one place outside the store with SQL.
//!
//! One connection a replica listens, one sends. Each is lost and found again on its own, with bounded
//! backoff and full jitter; after every reconnect everybody is told to look at everything, because what was
//! sent in between is gone. NOTIFY is a statement of its own outside any transaction that writes: inside
//! one, its commits would queue behind a lock of the whole server. Knocks that wait are coalesced into one
//! statement; when the queue is full, or the statement fails, they are dropped and the slow poll finds them.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
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
use crate::domain::{clock::Entropy, ids::SlotAddress};

/// The channel's name.
const CHANNEL: &str = "cloudlink_knock";

/// For one statement, and for opening a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// A silent connection is asked for a sign of life after this long.
const SILENCE: Duration = Duration::from_secs(10);

/// What the bus needs to reach the other replicas.
pub struct PostgresBus {
    /// The database: the one that holds the slots, or any other all replicas reach.
    pub database: PgConnectOptions,
    /// Spreads reconnects, and names this replica.
    pub entropy: Arc<dyn Entropy>,
    /// Ends both tasks when cancelled.
    pub stop: CancellationToken,
}

impl PostgresBus {
    /// Starts the two tasks. Never fails: while the database is away only latency suffers.
    pub fn start(self) -> Bus {
        let Self { database, entropy, stop } = self;
        let bells = Arc::<Doorbells>::default();
        let origin = Origin::draw(entropy.as_ref());
        let (outgoing, queue) = queue();
        let incoming = Incoming::new(origin.clone(), Arc::clone(&bells));
        let sender = Sender { database: database.clone(), connection: None, origin };

        let tasks = TaskTracker::new();
        tasks.spawn(send(sender, queue, Arc::clone(&entropy), stop.clone()));
        tasks.spawn(async move {
            stop.run_until_cancelled(listen(database, incoming, entropy)).await;
        });
        Bus::new(bells, outgoing, tasks)
    }
}

/// Sends what waits. Each success is a new beginning, each failure is followed by a longer rest, however long it took.
async fn send(mut sender: impl Outlet, mut queue: Queue, entropy: Arc<dyn Entropy>, stop: CancellationToken) {
    let mut backoff = RETRIES;
    while let Some(Some(batch)) = stop.run_until_cancelled(queue.take()).await {
        let Err(error) = sender.send(&batch, PATIENCE).await else {
            queue.sent(batch.len());
            backoff.reset();
            continue;
        };
        queue.dropped(batch.len());
        tracing::warn!(%error, dropped = batch.len(), "knocks could not be sent; the slow poll will find the changes");
        stop.run_until_cancelled(sender.rest(backoff.wait(entropy.as_ref()))).await;
    }
    queue.close();
    while let Some(batch) = queue.take().await {
        match sender.send(&batch, FAREWELL).await {
            Ok(()) => queue.sent(batch.len()),
            Err(_) => queue.dropped(batch.len()),
        }
    }
}

/// What sends, and rests in between.
trait Outlet: Send {
    fn send(
        &mut self,
        batch: &BTreeSet<SlotAddress>,
        patience: Duration,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    fn rest(&mut self, wait: Duration) -> impl Future<Output = ()> + Send {
        sleep(wait)
    }
}

/// The connection that sends.
struct Sender {
    database: PgConnectOptions,
    connection: Option<PgConnection>,
    origin: Origin,
}

impl Outlet for Sender {
    /// Sends; once more where a connection was open before, as that may have been lost long ago.
    async fn send(&mut self, batch: &BTreeSet<SlotAddress>, patience: Duration) -> Result<(), sqlx::Error> {
        let was_open = self.connection.is_some();
        match self.try_send(batch, patience).await {
            Err(_) if was_open => self.try_send(batch, patience).await,
            outcome => outcome,
        }
    }
}

impl Sender {
    async fn try_send(
        &mut self,
        batch: &BTreeSet<SlotAddress>,
        patience: Duration,
    ) -> Result<(), sqlx::Error> {
        let payloads: Vec<String> = batch.iter().map(|address| self.origin.knock(address)).collect();
        // Put back only once it has answered: what fails, or takes too long, is not asked again.
        let open = self.connection.take();
        let sending = async {
            let mut connection = match open {
                Some(connection) => connection,
                None => PgConnection::connect_with(&self.database).await?,
            };
            notify(&mut connection, payloads).await?;
            Ok(connection)
        };
        self.connection = Some(timeout(patience, sending).await.unwrap_or_else(|_| Err(too_late()))?);
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "NOTIFY touches no table: there is nothing to check at compile time"
)]
async fn notify(connection: &mut PgConnection, payloads: Vec<String>) -> Result<(), sqlx::Error> {
    let statement = "-- notify\nselect pg_notify($1, payload) from unnest($2::text[]) as payload";
    sqlx::query(statement).bind(CHANNEL).bind(payloads).execute(connection).await.map(drop)
}

async fn listen(database: PgConnectOptions, incoming: Incoming, entropy: Arc<dyn Entropy>) {
    let mut backoff = RETRIES;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(database);
    loop {
        match subscribed(&pool).await {
            Ok(listener) => {
                let opened = Instant::now();
                let Err(error) = hear(listener, &incoming).await;
                if opened.elapsed() >= GOOD {
                    backoff.reset();
                }
                tracing::warn!(%error, "the connection that listens for knocks was lost; the slow poll goes on");
            }
            Err(error) => tracing::warn!(%error, "no connection to listen for knocks; the slow poll goes on"),
        }
        sleep(backoff.wait(entropy.as_ref())).await;
    }
}

/// A connection on which others are heard.
async fn subscribed(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    timeout(PATIENCE, listener.listen(CHANNEL)).await.map_err(|_| too_late())??;
    Ok(listener)
}

/// Rings for what comes, until the connection is lost.
async fn hear(mut listener: PgListener, incoming: &Incoming) -> Result<Infallible, sqlx::Error> {
    tokio::select! {
        lost = notifications(&mut listener, incoming) => lost,
        never = incoming.connected() => match never {},
    }
}

async fn notifications(listener: &mut PgListener, incoming: &Incoming) -> Result<Infallible, sqlx::Error> {
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => incoming.hear(notification.payload()),
            Ok(Ok(None)) => return Err(sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                timeout(PATIENCE, listener.execute("select 1")).await.map_err(|_| too_late())??;
            }
        }
    }
}

fn too_late() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::{
        super::{
            Knocked,
            outgoing::{BATCH, LIMIT},
            tests::Constant,
        },
        *,
    };

    /// Goes well or fails as it is told, and tells how long it is to rest.
    struct Scripted {
        outcomes: std::vec::IntoIter<bool>,
        rests: mpsc::Sender<Duration>,
    }

    impl Outlet for Scripted {
        async fn send(&mut self, _: &BTreeSet<SlotAddress>, _: Duration) -> Result<(), sqlx::Error> {
            if self.outcomes.next().unwrap() { Ok(()) } else { Err(too_late()) }
        }

        async fn rest(&mut self, wait: Duration) {
            self.rests.try_send(wait).unwrap();
        }
    }

    #[tokio::test]
    async fn sending_rests_longer_after_each_failure_and_a_success_is_a_new_beginning() {
        let (outgoing, queue) = queue();
        let outcomes = vec![false, false, false, true, true, false, false];
        let device = crate::domain::ids::DeviceId(uuid::Uuid::from_u128(1));
        for number in 0..outcomes.len() * BATCH {
            outgoing.send(&SlotAddress { device, slot: format!("slot-{number}").parse().unwrap() });
        }
        drop(outgoing);
        let (rests, mut rested) = mpsc::channel(outcomes.len());
        let sender = Scripted { outcomes: outcomes.into_iter(), rests };
        send(sender, queue, Arc::new(Constant(255)), CancellationToken::new()).await;
        let mut waits = Vec::new();
        while let Some(wait) = rested.recv().await {
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [200, 400, 800, 200, 400]);
    }

    #[tokio::test]
    async fn knocks_reach_this_process_while_the_database_is_away() {
        let database = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1);
        let stop = CancellationToken::new();
        let bus = PostgresBus { database, entropy: Arc::new(Constant(1)), stop: stop.clone() }.start();
        let device = crate::domain::ids::DeviceId(uuid::Uuid::from_u128(1));
        let address = SlotAddress { device, slot: "ecobee".parse().unwrap() };
        let mut knocks = bus.subscribe(device);
        for _ in 0..2 * LIMIT {
            bus.knock(&address);
        }
        assert_eq!(knocks.recv().await, Knocked::Slots([address.slot].into()));
        stop.cancel();
        bus.stopped().await;
    }
}
