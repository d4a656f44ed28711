//! PostgreSQL: nothing else knows SQL.
//!
//! Every change of state is one guarded statement or one transaction, and says what happened by a type.
//! Plaintext secrets never reach SQL: what is secret is sealed on the way in and opened on the way out, bound
//! to its table, column and row. `now` and randomness arrive from outside; the database's clock is not asked.

mod account_link_steps;
mod account_links;
mod account_refreshes;
mod assertions;
mod audit;
mod claims;
mod connections;
mod custody;
mod devices;
mod enrolment;
mod exchanges;
mod flow_start;
mod flows;
mod grants;
mod imports;
mod logins;
mod outcome;
mod overview;
mod plugins;
mod reaping;
mod reconfiguration;
mod refresh_ends;
mod refresh_leases;
mod refresh_watch;
mod relay_requests;
mod resealing;
mod revocation_jobs;
mod revocations;
mod schema;
mod sealed;
mod sign_in_decisions;
mod sign_in_grants;
mod sign_in_providers;
mod sign_ins;
mod signing_keys;
mod slots;
mod states;
mod trusted_keys;
mod unlink;
mod webhooks;

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use zeroize::Zeroizing;

pub use self::connections::ConnectionCount;
use self::connections::Connections;
pub use self::{
    account_links::{AccountLinkRow, AccountLinkStanding, NewAccountLink},
    account_refreshes::{AccountRefresh, AccountRefreshLease, PresentedToken},
    assertions::JtiUse,
    audit::{AuditRow, NewAudit},
    devices::{ChangePassword, DeviceRow, NewPasswordHash, PasswordReach},
    enrolment::EnrolledByCode,
    exchanges::{Exchange, ExchangeLease, Stored},
    flow_start::{Limits, NewFlow, SlotToLink, Started},
    flows::{FlowConfiguration, FlowRow},
    imports::PutTokens,
    logins::{Door, LoggedIn, LoginTry},
    outcome::{Burn, Confirmation, Continued, Decision, Redeemed},
    overview::{Counts, NamedSlot, WaitingFlow},
    plugins::{PluginRow, PutPlugin},
    reaping::{Horizons, Reapable},
    reconfiguration::{Reconfiguration, SealTo, TokensAfterChange},
    refresh_ends::{NextLook, Refreshed},
    refresh_leases::{Grant, Leased, LeasedRefresh, REFRESH_LEASE, RefreshLease, SlotGrant},
    relay_requests::{NewRelayRequest, TakenRequest, WAITING_PAGE, WaitingRequest},
    resealing::ResealedBatch,
    revocation_jobs::{LeasedRevocation, RevocationEnd, RevocationJob, RevocationLease},
    revocations::{Revocation, Revoked},
    schema::{SchemaError, check_current, migrate},
    sealed::{SealedColumn, SealedCount},
    sign_in_decisions::{Approval, SignInDecided},
    sign_in_grants::{CodeUse, Earned, Polled, PresentedCode, TokenToBe},
    sign_in_providers::{BackFromProvider, SentToProvider},
    sign_ins::{NewKind, NewSignIn, SignInKind, SignInRow, SignInStarted},
    signing_keys::{Retirement, SigningKeyDates, SigningKeyRow},
    slots::{NewSlot, PutSlot, SlotRow},
    trusted_keys::{AddKey, RemoveKey, TrustedKeyRow},
    unlink::Unlinked,
};
use crate::{
    domain::{clock::Entropy, plugin::Document},
    vault::{
        envelope::{OpenError, Place},
        ring::KeyRing,
    },
};

/// The database, with the key ring that seals what goes into it. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Connections,
    ring: Arc<KeyRing>,
    entropy: Arc<dyn Entropy>,
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// PostgreSQL failed or could not be reached.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A sealed value can't be opened: another key, or somebody changed or moved it.
    #[error("{column} can't be opened")]
    Sealed {
        /// Table and column.
        column: &'static str,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// A row holds what no version of this program writes.
    #[error("{column} holds a value that is not understood")]
    Row {
        /// Table and column.
        column: &'static str,
    },
}

impl StoreError {
    /// Whether the database could not be reached, or had no connection free: trying again helps.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Database(error) => {
                matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
                    || error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(
                        |code| {
                            // Classes 53 (resources, a full disk among them), 57 (shutting down, out of time) and
                            // 08 (connection) of PostgreSQL, a deadlock, and a server that only reads: another one
                            // has taken over.
                            code.starts_with("53")
                                || code.starts_with("57")
                                || code.starts_with("08")
                                || code == "40P01"
                                || code == "25006"
                        },
                    )
            }
            Self::Sealed { .. } | Self::Row { .. } => false,
        }
    }
}

/// A sealed column: where its values belong.
#[derive(Debug, Clone, Copy)]
struct Column {
    table: &'static str,
    within: &'static str,
    name: &'static str,
}

macro_rules! column {
    ($table:literal, $column:literal) => {
        $crate::store::Column { table: $table, within: $column, name: concat!($table, ".", $column) }
    };
}
use column;

impl Store {
    /// A store over a pool of connections to a migrated database; `patience` is for one statement.
    pub fn new(pool: PgPool, patience: Duration, ring: Arc<KeyRing>, entropy: Arc<dyn Entropy>) -> Self {
        Self { pool: Connections::new(pool, patience), ring, entropy }
    }

    /// How many connections there are.
    pub fn connections(&self) -> ConnectionCount {
        self.pool.count()
    }

    /// Closes all connections, once what they do is done.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query_scalar!("-- ping\nselect 1 as one").fetch_one(&self.pool).await?;
        Ok(())
    }

    fn seal(&self, column: Column, row: &str, plaintext: &[u8]) -> Vec<u8> {
        let place = Place::new(column.table, column.within, &row);
        self.ring.seal(&place, plaintext, self.entropy.as_ref())
    }

    fn open(&self, column: Column, row: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let place = Place::new(column.table, column.within, &row);
        self.ring.open(&place, sealed).map_err(|source| StoreError::Sealed { column: column.name, source })
    }

    fn open_document(&self, column: Column, row: &str, sealed: &[u8]) -> Result<Document, StoreError> {
        let plaintext = self.open(column, row, sealed)?;
        Document::from_plaintext(&plaintext).map_err(|_| StoreError::Row { column: column.name })
    }

    fn open_text(&self, column: Column, row: &str, sealed: &[u8]) -> Result<Zeroizing<String>, StoreError> {
        let plaintext = self.open(column, row, sealed)?;
        let text = std::str::from_utf8(&plaintext).map_err(|_| StoreError::Row { column: column.name })?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// Parses a column as strictly as user input; both halves of the rule stand in the migration's CHECK.
fn parse_column<T: std::str::FromStr>(column: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Row { column })
}
