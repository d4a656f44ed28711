//! What is of no use any more, counted; and tokens that should not be there.
//!
//! What is counted here is what the `forget_` statements delete.

use time::OffsetDateTime;

use super::{Store, StoreError};

/// From when on each kind counts as old.
#[derive(Debug, Clone, Copy)]
pub struct Horizons {
    /// The present.
    pub now: OffsetDateTime,
    /// Flows that ran out before are not asked about any more.
    pub flows: OffsetDateTime,
    /// Home Assistant's attempts that ran out before are not asked about any more.
    pub account_links: OffsetDateTime,
    /// Networks from which nobody logged in since are strangers.
    pub networks: OffsetDateTime,
    /// Entries of the audit record from before are forgotten.
    pub audit: OffsetDateTime,
}

/// Rows that are of no use any more, by kind.
pub type Reapable = [(&'static str, u64); 13];

impl Store {
    /// Counts what one round of forgetting would delete. One query.
    pub async fn count_reapable(&self, horizons: &Horizons) -> Result<Reapable, StoreError> {
        let count = sqlx::query!(
            r#"-- count_reapable
            select
                (select count(*) from flows where expires_at < $2 and status not in ('exchanging')) as "flows!",
                (select count(*) from assertion_ids where forget_at < $1) as "assertion_ids!",
                (select count(*) from revocations where forget_at < $1) as "revocations!",
                (select count(*) from revoked_tokens where forget_at < $1) as "revoked_tokens!",
                (select count(*) from sign_ins where forget_at < $1) as "sign_ins!",
                (select count(*) from enrolment_codes where expires_at <= $1) as "enrolment_codes!",
                (select count(*) from login_attempts a
                 where a.logged_in_at < $3
                    or (a.retry_at < $4 and not exists (select 1 from devices d where d.id = a.device))
                ) as "login_attempts!",
                (select count(*) from signing_keys where retires_at <= $1) as "signing_keys!",
                (select count(*) from audit where at < $5) as "audit!",
                (select count(*) from revocation_jobs where give_up_at <= $1) as "revocation_jobs!",
                (select count(*) from account_links where expires_at < $6 and finished_at is not null)
                    as "account_links!",
                (select count(*) from account_refreshes where forget_at <= $1) as "account_refreshes!",
                (select count(*) from grants g join slots s on s.device = g.device and s.name = g.slot
                 where g.refresh_lease_until is null
                   and (s.status <> 'linked' or (s.custody = 'device' and s.acked_version >= s.tokens_version
                        and (s.seal_to is null or exists (
                            select 1 from trusted_keys k where k.device = s.device and k.key_hash = s.seal_to))))
                ) as "stray_tokens!""#,
            horizons.now,
            horizons.flows,
            horizons.networks,
            horizons.now - time::Duration::HOUR,
            horizons.audit,
            horizons.account_links
        )
        .fetch_one(&self.pool)
        .await?;
        Ok([
            ("flows", count.flows),
            ("assertion_ids", count.assertion_ids),
            ("revocations", count.revocations),
            ("revoked_tokens", count.revoked_tokens),
            ("sign_ins", count.sign_ins),
            ("enrolment_codes", count.enrolment_codes),
            ("login_attempts", count.login_attempts),
            ("signing_keys", count.signing_keys),
            ("audit_entries", count.audit),
            ("revocation_jobs", count.revocation_jobs),
            ("account_links", count.account_links),
            ("account_refreshes", count.account_refreshes),
            ("stray_tokens", count.stray_tokens),
        ]
        .map(|(kind, rows)| (kind, u64::try_from(rows).unwrap_or_default())))
    }

    /// Erases tokens of slots that are not linked, or whose plugin has them: statements that end a link, or hand
    /// tokens over, erase them themselves, so that there are none unless somebody wrote into the database,
    /// acknowledged a version before it was there, or while a refresh was under way that then failed. The slots are
    /// held, so that what comes meanwhile stays.
    pub async fn forget_stray_tokens(&self) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "-- forget_stray_tokens
            with stray as (
                select s.device, s.name from slots s join grants g on g.device = s.device and g.slot = s.name
                where g.refresh_lease_until is null
                  and (s.status <> 'linked' or (s.custody = 'device' and s.acked_version >= s.tokens_version
                       and (s.seal_to is null or exists (
                           select 1 from trusted_keys k where k.device = s.device and k.key_hash = s.seal_to))))
                for update of s skip locked)
            delete from grants g using stray where g.device = stray.device and g.slot = stray.name"
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}
