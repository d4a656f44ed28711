//! The list of sealed columns: whoever seals a new one and forgets the list is found out here.

#![allow(clippy::disallowed_methods, reason = "a test looks into the database behind the service's back")]

use std::collections::BTreeSet;

use cloudlink::{store::SealedColumn, vault::envelope::KeyId};

use crate::harness::{Home, Provider, Service};

/// Columns of bytes that are neither hashes nor public keys, and yet not on the list.
const OTHERS: [&str; 2] = [
    "_sqlx_migrations.checksum",
    // Each is under its own key for good: it proves that the key is the right one.
    "vault_checks.sealed",
];

#[tokio::test(flavor = "multi_thread")]
async fn g06_every_column_of_bytes_is_a_hash_a_public_key_or_on_the_list_of_sealed_columns() {
    let service = Service::start().await;
    let columns = "select table_name || '.' || column_name from information_schema.columns
        where table_schema = 'public' and data_type = 'bytea'";
    let columns: Vec<String> = sqlx::query_scalar(columns).fetch_all(&service.database.pool).await.unwrap();
    let open = |name: &String| {
        let column = name.rsplit('.').next().unwrap();
        column.ends_with("_hash") || column == "spki" || OTHERS.contains(&name.as_str())
    };
    let sealed: BTreeSet<&str> = columns.iter().filter(|name| !open(name)).map(String::as_str).collect();
    let listed: BTreeSet<&str> = SealedColumn::ALL.iter().map(|column| column.name()).collect();
    assert_eq!(sealed, listed, "left: the schema; right: `store/sealed.rs`");
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_sealed_values_opens_none_and_names_their_keys() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let pool = &service.database.pool;
    sqlx::query("update grants set tokens = set_byte(tokens, 40, get_byte(tokens, 40) # 1)")
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("update plugins set configuration = ''").execute(pool).await.unwrap();
    sqlx::query("update slots set handle = '\\x0109'").execute(pool).await.unwrap();
    let counts = service.broker().store.count_sealed().await.unwrap();
    let of = |column: SealedColumn| {
        let count = counts.iter().find(|count| count.column == column).unwrap();
        (count.key.as_ref().map(KeyId::as_str), count.values)
    };
    assert_eq!(of(SealedColumn::GrantTokens), (Some("k1"), 1));
    assert_eq!(of(SealedColumn::PluginConfiguration), (None, 1));
    assert_eq!(of(SealedColumn::SlotHandle), (None, 1));
    assert!(
        !counts.iter().any(|count| count.column == SealedColumn::FlowStaged),
        "null is no value: {counts:?}"
    );
}
