//! Holding a statement of the service in the middle: a trigger that waits for a lock which the test has.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use sqlx::{AssertSqlSafe, Executor as _, PgPool, Postgres, pool::PoolConnection};

use super::{Service, until};

/// While this is held, statements of one kind wait inside of the database.
pub(crate) struct Hold {
    connection: PoolConnection<Postgres>,
    pool: PgPool,
}

impl Hold {
    /// Holds each `insert`, `update` or `delete` of a row of `table`.
    pub(crate) async fn on(service: &Service, event: &str, table: &str) -> Self {
        let hold = Self::take(service).await;
        let statement = format!(
            "create function wait_for_the_test() returns trigger language plpgsql as
                 $$ begin perform pg_advisory_xact_lock_shared(4711); return coalesce(new, old); end $$;
             create trigger wait_for_the_test before {event} on {table}
                 for each row execute function wait_for_the_test()"
        );
        hold.pool.execute(AssertSqlSafe(statement)).await.unwrap();
        hold
    }

    /// Holds each knock of processes that connect from now on, and swallows it after that.
    pub(crate) async fn on_knocks(service: &Service) -> Self {
        let hold = Self::take(service).await;
        let statement = "create function public.pg_notify(text, text) returns void language plpgsql as
                 $$ begin perform pg_advisory_xact_lock_shared(4711); end $$;
             do $$ begin execute format('alter database %I set search_path = public, pg_catalog',
                 current_database()); end $$";
        hold.pool.execute(statement).await.unwrap();
        hold
    }

    /// Holds nothing; sees what waits.
    pub(crate) async fn none(service: &Service) -> Self {
        Self::take(service).await
    }

    async fn take(service: &Service) -> Self {
        let pool = service.database.pool.clone();
        let mut connection = pool.acquire().await.unwrap();
        connection.execute("select pg_advisory_lock(4711)").await.unwrap();
        Self { connection, pool }
    }

    /// Waits until a statement whose name (its first line) is this one is held.
    pub(crate) async fn caught(&self, name: &str) {
        self.waits(name, "wait_event = 'advisory'").await;
    }

    /// Waits until a statement of this name waits for somebody else's row.
    pub(crate) async fn blocked(&self, name: &str) {
        self.waits(name, "wait_event_type = 'Lock' and wait_event <> 'advisory'").await;
    }

    async fn waits(&self, name: &str, how: &str) {
        let statement = format!(
            "select exists (select 1 from pg_stat_activity where datname = current_database()
                 and query like '-- ' || $1 || E'\\n%' and {how})"
        );
        until(&format!("{name} to wait"), async || {
            let waiting: bool = sqlx::query_scalar(AssertSqlSafe(statement.clone()))
                .bind(name)
                .fetch_one(&self.pool)
                .await
                .unwrap();
            waiting.then_some(())
        })
        .await;
    }

    /// Ends what waits, as if it had never arrived, then lets others through.
    pub(crate) async fn discard(self) {
        let ended = "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and wait_event = 'advisory'";
        self.pool.execute(ended).await.unwrap();
        self.release().await;
    }

    /// Lets what waits go on.
    pub(crate) async fn release(mut self) {
        self.connection.execute("select pg_advisory_unlock(4711)").await.unwrap();
    }
}
