//! Connections to the database, every use of which has an end.
//!
//! A database that is cut off without a word (a cable, a firewall that forgot, a proxy that hangs) answers nothing
//! and closes nothing. TCP would notice after a quarter of an hour, or never; so each statement has a limit, and so
//! has each connection's way back to the pool, which asks for a sign of life on the way. A connection that missed
//! one is closed, and the pool makes another.

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
    time::Duration,
};

use futures_util::{TryFutureExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use sqlx::{
    Describe, Either, Execute, Executor, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::time::timeout;

type Step = Result<Either<PgQueryResult, PgRow>, sqlx::Error>;

/// For a connection to end what it was doing and to give a sign of life.
const WAY_BACK: Duration = Duration::from_secs(5);

/// A pool that hands out connections for one statement, or for one transaction, each within a time.
#[derive(Clone, Debug)]
pub struct Connections {
    pool: PgPool,
    patience: Duration,
}

impl Connections {
    /// `patience` is for one statement, the wait for a free connection apart.
    pub fn new(pool: PgPool, patience: Duration) -> Self {
        Self { pool, patience }
    }

    /// Begins a transaction; one that is dropped before its commit is rolled back.
    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let mut lent = self.lend().await?;
        lent.open = true;
        lent.execute("begin").await?;
        Ok(Transaction(lent))
    }

    async fn lend(&self) -> Result<Lent, sqlx::Error> {
        let connection = self.pool.acquire().await?;
        Ok(Lent { connection: Some(connection), patience: self.patience, open: false })
    }
}

/// For what is asked of the pool itself.
impl Deref for Connections {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.pool
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

/// A connection on loan.
pub(super) struct Lent {
    /// Nothing once it is on its way back.
    connection: Option<PoolConnection<Postgres>>,
    patience: Duration,
    /// Whether a transaction is to be rolled back.
    open: bool,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Lent {
    fn connection(&mut self) -> Result<&mut PoolConnection<Postgres>, sqlx::Error> {
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let open = self.open;
        // What does not come to its end is closed, which has a limit too.
        connection.close_on_drop();
        tokio::spawn(timeout(WAY_BACK, async move {
            if !open || connection.execute("rollback").await.is_ok() {
                // Dropping it would do the same, without a limit.
                connection.return_to_pool().await;
            }
        }));
    }
}

async fn within<T>(
    patience: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let done = timeout(patience, statement).await;
    done.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
}

impl<'c> Executor<'c> for &'c mut Lent {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Step>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let whole = async move {
            let patience = self.patience;
            let steps = self.connection()?.fetch_many(query).try_collect::<Vec<_>>();
            Ok(stream::iter(within(patience, steps).await?.into_iter().map(Ok)))
        };
        Box::pin(whole.try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let patience = self.patience;
            within(patience, self.connection()?.fetch_optional(query)).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let patience = self.patience;
            within(patience, self.connection()?.prepare_with(sql, parameters)).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let patience = self.patience;
            within(patience, self.connection()?.describe(sql)).await
        })
    }
}

impl<'c> Executor<'c> for &'c Connections {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Step>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let whole = async move {
            let steps: Vec<_> = self.lend().await?.fetch_many(query).try_collect().await?;
            Ok(stream::iter(steps.into_iter().map(Ok)))
        };
        Box::pin(whole.try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move { self.lend().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.lend().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.lend().await?.describe(sql).await })
    }
}
