//! A plugin's own settings: a merge patch over its slot's copy of the configuration.

use serde_json::Value;

use super::{Broker, install::token_fate};
use crate::{
    domain::{
        ids::{DeviceId, KeyHash, SlotAddress},
        json::Object,
        plugin::{Document, FieldError, ROUTING_MEMBERS},
        slot::{SlotConfiguration, SlotState},
    },
    store::{NewSlot, PutSlot, Reconfiguration, SealTo, StoreError},
    vault::{jwe::RecipientKey, trusted::TrustedKey},
};

/// Attempts at a change before it is given up: each failed one means that somebody else changed the slot.
const ATTEMPTS: usize = 8;

/// Why settings were not changed.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// There is no such slot.
    #[error("there is no such slot")]
    UnknownSlot,
    /// Members that don't fit.
    #[error("the settings have members that don't fit")]
    Invalid(Vec<FieldError>),
    /// Others changed the slot all the time.
    #[error("the slot is being changed by others")]
    Contended,
    /// The store failed.
    #[error("the settings could not be stored")]
    Store(#[from] StoreError),
}

impl Broker {
    /// The effective configuration of a slot, redacted.
    pub async fn show_settings(&self, address: &SlotAddress) -> Result<Object, OverrideError> {
        let state = self.store.find_state(address).await?.ok_or(OverrideError::UnknownSlot)?;
        Ok(state.configuration.effective().redacted())
    }

    /// Merges a patch into the overrides (RFC 7396); the effective configuration afterwards, redacted.
    pub async fn override_settings(
        &self,
        address: &SlotAddress,
        patch: &Object,
    ) -> Result<Object, OverrideError> {
        for _ in 0..ATTEMPTS {
            let state = self.store.find_state(address).await?.ok_or(OverrideError::UnknownSlot)?;
            let overrides = patched(&state, patch)?;
            let seal_to = match patch.get("seal_to") {
                None => state.configuration.seal_to.clone(),
                Some(Value::Null) => None,
                Some(key) => Some(self.recipient(address.device, key).await?),
            };
            let resealed = seal_to != state.configuration.seal_to;
            if !resealed && overrides.members() == state.configuration.overrides.members() {
                return Ok(state.configuration.effective().redacted());
            }
            let changed = SlotConfiguration { overrides, seal_to, ..state.configuration.clone() };
            let effective = changed.effective();
            let newer =
                self.parse_effective(&effective, &changed.variables).map_err(OverrideError::Invalid)?;
            let fate = token_fate(&state, &state.plugin, &newer, &changed.variables, self.settings.egress);
            let credentials = self.draw_credentials();
            let new = NewSlot {
                address,
                plugin: &state.plugin,
                copy: &changed.copy,
                variables: &changed.variables,
                custody: newer.custody,
                credentials: &credentials,
            };
            let seal_to = match &changed.seal_to {
                _ if !resealed => SealTo::AsBefore,
                Some(key) => SealTo::Key(key),
                None => SealTo::Nobody,
            };
            let (overrides, why) = (&changed.overrides, Reconfiguration::Overridden(seal_to));
            let put = self.store.reconfigure_slot(&new, overrides, &state, fate, why, self.now()).await?;
            if put == PutSlot::Done {
                self.bus.knock(address);
                self.revoke_after(fate);
                return Ok(effective.redacted());
            }
        }
        Err(OverrideError::Contended)
    }

    /// The trusted key that `seal_to` names, if it can be encrypted to.
    async fn recipient(&self, device: DeviceId, named: &Value) -> Result<KeyHash, OverrideError> {
        let refused = |detail: &str| {
            let (field, detail) = ("/seal_to".to_owned(), detail.to_owned());
            OverrideError::Invalid(vec![FieldError { field, detail }])
        };
        let named =
            named.as_str().ok_or_else(|| refused("must be the key_hash of a trusted key, or null"))?;
        let keys = self.store.list_trusted_keys(device).await?;
        let row = keys.into_iter().find(|key| key.key_hash.0 == named).ok_or_else(|| {
            refused("is no trusted key of this device: add the key first, and send its key_hash")
        })?;
        let key =
            TrustedKey::from_spki(&row.spki).map_err(|_| StoreError::Row { column: "trusted_keys.spki" })?;
        match RecipientKey::of(&key) {
            Some(_) => Ok(row.key_hash),
            None => Err(refused("is an Ed25519 key, which can't encrypt: use an RSA or a P-256 key")),
        }
    }
}

fn patched(state: &SlotState, patch: &Object) -> Result<Document, OverrideError> {
    let effective = state.configuration.effective();
    let mut patch = effective.unmasked_patch(patch).map_err(OverrideError::Invalid)?;
    patch.shift_remove("seal_to");
    let overrides = state.configuration.overrides.patched(&patch);
    keep_secret_home(&overrides, &state.configuration.copy)?;
    Ok(overrides)
}

/// The store's client secret never travels with an override that can send it elsewhere (B08).
fn keep_secret_home(overrides: &Document, copy: &Document) -> Result<(), OverrideError> {
    let members = overrides.members();
    let own_client = members.contains_key("client_id") && members.contains_key("client_secret");
    if own_client || !overrides.reroutes(copy) {
        return Ok(());
    }
    let errors: Vec<_> = ROUTING_MEMBERS
        .iter()
        .filter(|member| members.contains_key(**member))
        .map(|member| FieldError {
            field: format!("/{member}"),
            detail: "can only be overridden together with a client_id and client_secret of your own"
                .to_owned(),
        })
        .collect();
    Err(OverrideError::Invalid(errors))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn overrides(value: Value) -> Document {
        let Value::Object(members) = value else { panic!("an object") };
        Document::new(members)
    }

    #[test]
    fn b08_an_endpoint_of_ones_own_needs_a_client_of_ones_own() {
        let copy = Document::default();
        for member in ROUTING_MEMBERS {
            let alone = overrides(json!({ (member): "https://evil.example" }));
            let Err(OverrideError::Invalid(errors)) = keep_secret_home(&alone, &copy) else {
                panic!("{member}")
            };
            assert_eq!(errors[0].field, format!("/{member}"));
            let half = overrides(json!({ (member): "https://evil.example", "client_id": "mine" }));
            assert!(keep_secret_home(&half, &copy).is_err(), "{member}");
            let whole = overrides(
                json!({ (member): "https://x.example", "client_id": "mine", "client_secret": "s" }),
            );
            assert!(keep_secret_home(&whole, &copy).is_ok(), "{member}");
        }
        assert!(keep_secret_home(&overrides(json!({"scope": "a", "parameters": {"x": "y"}})), &copy).is_ok());
    }
}
