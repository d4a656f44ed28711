//! The plugin store.

use time::OffsetDateTime;

use super::{
    Column, Store, StoreError,
    audit::{NewAudit, put_audit},
    claims::is_claimed,
    column, parse_column,
};
use crate::domain::{
    audit::{Action, Origin},
    ids::PluginId,
    plugin::{Claim, Document, RedirectUriKind},
};

const CONFIGURATION: Column = column!("plugins", "configuration");

/// A plugin as it is stored.
#[derive(Debug, Clone)]
pub struct PluginRow {
    /// Its id.
    pub id: PluginId,
    /// The configuration as its author wrote it.
    pub configuration: Document,
    /// What it claims to speak for.
    pub claim: Claim,
    /// Which claim that was: the lower number came first.
    pub claim_number: i64,
    /// Whether it waits for the owner's approval.
    pub quarantined: bool,
    /// When the owner approved this claim.
    pub approved_at: Option<OffsetDateTime>,
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutPlugin {
    /// It is new.
    Created,
    /// It replaced what was there.
    Replaced,
}

impl Store {
    /// Stores a configuration. A new claim is checked against the others' and loses its approval; writers take
    /// turns, so that of two that claim the same exactly one is first.
    pub async fn put_plugin(
        &self,
        id: &PluginId,
        configuration: &Document,
        claim: &Claim,
        redirect_uri: RedirectUriKind,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<PutPlugin, StoreError> {
        let sealed = self.seal(CONFIGURATION, id.as_str(), &configuration.to_plaintext());
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("-- lock_claims\nlock table plugins in share row exclusive mode")
            .execute(&mut *transaction)
            .await?;
        // A claim that stays the same keeps its place: those that came after it can't quarantine it.
        let since = sqlx::query_scalar!(
            "-- find_claim_number
            select claim_number from plugins
            where id = $1 and auth_origin = $2 and token_origin = $3 and client_id = $4",
            id.as_str(),
            claim.auth_origin,
            claim.token_origin,
            claim.client_id
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let conflicts = redirect_uri == RedirectUriKind::Shared
            && is_claimed(&mut *transaction, id, claim, since).await?;
        let inserted = sqlx::query_scalar!(
            r#"-- put_plugin
            insert into plugins as old (id, configuration, auth_origin, token_origin, client_id, quarantined,
                approved_at, claim_number, created_at, updated_at)
            values ($1, $2, $3, $4, $5, $6, null, nextval('claim_numbers'), $7, $7)
            on conflict (id) do update set
                configuration = excluded.configuration, updated_at = excluded.updated_at,
                auth_origin = excluded.auth_origin, token_origin = excluded.token_origin,
                client_id = excluded.client_id,
                quarantined = excluded.quarantined and not (old.approved_at is not null
                    and (old.auth_origin, old.token_origin, old.client_id)
                      = (excluded.auth_origin, excluded.token_origin, excluded.client_id)),
                approved_at = case when (old.auth_origin, old.token_origin, old.client_id)
                      = (excluded.auth_origin, excluded.token_origin, excluded.client_id)
                    then old.approved_at end,
                claim_number = case when (old.auth_origin, old.token_origin, old.client_id)
                      = (excluded.auth_origin, excluded.token_origin, excluded.client_id)
                    then old.claim_number else excluded.claim_number end
            returning (xmax = 0) as "inserted!""#,
            id.as_str(),
            sealed,
            claim.auth_origin,
            claim.token_origin,
            claim.client_id,
            conflicts,
            now
        )
        .fetch_one(&mut *transaction)
        .await?;
        let done = NewAudit { by, action: Action::PluginPut, subject: Some(&subject(id)) };
        put_audit(&mut *transaction, &done, now).await?;
        transaction.commit().await?;
        Ok(if inserted { PutPlugin::Created } else { PutPlugin::Replaced })
    }

    /// A plugin by its id.
    pub async fn find_plugin(&self, id: &PluginId) -> Result<Option<PluginRow>, StoreError> {
        let row = sqlx::query_as!(
            SealedPlugin,
            "-- find_plugin
            select id, configuration, auth_origin, token_origin, client_id, quarantined, approved_at, claim_number
            from plugins where id = $1",
            id.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| self.open_plugin(row)).transpose()
    }

    /// All plugins, by id.
    pub async fn list_plugins(&self) -> Result<Vec<PluginRow>, StoreError> {
        let rows = sqlx::query_as!(
            SealedPlugin,
            "-- list_plugins
            select id, configuration, auth_origin, token_origin, client_id, quarantined, approved_at, claim_number
            from plugins order by id limit 10000"
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| self.open_plugin(row)).collect()
    }

    /// Plugins by id, from behind `after` on.
    pub async fn list_plugins_after(
        &self,
        after: Option<&PluginId>,
        limit: u8,
    ) -> Result<Vec<PluginRow>, StoreError> {
        let rows = sqlx::query_as!(
            SealedPlugin,
            "-- list_plugins_after
            select id, configuration, auth_origin, token_origin, client_id, quarantined, approved_at, claim_number
            from plugins where id > $1 order by id limit $2",
            after.map_or("", PluginId::as_str),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| self.open_plugin(row)).collect()
    }

    /// Removes a plugin from the store; slots keep the copies they made. Whether there was one.
    pub async fn delete_plugin(
        &self,
        id: &PluginId,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "-- delete_plugin
            with gone as (delete from plugins where id = $1 returning id)
            insert into audit (at, actor, address, action, subject) select $2, $3, $4, $5, $6 from gone",
            id.as_str(),
            now,
            by.actor.to_string(),
            by.address(),
            Action::PluginDeleted.as_str(),
            subject(id)
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Lifts a quarantine, for the claim that is stored now. Whether there is such a plugin.
    pub async fn approve_plugin(
        &self,
        id: &PluginId,
        by: &Origin,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "-- approve_plugin
            with approved as (
                update plugins set quarantined = false, approved_at = $2 where id = $1 returning id)
            insert into audit (at, actor, address, action, subject) select $2, $3, $4, $5, $6 from approved",
            id.as_str(),
            now,
            by.actor.to_string(),
            by.address(),
            Action::PluginApproved.as_str(),
            subject(id)
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    fn open_plugin(&self, row: SealedPlugin) -> Result<PluginRow, StoreError> {
        let plaintext = self.open(CONFIGURATION, &row.id, &row.configuration)?;
        let configuration = Document::from_plaintext(&plaintext)
            .map_err(|_| StoreError::Row { column: CONFIGURATION.name })?;
        Ok(PluginRow {
            id: parse_column("plugins.id", &row.id)?,
            configuration,
            claim: Claim {
                auth_origin: row.auth_origin,
                token_origin: row.token_origin,
                client_id: row.client_id,
            },
            claim_number: row.claim_number,
            quarantined: row.quarantined,
            approved_at: row.approved_at,
        })
    }
}

fn subject(id: &PluginId) -> String {
    format!("plugin:{id}")
}

struct SealedPlugin {
    id: String,
    configuration: Vec<u8>,
    auth_origin: String,
    token_origin: String,
    client_id: String,
    quarantined: bool,
    approved_at: Option<OffsetDateTime>,
    claim_number: i64,
}
