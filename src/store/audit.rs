//! The record of who did what: written in the statement that does it, or in its transaction, wherever there is one.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::{Store, StoreError};
use crate::domain::{
    audit::{Action, Origin},
    ids::DeviceId,
};

/// An entry to write.
#[derive(Debug)]
pub struct NewAudit<'a> {
    /// Who, from where.
    pub by: &'a Origin,
    /// What.
    pub action: Action,
    /// To whom or what.
    pub subject: Option<&'a str>,
}

/// An entry as it was written.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// Counts up.
    pub id: i64,
    /// When.
    pub at: OffsetDateTime,
    /// Who.
    pub actor: String,
    /// From where: an IPv4 address or an IPv6 /64.
    pub address: Option<String>,
    /// What; a newer replica may have written a word that this one does not know.
    pub action: String,
    /// To whom or what.
    pub subject: Option<String>,
    /// A key, or the error of a flow.
    pub detail: Option<String>,
}

impl Store {
    /// Writes an entry about what no statement carries.
    pub async fn put_audit(&self, new: &NewAudit<'_>, now: OffsetDateTime) -> Result<(), StoreError> {
        put_audit(&self.pool, new, now).await
    }

    /// Writes that a command is sent to a hub: its name, never its data.
    pub async fn put_audit_of_command(
        &self,
        device: DeviceId,
        command: &str,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- put_audit_of_command
            insert into audit (at, actor, address, action, subject, detail) values ($1, $2, $3, $4, $5, $6)",
            now,
            by.actor.to_string(),
            by.address(),
            Action::CommandSent.as_str(),
            format!("device:{device}"),
            command
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Entries older than the one with the id `before`, or all, newest first.
    pub async fn list_audit(&self, before: Option<i64>, limit: u8) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query_as!(
            AuditRow,
            "-- list_audit
            select id, at, actor, address, action, subject, detail from audit
            where id < $1 order by id desc limit $2",
            before.unwrap_or(i64::MAX),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// The entries that came right after the one with the id `after`, newest first.
    pub async fn list_audit_after(&self, after: i64, limit: u8) -> Result<Vec<AuditRow>, StoreError> {
        let mut rows = sqlx::query_as!(
            AuditRow,
            "-- list_audit_after
            select id, at, actor, address, action, subject, detail from audit
            where id > $1 order by id limit $2",
            after,
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?;
        rows.reverse();
        Ok(rows)
    }

    /// As [`Store::list_audit`], of one subject alone.
    pub async fn list_audit_of_subject(
        &self,
        subject: &str,
        before: Option<i64>,
        limit: u8,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query_as!(
            AuditRow,
            "-- list_audit_of_subject
            select id, at, actor, address, action, subject, detail from audit
            where subject = $1 and id < $2 order by id desc limit $3",
            subject,
            before.unwrap_or(i64::MAX),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// Of each of these subjects the newest entry with one of these actions.
    pub async fn list_latest_audit(
        &self,
        subjects: &[String],
        actions: &[Action],
    ) -> Result<Vec<AuditRow>, StoreError> {
        let actions: Vec<String> = actions.iter().map(|action| action.as_str().to_owned()).collect();
        let rows = sqlx::query_as!(
            AuditRow,
            r#"-- list_latest_audit
            select a.id as "id!", a.at as "at!", a.actor as "actor!", a.address, a.action as "action!", a.subject,
                a.detail
            from unnest($1::text[]) as wanted (subject) cross join lateral (
                select id, at, actor, address, action, subject, detail from audit
                where audit.subject = wanted.subject and action = any($2) order by id desc limit 1) a"#,
            subjects,
            &actions
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// Forgets what was written before `before`.
    pub async fn forget_audit(&self, before: OffsetDateTime) -> Result<(), StoreError> {
        sqlx::query!("-- forget_audit\ndelete from audit where at < $1", before).execute(&self.pool).await?;
        Ok(())
    }
}

/// Writes an entry as a part of a transaction.
pub(super) async fn put_audit(
    executor: impl PgExecutor<'_>,
    new: &NewAudit<'_>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- put_audit
        insert into audit (at, actor, address, action, subject) values ($1, $2, $3, $4, $5)",
        now,
        new.by.actor.to_string(),
        new.by.address(),
        new.action.as_str(),
        new.subject
    )
    .execute(executor)
    .await?;
    Ok(())
}
