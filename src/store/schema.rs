//! Migrations, and the proof that the vault's keys are this database's.
//!
//! Each key that ever was the first has a row in `vault_checks`, sealed with it: another key of the same id is found
//! out at start. A key that is missing is asked after in the sealed columns themselves: the start is refused while
//! it is needed, and accepted once nothing is sealed with it any more. The rows of keys that went are forgotten by
//! the next rotation, when all replicas have the same ring.

use sqlx::{Connection as _, PgExecutor, PgPool, migrate::Migrate as _};

use super::{StoreError, sealed::count_sealed};
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
    /// The ring lacks a key that is still needed.
    #[error(
        "vault.keys lacks the key `{0}`, which {1} values in this database are sealed with: put it back, after the key \
         that shall encrypt"
    )]
    MissingKey(String, u64),
    /// The ring's key of that id is another one.
    #[error("the key `{0}` of vault.keys is not the one this database was sealed with: give the right one")]
    WrongKey(String),
    /// No replica has been started with this key in front.
    #[error(
        "nothing was started yet with the key `{0}` in front of vault.keys: restart every replica with it first, else \
         they could not read what is sealed anew"
    )]
    NotInFront(String),
    /// The database lacks migrations that this version needs.
    #[error(
        "the database is not up to date: start `cloudlink serve` of this version, or run `cloudlink migrate`"
    )]
    Behind,
}

/// What a key's row in `vault_checks` says of the ring.
enum Known {
    /// The ring holds that key.
    Held,
    /// The ring holds another key of that id.
    Another,
    /// The ring holds none of that id.
    Missing,
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

/// Refuses another key of a known id, and the lack of a key that is still needed.
async fn verify_vault(pool: &PgPool, ring: &KeyRing) -> Result<(), SchemaError> {
    let mut missing = Vec::new();
    for (key_id, known) in known_keys(pool, ring).await? {
        match known {
            Known::Held => {}
            Known::Another => return Err(SchemaError::WrongKey(key_id)),
            Known::Missing => missing.push(key_id),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let counts = count_sealed(pool).await?;
    for key_id in missing {
        let sealed =
            counts.iter().filter(|count| count.key.as_ref().is_some_and(|key| key.as_str() == key_id));
        match sealed.map(|count| count.values).sum() {
            0 => tracing::info!(key = key_id, "a key is not in vault.keys any more, and nothing needs it"),
            needed => return Err(SchemaError::MissingKey(key_id, needed)),
        }
    }
    Ok(())
}

/// Refuses where sealing anew with the ring's first key would harm.
pub(super) async fn check_resealing(
    pool: impl PgExecutor<'_> + Copy,
    ring: &KeyRing,
) -> Result<(), SchemaError> {
    let known = known_keys(pool, ring).await?;
    if let Some((key_id, _)) = known.iter().find(|(_, known)| matches!(known, Known::Another)) {
        return Err(SchemaError::WrongKey(key_id.clone()));
    }
    let active = ring.active().as_str();
    let started = known.iter().any(|(key_id, _)| key_id == active);
    if started { Ok(()) } else { Err(SchemaError::NotInFront(active.to_owned())) }
}

/// Refuses a database that lacks migrations; changes nothing. For commands that run beside replicas.
pub async fn check_current(pool: &PgPool) -> Result<(), SchemaError> {
    if !has_vault_checks(pool).await? {
        return Err(SchemaError::Behind);
    }
    let migrations = sqlx::migrate!("./migrations");
    let mut connection = pool.acquire().await.map_err(StoreError::from)?.detach();
    let applied = connection.list_applied_migrations(&migrations.table_name).await?;
    connection.close().await.map_err(StoreError::from)?;
    let behind = migrations.iter().any(|needed| applied.iter().all(|done| done.version != needed.version));
    if behind { Err(SchemaError::Behind) } else { Ok(()) }
}

async fn known_keys(pool: impl PgExecutor<'_>, ring: &KeyRing) -> Result<Vec<(String, Known)>, StoreError> {
    let checks =
        sqlx::query!("-- list_vault_checks\nselect key_id, sealed from vault_checks order by key_id")
            .fetch_all(pool)
            .await?;
    let known = |key_id: &str, sealed: &[u8]| match ring.open(&place(key_id), sealed) {
        Ok(_) => Known::Held,
        Err(OpenError::UnknownKey(_)) => Known::Missing,
        Err(OpenError::Truncated | OpenError::UnknownVersion | OpenError::Tampered) => Known::Another,
    };
    Ok(checks
        .into_iter()
        .map(|check| {
            let known = known(&check.key_id, &check.sealed);
            (check.key_id, known)
        })
        .collect())
}

fn place(key_id: &str) -> Place {
    Place::new("vault_checks", "sealed", &key_id)
}
