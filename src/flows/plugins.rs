//! The plugin store's verbs: put, show, list, approve, remove.

use std::collections::BTreeMap;

use super::Broker;
use crate::{
    domain::{
        audit::Origin,
        ids::PluginId,
        json::Object,
        plugin::{self, Claim, Document, FieldError, RedirectUriKind, Warning},
        public_url::PublicUrl,
    },
    store::{PluginRow, PutPlugin, StoreError},
};

/// A plugin as the owner is shown it: no secret in it.
#[derive(Debug)]
pub struct PluginView {
    /// Its id.
    pub id: PluginId,
    /// The members as they were given, secrets masked.
    pub members: Object,
    /// Its own redirect URI.
    pub own_redirect_uri: String,
    /// The shared redirect URI.
    pub shared_redirect_uri: String,
    /// What its author should know.
    pub warnings: Vec<Warning>,
    /// Whether it waits for the owner's approval.
    pub quarantined: bool,
    /// The authorization and the token server it speaks for, as it claims.
    pub claim: Claim,
}

/// Why a configuration was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutPluginError {
    /// Members that don't fit.
    #[error("the configuration has members that don't fit")]
    Invalid(Vec<FieldError>),
    /// The store failed.
    #[error("the configuration could not be stored")]
    Store(#[from] StoreError),
}

impl Broker {
    /// Stores a plugin's configuration. Slots keep the copies they made.
    pub async fn put_plugin(
        &self,
        id: &PluginId,
        members: Object,
        by: &Origin,
    ) -> Result<(PutPlugin, PluginView), PutPluginError> {
        let stored = self.store.find_plugin(id).await?;
        let document = Document::new(members)
            .unmasked(stored.as_ref().map(|row| &row.configuration))
            .map_err(PutPluginError::Invalid)?;
        let parsed = plugin::parse(&document, self.settings.egress).map_err(PutPluginError::Invalid)?;
        let claim = parsed.configuration.claim(&BTreeMap::new());
        let redirect_uri = parsed.configuration.redirect_uri;
        let put = self.store.put_plugin(id, &document, &claim, redirect_uri, by, self.now()).await?;
        let quarantined = self.store.find_plugin(id).await?.is_some_and(|row| row.quarantined);
        let subject = Viewed { id, document: &document, claim: &claim, quarantined };
        let view = view(&self.settings.public_url, &subject, parsed.warnings);
        Ok((put, view))
    }

    /// A plugin as the owner is shown it.
    pub async fn show_plugin(&self, id: &PluginId) -> Result<Option<PluginView>, StoreError> {
        let row = self.store.find_plugin(id).await?;
        Ok(row.map(|row| self.view_plugin(&row)))
    }

    /// All plugins, by id.
    pub async fn show_plugins(&self) -> Result<Vec<PluginView>, StoreError> {
        let rows = self.store.list_plugins().await?;
        Ok(rows.iter().map(|row| self.view_plugin(row)).collect())
    }

    /// Removes a plugin from the store; slots keep the copies they made. Whether there was one.
    pub async fn remove_plugin(&self, id: &PluginId, by: &Origin) -> Result<bool, StoreError> {
        self.store.delete_plugin(id, by, self.now()).await
    }

    /// Lifts a plugin's quarantine (the flow, 3). Whether there is such a plugin.
    pub async fn approve_plugin(&self, id: &PluginId, by: &Origin) -> Result<bool, StoreError> {
        self.store.approve_plugin(id, by, self.now()).await
    }

    pub(super) fn view_plugin(&self, row: &PluginRow) -> PluginView {
        // What was accepted once is shown even where today's rules would refuse it.
        let warnings = match plugin::parse(&row.configuration, self.settings.egress) {
            Ok(parsed) => parsed.warnings,
            Err(errors) => {
                errors.into_iter().map(|error| Warning { field: error.field, detail: error.detail }).collect()
            }
        };
        let subject = Viewed {
            id: &row.id,
            document: &row.configuration,
            claim: &row.claim,
            quarantined: row.quarantined,
        };
        view(&self.settings.public_url, &subject, warnings)
    }
}

/// A plugin to show.
struct Viewed<'a> {
    id: &'a PluginId,
    document: &'a Document,
    claim: &'a Claim,
    quarantined: bool,
}

fn view(public_url: &PublicUrl, subject: &Viewed<'_>, mut warnings: Vec<Warning>) -> PluginView {
    let Viewed { id, document, claim, quarantined } = *subject;
    if quarantined {
        warnings.push(Warning {
            field: "/auth_endpoint".to_owned(),
            detail: "another plugin speaks for this authorization server already: flows on the shared redirect URI \
                     wait for your approval (POST /api/plugins/{plugin}/approve), or use \"redirect_uri\": \"own\""
                .to_owned(),
        });
    }
    PluginView {
        id: id.clone(),
        members: document.redacted(),
        own_redirect_uri: public_url.redirect_uri(RedirectUriKind::Own, id),
        shared_redirect_uri: public_url.redirect_uri(RedirectUriKind::Shared, id),
        warnings,
        quarantined,
        claim: claim.clone(),
    }
}
