//! What will go wrong with a plugin's configuration, looked for before a person meets it.

use std::collections::BTreeMap;

use url::Url;

use super::Broker;
use crate::{
    domain::{
        doctor::{Finding, Severity},
        ids::PluginId,
        plugin::{self, OauthConfiguration, RedirectUriKind},
    },
    store::{PluginRow, StoreError},
};

impl Broker {
    /// What is found wrong with a plugin, worst first; `None` where there is no such plugin. Asks the provider's
    /// addresses without credentials: at most eight requests, 20 s.
    pub async fn examine_plugin(&self, id: &PluginId) -> Result<Option<Vec<Finding>>, StoreError> {
        let Some(row) = self.store.find_plugin(id).await? else { return Ok(None) };
        let redirect_uri = |configuration: &OauthConfiguration| {
            Url::parse(&self.settings.public_url.redirect_uri(configuration.redirect_uri, id)).ok()
        };
        let entropy = self.entropy.as_ref();
        let mut findings = self.provider.examine_document(&row.configuration, redirect_uri, entropy).await;
        if let Ok(parsed) = plugin::parse(&row.configuration, self.settings.egress) {
            findings.extend(self.rivals(&row, &parsed.configuration).await?);
            findings.sort_by_key(|finding| finding.severity);
        }
        Ok(Some(findings))
    }

    /// Who else speaks for this client or authorization server (the flow, 3). With a redirect URI of its own a plugin's
    /// codes come to it alone, whoever else there is: then there is nothing to tell.
    async fn rivals(
        &self,
        row: &PluginRow,
        configuration: &OauthConfiguration,
    ) -> Result<Option<Finding>, StoreError> {
        if configuration.redirect_uri == RedirectUriKind::Own {
            return Ok(None);
        }
        let claim = configuration.claim(&BTreeMap::new());
        let rivals = self.store.list_rivals(&row.id, &claim).await?;
        if rivals.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = rivals.iter().map(PluginId::as_str).collect();
        let who =
            format!("these plugins speak for the same client or authorization server: {}", names.join(", "));
        Ok(Some(if row.quarantined {
            let detail = format!(
                "{who}. Flows wait for the owner's approval (POST /api/plugins/{}/approve); or set redirect_uri to \
                 \"own\"",
                row.id
            );
            Finding::about(Severity::Error, "awaiting_approval", "/auth_endpoint", detail)
        } else {
            let detail = format!("{who}. With redirect_uri \"own\" neither can get the other's codes");
            Finding::about(Severity::Warning, "claimed_by_another", "/auth_endpoint", detail)
        }))
    }
}
