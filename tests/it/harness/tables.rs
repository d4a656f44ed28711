//! The tables as somebody with access to the database sees them.

use sqlx::{AssertSqlSafe, Executor as _, Postgres, Row as _, Transaction};

use super::{cluster::Database, until};

impl Database {
    /// The number that a `select count(*)` gives.
    pub(crate) async fn count(&self, statement: &'static str) -> i64 {
        self.pool.fetch_one(statement).await.unwrap().get(0)
    }

    /// Holds the table of flows in this mode until the transaction ends: statements pile up behind it, and then
    /// race.
    pub(crate) async fn hold_flows(&self, mode: &str) -> Transaction<'static, Postgres> {
        let mut held = self.pool.begin().await.unwrap();
        held.execute(AssertSqlSafe(format!("lock table flows in {mode} mode"))).await.unwrap();
        held
    }

    /// Waits until that many statements of this name wait for a lock, and lets them go.
    pub(crate) async fn release(&self, held: Transaction<'static, Postgres>, statement: &str, waiting: i64) {
        let count = format!(
            "select count(*) from pg_stat_activity where datname = current_database()
             and wait_event_type = 'Lock' and query like '-- {statement}%'"
        );
        until(statement, async || {
            let row = self.pool.fetch_one(AssertSqlSafe(count.clone())).await.unwrap();
            (row.get::<i64, _>(0) >= waiting).then_some(())
        })
        .await;
        held.rollback().await.unwrap();
    }

    /// Every row of every table as text; bytes are in hexadecimal.
    pub(crate) async fn everything(&self) -> String {
        let names = "select tablename::text from pg_tables where schemaname = 'public'";
        let tables = self.pool.fetch_all(names).await.unwrap();
        assert!(!tables.is_empty());
        let mut text = String::new();
        for table in tables {
            let statement = format!("select t::text from {} t", table.get::<String, _>(0));
            for row in self.pool.fetch_all(AssertSqlSafe(statement)).await.unwrap() {
                text.push_str(&row.get::<String, _>(0));
                text.push('\n');
            }
        }
        text
    }
}
