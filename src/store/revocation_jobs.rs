//! What was erased here and is still to be revoked at its provider (RFC 7009).
//!
//! A job is written by the transaction that erases, with the configuration and variables that the tokens were obtained
//! under, so that nothing newer decides where they go. Whoever tries moves `next_try_at` on first: that is the lease,
//! and every end is guarded by the count of tries. A job ends with the provider's answer, or when its time is up; the
//! end is recorded in the statement that deletes it.

use std::collections::BTreeMap;

use sqlx::types::Json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Column, Store, StoreError, column,
    connections::Transaction,
    grants::TOKENS,
    parse_column,
    slots::{CONFIGURATION, OVERRIDES, subject},
};
use crate::domain::{
    audit::{Action, Actor},
    ids::{DeviceId, RevocationId, SlotAddress, SlotName},
    plugin::Document,
    tokens::TokenSet,
};

const JOB_CONFIGURATION: Column = column!("revocation_jobs", "configuration");
const JOB_TOKENS: Column = column!("revocation_jobs", "tokens");

/// How long a provider is asked again, if it does not answer.
const REVOCATION_PATIENCE: Duration = Duration::hours(24);
/// Jobs that one round takes.
const MOST: i64 = 16;

/// The right to ask the provider once.
#[derive(Debug, Clone)]
pub struct RevocationLease {
    /// The job.
    pub id: RevocationId,
    /// The slot that had the tokens; it may be gone.
    pub address: SlotAddress,
    /// Which try this is, from 1 on.
    pub tries: i32,
}

/// Tokens to revoke.
#[derive(Debug)]
pub struct RevocationJob {
    /// The right to do it.
    pub lease: RevocationLease,
    /// The slot's effective configuration when they were erased.
    pub configuration: Document,
    /// The values of its variables.
    pub variables: BTreeMap<String, String>,
    /// The tokens.
    pub tokens: TokenSet,
}

/// What was leased: the job, or the lease alone where what was stored can't be read.
pub type LeasedRevocation = Result<RevocationJob, (RevocationLease, StoreError)>;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationEnd {
    /// The tokens are of no use any more.
    Revoked,
    /// The provider refused, or can't be asked.
    Failed,
}

impl Store {
    /// Writes down what has to be revoked of a slot, or of all slots of a device, as a part of the transaction that
    /// erases it. The slots are held, so nobody adds tokens. What can't be read is erased all the same.
    pub(super) async fn revoke_grants_of(
        &self,
        transaction: &mut Transaction,
        device: DeviceId,
        slot: Option<&SlotName>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let rows = sqlx::query_as!(
            SealedGrant,
            r#"-- list_grants_to_revoke
            select s.name, s.configuration, s.overrides, s.variables as "variables: Json<BTreeMap<String, String>>",
                g.tokens
            from slots s join grants g on g.device = s.device and g.slot = s.name
            where s.device = $1 and ($2::text is null or s.name = $2)"#,
            device.0,
            slot.map(SlotName::as_str)
        )
        .fetch_all(&mut **transaction)
        .await?;
        for row in rows {
            match self.open_grant(device, &row) {
                Ok((address, configuration, tokens)) => {
                    let variables = &row.variables.0;
                    self.revoke_later(transaction, &address, &configuration, variables, &tokens, now).await?;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%device, slot = row.name, error, "tokens that can't be read are not revoked");
                }
            }
        }
        Ok(())
    }

    /// Writes down that these tokens are to be revoked, where their provider can be asked at all.
    pub(super) async fn revoke_later(
        &self,
        transaction: &mut Transaction,
        address: &SlotAddress,
        configuration: &Document,
        variables: &BTreeMap<String, String>,
        tokens: &TokenSet,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let endpoint = configuration.members().get("revocation_endpoint").and_then(|value| value.as_str());
        if endpoint.is_none_or(str::is_empty) {
            return Ok(());
        }
        let id = RevocationId::draw(self.entropy.as_ref());
        let place = id.to_string();
        sqlx::query!(
            "-- revoke_later
            insert into revocation_jobs (id, device, slot, configuration, variables, tokens, next_try_at, give_up_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8)",
            id.0,
            address.device.0,
            address.slot.as_str(),
            self.seal(JOB_CONFIGURATION, &place, &configuration.to_plaintext()),
            Json(variables) as _,
            self.seal(JOB_TOKENS, &place, &tokens.to_plaintext()),
            now,
            now + REVOCATION_PATIENCE
        )
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }

    /// Leases what is due, the longest due first, 16 at most. Replicas that do so at once get different ones.
    pub async fn lease_due_revocations(
        &self,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Vec<LeasedRevocation>, StoreError> {
        let rows = sqlx::query_as!(
            SealedJob,
            r#"-- lease_due_revocations
            update revocation_jobs set tries = tries + 1, next_try_at = $2
            where id in (
                select id from revocation_jobs where next_try_at <= $1 and give_up_at > $1
                order by next_try_at limit $3 for update skip locked)
            returning id, device, slot, configuration, variables as "variables: Json<BTreeMap<String, String>>", tokens,
                tries"#,
            now,
            until,
            MOST
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| self.open_job(row)).collect()
    }

    /// Ends a try that brought no answer.
    pub async fn put_off_revocation(
        &self,
        lease: &RevocationLease,
        next_try_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- put_off_revocation\nupdate revocation_jobs set next_try_at = $3 where id = $1 and tries = $2",
            lease.id.0,
            lease.tries,
            next_try_at
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets a job whose provider has answered, with its tokens.
    pub async fn end_revocation(
        &self,
        lease: &RevocationLease,
        end: RevocationEnd,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let action = match end {
            RevocationEnd::Revoked => Action::GrantRevoked,
            RevocationEnd::Failed => Action::RevocationFailed,
        };
        sqlx::query!(
            "-- end_revocation
            with gone as (delete from revocation_jobs where id = $1 and tries = $2 returning id)
            insert into audit (at, actor, action, subject) select $3, $4, $5, $6 from gone",
            lease.id.0,
            lease.tries,
            now,
            Actor::Broker.to_string(),
            action.as_str(),
            subject(&lease.address)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets the jobs whose time is up, with their tokens. How many.
    pub async fn give_up_revocations(&self, now: OffsetDateTime) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "-- give_up_revocations
            with gone as (delete from revocation_jobs where give_up_at <= $1 returning device, slot)
            insert into audit (at, actor, action, subject) select $1, $2, $3, 'slot:' || device || '/' || slot from gone",
            now,
            Actor::Broker.to_string(),
            Action::RevocationFailed.as_str()
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    fn open_grant(
        &self,
        device: DeviceId,
        row: &SealedGrant,
    ) -> Result<(SlotAddress, Document, TokenSet), StoreError> {
        let address = SlotAddress { device, slot: parse_column("slots.name", &row.name)? };
        let place = address.to_string();
        let copy = self.open_document(CONFIGURATION, &place, &row.configuration)?;
        let overrides = self.open_document(OVERRIDES, &place, &row.overrides)?;
        let tokens = self.open_tokens_of(TOKENS, &place, &row.tokens)?;
        Ok((address, copy.merged_with(&overrides), tokens))
    }

    fn open_job(&self, row: SealedJob) -> Result<LeasedRevocation, StoreError> {
        let place = row.id.to_string();
        let address = SlotAddress {
            device: DeviceId(row.device),
            slot: parse_column("revocation_jobs.slot", &row.slot)?,
        };
        let lease = RevocationLease { id: RevocationId(row.id), address, tries: row.tries };
        let opened =
            self.open_document(JOB_CONFIGURATION, &place, &row.configuration).and_then(|configuration| {
                Ok((configuration, self.open_tokens_of(JOB_TOKENS, &place, &row.tokens)?))
            });
        Ok(match opened {
            Ok((configuration, tokens)) => {
                Ok(RevocationJob { lease, configuration, variables: row.variables.0, tokens })
            }
            Err(error) => Err((lease, error)),
        })
    }

    fn open_tokens_of(&self, column: Column, place: &str, sealed: &[u8]) -> Result<TokenSet, StoreError> {
        let plaintext = self.open(column, place, sealed)?;
        TokenSet::from_plaintext(&plaintext).map_err(|_| StoreError::Row { column: column.name })
    }
}

struct SealedGrant {
    name: String,
    configuration: Vec<u8>,
    overrides: Vec<u8>,
    variables: Json<BTreeMap<String, String>>,
    tokens: Vec<u8>,
}

struct SealedJob {
    id: Uuid,
    device: Uuid,
    slot: String,
    configuration: Vec<u8>,
    variables: Json<BTreeMap<String, String>>,
    tokens: Vec<u8>,
    tries: i32,
}
