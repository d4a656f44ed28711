//! Another configuration for a slot that exists, and what that does to its tokens and flows: one transaction.

use sqlx::types::Json;
use time::OffsetDateTime;

use super::{
    NewSlot, PutSlot, Store, StoreError,
    audit::{NewAudit, put_audit},
    custody::change_hands,
    slots::{CONFIGURATION, HANDLE, OVERRIDES, handle_hash, subject},
    unlink::end_flows_of_slot,
};
use crate::domain::{
    audit::{Action, Origin},
    ids::KeyHash,
    plugin::Document,
    slot::{SlotConfiguration, SlotState},
};

/// What becomes of a slot's tokens when its configuration changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokensAfterChange {
    /// They are still for the same client at the same hosts.
    Keep,
    /// As before, and the custody changes: the plugin is told them anew, in the form that it has now. What it keeps
    /// itself can't be taken back: then its user must link again, or it imports them.
    ChangeHands,
    /// They must not go to the new client or hosts: erased, and flows under way ended.
    Erase,
}

/// Why a slot's configuration changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconfiguration<'a> {
    /// The plugin was installed again, by somebody.
    Installed(&'a Origin),
    /// Its overrides changed.
    Overridden(SealTo<'a>),
}

/// What becomes of a slot's `seal_to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealTo<'a> {
    /// It stays, be the key trusted or not.
    AsBefore,
    /// This trusted key.
    Key(&'a KeyHash),
    /// None any more.
    Nobody,
}

impl Store {
    /// Gives a slot another configuration, guarded by the version of the state that the caller looked at. Where tokens
    /// must not outlive the change they go in the same transaction, and so do the flows that would bring new ones.
    /// They are still to be revoked, at the hosts that they came from. Another `seal_to` makes the tokens news, in their
    /// new form; the lock keeps its key trusted until this is committed.
    pub async fn reconfigure_slot(
        &self,
        new: &NewSlot<'_>,
        overrides: &Document,
        before: &SlotState,
        tokens: TokensAfterChange,
        why: Reconfiguration<'_>,
        now: OffsetDateTime,
    ) -> Result<PutSlot, StoreError> {
        let place = new.address.to_string();
        let (device, slot) = (new.address.device.0, new.address.slot.as_str());
        let (resealed, seal_to) = match why {
            Reconfiguration::Installed(_) | Reconfiguration::Overridden(SealTo::AsBefore) => (false, None),
            Reconfiguration::Overridden(SealTo::Nobody) => (true, None),
            Reconfiguration::Overridden(SealTo::Key(key)) => (true, Some(key.0.as_str())),
        };
        let mut transaction = self.pool.begin().await?;
        let done = sqlx::query!(
            "-- reconfigure_slot
            with recipient as (
                select key_hash from trusted_keys where device = $1 and key_hash = $10 for key share)
            update slots set plugin = $3, configuration = $4, overrides = $5, variables = $6, configured_at = $7,
                version = version + 1, configuration_version = version + 1, custody = $11,
                seal_to = case when $9::boolean then $10 else seal_to end,
                tokens_version = case when $9 then version + 1 else tokens_version end
            where device = $1 and name = $2 and version = $8
                and ($10::text is null or exists (select from recipient))",
            device,
            slot,
            new.plugin.as_str(),
            self.seal(CONFIGURATION, &place, &new.copy.to_plaintext()),
            self.seal(OVERRIDES, &place, &overrides.to_plaintext()),
            Json(new.variables) as _,
            now,
            before.version.0,
            resealed,
            seal_to,
            new.custody.as_str()
        )
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(PutSlot::Conflict);
        }
        if tokens == TokensAfterChange::ChangeHands {
            change_hands(&mut transaction, new.address).await?;
        }
        if tokens == TokensAfterChange::Erase {
            sqlx::query!(
                "-- erase_tokens
                with gone as (delete from grants where device = $1 and slot = $2)
                update slots set status = 'unlinked', reason = null, link_version = version, tokens_version = version,
                    handle = $3, handle_hash = $4
                where device = $1 and name = $2 and status <> 'unlinked'",
                device,
                slot,
                self.seal(HANDLE, &place, new.credentials.handle.expose().as_bytes()),
                handle_hash(&new.credentials.handle).to_vec()
            )
            .execute(&mut *transaction)
            .await?;
            end_flows_of_slot(&mut transaction, new.address, now).await?;
            if let Some(tokens) = &before.tokens {
                let SlotConfiguration { variables, .. } = &before.configuration;
                let configuration = before.configuration.effective();
                self.revoke_later(&mut transaction, new.address, &configuration, variables, tokens, now)
                    .await?;
            }
        }
        if tokens != TokensAfterChange::Erase {
            // Another margin, custody or secret: look again. Not while the provider asks for a rest; and who is
            // asking it now sees by the configuration's version that somebody must look again.
            sqlx::query!(
                "-- look_again_at_grant
                update grants set refresh_at = case $4 when 'broker' then $3::timestamptz end, refresh_set_at = $3,
                    refresh_hold_until = null
                where device = $1 and slot = $2 and refresh_lease_until is null
                  and refresh_trouble is distinct from 'provider'",
                device,
                slot,
                now,
                new.custody.as_str()
            )
            .execute(&mut *transaction)
            .await?;
        }
        if let Reconfiguration::Installed(by) = why {
            let done = NewAudit { by, action: Action::SlotInstalled, subject: Some(&subject(new.address)) };
            put_audit(&mut *transaction, &done, now).await?;
        }
        transaction.commit().await?;
        Ok(PutSlot::Done)
    }
}
