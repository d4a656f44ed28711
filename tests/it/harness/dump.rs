//! All that the database holds, as text; and a secret in the forms in which it could be hidden there.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use sqlx::{AssertSqlSafe, PgPool};

/// Every row of every table, `bytea` in hex.
pub(crate) async fn rows(pool: &PgPool) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select quote_ident(tablename::text) from pg_tables where schemaname = 'public' order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut all = Vec::new();
    for table in tables {
        let statement = format!("select '{table} ' || t::text from {table} t order by 1");
        let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(pool).await.unwrap();
        all.extend(found);
    }
    all
}

/// The same without what replicas note by themselves while they run.
pub(crate) async fn rows_at_rest(pool: &PgPool) -> Vec<String> {
    let mut rows = rows(pool).await;
    rows.retain(|row| !row.starts_with("relay_replicas "));
    rows
}

/// A secret as it is, in hex, and in base64 wherever it may begin in what was encoded.
pub(crate) fn disguises(secret: &str) -> Vec<String> {
    let hex = secret.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let mut forms = vec![secret.to_owned(), hex];
    for shift in 0..3 {
        let encoded = STANDARD_NO_PAD.encode([vec![b'.'; shift].as_slice(), secret.as_bytes()].concat());
        // What is left and right of it depends on its neighbours.
        let inner = encoded[4 * usize::from(shift > 0)..encoded.len() - 2].to_owned();
        forms.push(inner.replace('+', "-").replace('/', "_"));
        forms.push(inner);
    }
    forms
}

#[test]
fn a_disguised_secret_is_found() {
    let around =
        ["", "a", "ab", "abc"].map(|before| STANDARD_NO_PAD.encode(format!("{before}a secret!?~}}")));
    for encoded in around {
        assert!(disguises("a secret!").iter().any(|form| encoded.contains(form)), "{encoded}");
    }
}
