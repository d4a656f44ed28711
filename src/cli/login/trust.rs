//! A new key for a device: made here, trusted there, kept here.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::warn_of_the_environment;
use crate::{
    api_client::{Api, Method},
    cli::{
        credentials::{Keep, Kept, Places, Secret},
        device::key_path,
    },
    domain::{
        ids::{DeviceId, KeyHash},
        label::is_disruptive,
    },
    plugin_client::DeviceKey,
    seams::SystemEntropy,
    terminal::Terminal,
};

/// The longest name of a machine in a key's label, which has at most 64 characters.
const LONGEST_HOST: usize = 40;

/// Makes an Ed25519 key, has it trusted by a call of `api`, which acts for the device, and keeps it.
pub(in crate::cli) async fn trust_a_new_key(
    terminal: &Terminal,
    places: &Places,
    api: &Api,
    device: DeviceId,
    keep: Keep,
) -> anyhow::Result<()> {
    let (_, key, public_key) = DeviceKey::make(&SystemEntropy)?;
    let wanted = json!({ "label": label(&this_machine()), "public_key": public_key });
    let added = api.call(Method::POST, &format!("/api/devices/{device}/keys"), Some(&wanted)).await?;
    let key_hash = added.get("key_hash").and_then(Value::as_str).context("the server named no key")?;
    let key_hash = KeyHash(key_hash.to_owned());
    let secret = Secret::DeviceKey { device, key, key_hash: key_hash.clone() };
    let path = match places.keep(&Kept { server: api.server().clone(), secret }, keep) {
        Ok(path) => path,
        Err(error) => {
            // Nobody has this key any more, so nobody should be believed with it.
            let _ = api.call(Method::DELETE, &key_path(device, &key_hash), None).await;
            return Err(error);
        }
    };
    terminal
        .note(format_args!("Signed in as the device {device}; its new key is kept in {}.", path.display()));
    warn_of_the_environment(terminal, places);
    Ok(())
}

fn label(host: &str) -> String {
    let host: String = host.chars().filter(|c| !is_disruptive(*c)).take(LONGEST_HOST).collect();
    match host.trim() {
        "" => "cloudlink login".to_owned(),
        host => format!("cloudlink login on {host}"),
    }
}

fn this_machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::label::Label;

    #[test]
    fn whatever_the_machine_is_called_the_key_has_a_label() {
        for host in ["kitchen", "", " ", "a\nb", &"ä".repeat(200), &this_machine()] {
            assert!(label(host).parse::<Label>().is_ok(), "{host:?}");
        }
        assert_eq!(label("kitchen"), "cloudlink login on kitchen");
    }
}
