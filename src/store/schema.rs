//! Migrations, and the proof that the vault's keys are this database's.

use sqlx::PgPool;

use super::StoreError;
use crate::{
    domain::clock::Entropy,
    vault::{
        envelope::{OpenError, Place},
        ring::KeyRing,
    },
};

/// What every key of the ring must be able to open where the database says it was used.
const PROOF: &[u8] = b"cloudlink vault check";

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A migration failed; the database is as it was before that migration.
    #[error("the database could not be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database can't be read.
    #[error("the database could not be read")]
    Store(#[from] StoreError),
    /// The database was sealed with a key that the ring lacks.
    #[error(
        "vault.keys lacks the key `{0}`, which this database was sealed with: put it back, after the key that shall encrypt"
    )]
    MissingKey(String),
    /// The ring's key of that id is another one.
    #[error("the key `{0}` of vault.keys is not the one this database was sealed with: give the right one")]
    WrongKey(String),
}

/// Brings the database up to date, safe when several replicas start at once (sqlx holds an advisory lock).
/// A ring that can't open what is stored changes nothing.
pub async fn migrate(pool: &PgPool, ring: &KeyRing, entropy: &dyn Entropy) -> Result<(), SchemaError> {
    if has_vault_checks(pool).await? {
        verify_vault(pool, ring).await?;
    }
    sqlx::migrate!("./migrations").run(pool).await?;
    put_vault_check(pool, ring, entropy).await?;
    // Another replica may have been first, with another key of the same name.
    verify_vault(pool, ring).await
}

async fn has_vault_checks(pool: &PgPool) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        "-- has_vault_checks\nselect to_regclass('vault_checks') is not null as \"found!\""
    )
    .fetch_one(pool)
    .await?;
    Ok(found)
}

async fn put_vault_check(pool: &PgPool, ring: &KeyRing, entropy: &dyn Entropy) -> Result<(), StoreError> {
    let key_id = ring.active().as_str();
    let sealed = ring.seal(&place(key_id), PROOF, entropy);
    sqlx::query!(
        "-- put_vault_check
        insert into vault_checks (key_id, sealed) values ($1, $2) on conflict (key_id) do nothing",
        key_id,
        sealed
    )
    .execute(pool)
    .await?;
    Ok(())
}

async fn verify_vault(pool: &PgPool, ring: &KeyRing) -> Result<(), SchemaError> {
    let checks = sqlx::query!("-- list_vault_checks\nselect key_id, sealed from vault_checks")
        .fetch_all(pool)
        .await
        .map_err(StoreError::from)?;
    for check in checks {
        match ring.open(&place(&check.key_id), &check.sealed) {
            Ok(_) => {}
            Err(OpenError::UnknownKey(_)) => return Err(SchemaError::MissingKey(check.key_id)),
            Err(_) => return Err(SchemaError::WrongKey(check.key_id)),
        }
    }
    Ok(())
}

fn place(key_id: &str) -> Place {
    Place::new("vault_checks", "sealed", &key_id)
}
