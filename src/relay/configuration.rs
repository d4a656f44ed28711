//! The configuration as a plugin is sent it: `customns`, `oauth`.
//!
//! The plugin's stock OAuth library talks to the broker's token endpoint, with the slot's own credentials. So
//! those replace the provider's, and what describes only the broker's talk with the provider is left out:
//! at the broker it would be wrong, and some of it is secret. The rest, the author's own members included,
//! comes from the redacted document, so that no secret of the provider can be in it; a mask is no value that
//! a plugin could use, and is left out too.

use serde_json::Value;

use crate::domain::{json::Object, plugin::MASK, public_url::PublicUrl, slot::SlotState};

/// The broker's own token endpoint, for plugins.
const TOKEN_PATH: &str = "/api/cloudlink/token";

/// How requests to the provider are made, and how its answers are read.
const BETWEEN_BROKER_AND_PROVIDER: [&str; 9] = [
    "private_key",
    "token_auth",
    "token_format",
    "token_headers",
    "refresh_endpoint",
    "refresh_parameters",
    "revocation_endpoint",
    "response_fields",
    "parameter_names",
];

/// The configuration of a slot as its plugin is sent it.
pub(super) fn for_plugin(state: &SlotState, public_url: &PublicUrl) -> Object {
    let mut members = state.configuration.effective().redacted();
    for member in BETWEEN_BROKER_AND_PROVIDER {
        members.shift_remove(member);
    }
    members.insert("token_endpoint".to_owned(), public_url.join(TOKEN_PATH).into());
    members.insert("client_id".to_owned(), state.credentials.client_id.as_str().into());
    members.insert("client_secret".to_owned(), state.credentials.client_secret.expose().into());
    let mut members = Value::Object(members);
    remove_masks(&mut members);
    if let Value::Object(members) = members { members } else { Object::new() }
}

fn remove_masks(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| member != MASK);
            members.values_mut().for_each(remove_masks);
        }
        Value::Array(elements) => {
            elements.retain(|element| element != MASK);
            elements.iter_mut().for_each(remove_masks);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::relay::fixture;

    const STORED: &str = r#"{
        "name": "Ecobee", "client_id": "provider-id", "client_secret": "canary-1",
        "auth_endpoint": "https://a.example/authorize", "token_endpoint": "https://a.example/token",
        "scope": "read write", "addScope": false, "addRedirect": true,
        "parameters": {"audience": "x", "api_secret": "canary-9"}, "token_parameters": {"y": "z"},
        "private_key": "canary-2", "token_headers": {"X-Key": "canary-3"}, "token_auth": "basic", "token_format": "json",
        "refresh_endpoint": "https://a.example/canary-4", "refresh_parameters": {"x": "canary-5"},
        "revocation_endpoint": "https://a.example/canary-6", "response_fields": {"access_token": "canary-7"},
        "parameter_names": {"token": {"code": "canary-8"}}, "hint": {"of": ["the author", "********"], "masked": "********"}
    }"#;

    #[test]
    fn a_plugin_gets_the_brokers_endpoint_and_the_slots_own_credentials_in_the_authors_order() {
        let state = fixture::Slot { configuration: STORED, ..fixture::Slot::default() }.state();
        let sent = Value::Object(for_plugin(&state, &fixture::public_url()));
        let expected = json!({
            "name": "Ecobee", "client_id": "slot-id", "client_secret": "slot-secret",
            "auth_endpoint": "https://a.example/authorize",
            "token_endpoint": "https://cloud.example/api/cloudlink/token",
            "scope": "read write", "addScope": false, "addRedirect": true,
            "parameters": {"audience": "x"}, "token_parameters": {"y": "z"}, "hint": {"of": ["the author"]}
        });
        assert_eq!(sent.to_string(), expected.to_string());
    }

    #[test]
    fn i09_no_secret_of_the_provider_is_in_it() {
        let state = fixture::Slot { configuration: STORED, ..fixture::Slot::default() }.state();
        let sent = Value::Object(for_plugin(&state, &fixture::public_url())).to_string();
        assert!(!sent.contains("canary") && !sent.contains("provider-id") && !sent.contains(MASK), "{sent}");
    }

    #[test]
    fn a_public_clients_plugin_gets_a_secret_for_the_broker() {
        let state =
            fixture::Slot { configuration: r#"{"token_auth": "none"}"#, ..fixture::Slot::default() }.state();
        let sent = for_plugin(&state, &fixture::public_url());
        assert_eq!(sent.get("client_secret"), Some(&json!("slot-secret")));
    }
}
