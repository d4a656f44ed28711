//! The connections that statements run on, every use of which has an end.
//!
//! sqlx's pool asks a connection for a sign of life before each use and after it: two round trips more for each
//! statement, which cost both ends more than most statements do. So a connection that did its work to the end stays at
//! hand, and does the next statement as it is. What failed, was given up in the middle, or has been at hand without work
//! or away from the pool for a while, goes back through the pool, with all its checks.
//!
//! A database that is cut off without a word (a cable, a firewall that forgot, a proxy that hangs) answers nothing
//! and closes nothing. TCP would notice after a quarter of an hour, or never; so each statement has a limit, and so
//! has each connection's way back to the pool. A connection that missed one is closed, and the pool makes another.

mod executor;

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use sqlx::{Executor as _, PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// For a connection to end what it was doing and to give a sign of life.
const WAY_BACK: Duration = Duration::from_secs(5);
/// How long a connection may be at hand without work before it is asked whether it lives.
const AT_HAND: Duration = Duration::from_secs(1);
/// How long it may be away from the pool, which also ends connections of a certain age.
const AWAY: Duration = Duration::from_secs(30);

/// Lends connections for one statement, or for one transaction, each within a time. Clones lend the same ones.
#[derive(Clone)]
pub(super) struct Connections {
    pool: PgPool,
    /// For one statement, the wait for a connection apart.
    patience: Duration,
    /// As many as the pool has connections. Who waits for one waits here, where nobody has to ask it anything.
    places: Arc<Semaphore>,
    spare: Arc<Mutex<Spare>>,
}

/// Connections at hand, the one that worked last at the end.
#[derive(Default)]
struct Spare(Vec<AtHand>);

struct AtHand {
    connection: PoolConnection<Postgres>,
    /// When the pool gave it.
    since: Instant,
    /// Where the pool gave it.
    thread: ThreadId,
    /// When it last did something.
    worked: Instant,
}

/// How many connections to the database there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCount {
    /// Open.
    pub open: u32,
    /// Lent, for a statement or a transaction.
    pub in_use: usize,
    /// How many there may be.
    pub most: u32,
}

impl Connections {
    pub(super) fn new(pool: PgPool, patience: Duration) -> Self {
        let places = usize::try_from(pool.options().get_max_connections()).unwrap_or(Semaphore::MAX_PERMITS);
        Self { pool, patience, places: Arc::new(Semaphore::new(places)), spare: Arc::default() }
    }

    /// Begins a transaction; one that is dropped before its commit is rolled back.
    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let mut lent = self.lend().await?;
        lent.open = true;
        lent.execute("begin").await?;
        Ok(Transaction(lent))
    }

    /// Ends them all, once the last statement has.
    pub(super) async fn close(&self) {
        let closing = self.pool.close();
        self.spare().0.clear();
        closing.await;
    }

    pub(super) fn count(&self) -> ConnectionCount {
        let most = self.pool.options().get_max_connections();
        let places = usize::try_from(most).unwrap_or(usize::MAX);
        let in_use = places.saturating_sub(self.places.available_permits());
        ConnectionCount { open: self.pool.size(), in_use, most }
    }

    async fn lend(&self) -> Result<Lent, sqlx::Error> {
        let lending = async {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
            let at_hand = self.spare().take();
            let loan = if let Some(AtHand { connection, since, thread, .. }) = at_hand {
                Loan { connection, since, thread, place }
            } else {
                let (connection, since) = (self.pool.acquire().await?, Instant::now());
                Loan { connection, since, thread: thread::current().id(), place }
            };
            Ok(Lent { loan: Some(loan), connections: self.clone(), open: false })
        };
        let patience = self.pool.options().get_acquire_timeout();
        timeout(patience, lending).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// What is spare; what has been at hand for too long is on its way back to the pool.
    fn spare(&self) -> MutexGuard<'_, Spare> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = spare.0.iter().take_while(|one| one.worked.elapsed() > AT_HAND).count();
        for one in spare.0.drain(..idle) {
            send_back(one.connection, None, false);
        }
        spare
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Spare {
    /// The one that worked last, on this thread if there is one: what it answers then wakes no other.
    fn take(&mut self) -> Option<AtHand> {
        let here = thread::current().id();
        match self.0.iter().rposition(|one| one.thread == here) {
            Some(at) => Some(self.0.remove(at)),
            None => self.0.pop(),
        }
    }
}

impl Drop for Spare {
    /// Nobody can use them any more, and there may be no runtime left to give them back in.
    fn drop(&mut self) {
        for one in self.0.drain(..) {
            drop(one.connection.detach());
        }
    }
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Transaction(Lent);

impl Transaction {
    /// Makes what was done last.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.0.execute("commit").await?;
        self.0.open = false;
        self.0.give_back();
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Lent;

    fn deref(&self) -> &Lent {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Lent {
        &mut self.0
    }
}

/// A connection on loan. What is not given back after its work was done to the end goes to the pool, with its checks.
pub(super) struct Lent {
    /// Nothing once it is on its way back.
    loan: Option<Loan>,
    connections: Connections,
    /// Whether a transaction is to be rolled back.
    open: bool,
}

struct Loan {
    connection: PoolConnection<Postgres>,
    since: Instant,
    thread: ThreadId,
    place: OwnedSemaphorePermit,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Lent {
    fn connection(&mut self) -> Result<&mut PoolConnection<Postgres>, sqlx::Error> {
        self.loan.as_mut().map(|loan| &mut loan.connection).ok_or(sqlx::Error::PoolClosed)
    }

    fn patience(&self) -> Duration {
        self.connections.patience
    }

    /// After work that ended well: the next one may have it as it is.
    fn give_back(mut self) {
        let worked = Instant::now();
        let connections = self.connections.clone();
        let mut spare = connections.spare();
        // Looked at while nobody else can: after `close` nothing may be at hand.
        let keep = !connections.pool.is_closed()
            && self.loan.as_ref().is_some_and(|loan| worked.duration_since(loan.since) < AWAY);
        if let Some(Loan { connection, since, thread, place }) = self.loan.take_if(|_| keep) {
            spare.0.push(AtHand { connection, since, thread, worked });
            drop(spare);
            // Only now may the next one look.
            drop(place);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(Loan { connection, place, .. }) = self.loan.take() {
            send_back(connection, Some(place), self.open);
        }
    }
}

/// Sends a connection back to the pool, which asks it for a sign of life; its place is free once that has come. One that
/// does not come to its end is closed.
fn send_back(mut connection: PoolConnection<Postgres>, place: Option<OwnedSemaphorePermit>, open: bool) {
    // What does not come to its end is closed, which has a limit too.
    connection.close_on_drop();
    tokio::spawn(timeout(WAY_BACK, async move {
        if !open || connection.execute("rollback").await.is_ok() {
            // Dropping it would do the same, without a limit.
            connection.return_to_pool().await;
        }
        drop(place);
    }));
}
