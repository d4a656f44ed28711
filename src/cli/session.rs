//! A command's way to the server: the credential that was found, and the API called with it.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use super::credentials::{Found, Places, Secret, Source};
use crate::{
    api_client::{Api, Caller, Claims, Who},
    domain::{
        clock::Clock as _,
        ids::{DeviceId, KeyHash},
        secret::PrivateKeyPem,
    },
    plugin_client::{DeviceKey, PluginClient, Server},
    seams::{SystemClock, SystemEntropy},
    terminal::{Terminal, moment},
};

/// Somebody who is signed in.
pub(super) struct Session {
    /// The API, called as whoever is signed in.
    pub(super) api: Api,
    /// What the token in use says.
    pub(super) claims: Claims,
    /// Where the credential came from.
    pub(super) source: Source,
    /// The key that the token was obtained with, where it is a device's.
    pub(super) key_hash: Option<KeyHash>,
}

impl Session {
    /// Finds the credential and says which it is; a device's key is traded for a token.
    pub(super) async fn open(terminal: &Terminal) -> anyhow::Result<Self> {
        let Found { kept, source } = Places::of_this_process().find()?;
        let server = kept.server;
        let (token, claims, key_hash) = match kept.secret {
            Secret::Token { token, claims } => (token, claims, None),
            Secret::DeviceKey { device, key, key_hash } => {
                let token =
                    device_client(server.clone(), device, signing(&key, &source)?).access_token().await?;
                let claims =
                    Claims::read(&token).context("the server gave no access token of a cloudlink")?;
                (token, claims, Some(key_hash))
            }
        };
        let who = shown(claims.who);
        terminal.note(format_args!("{who} at {} ({source})", server.url()));
        let api = Api::new(server, Caller::Bearer(token));
        Ok(Self { api, claims, source, key_hash })
    }

    /// The device that is meant: the one given, else the one that is signed in.
    pub(super) fn device(&self, given: Option<DeviceId>) -> anyhow::Result<DeviceId> {
        match (given, self.claims.who) {
            (Some(device), _) | (None, Who::Device(device)) => Ok(device),
            (None, Who::Owner) => {
                bail!("which device? Give --device ID; `cloudlink device list` shows the ids")
            }
        }
    }

    /// What to do where the server refused the credential. A token whose time is up by this machine's clock, too, is
    /// of no use to anybody, so its file is removed.
    pub(super) fn refused(&self, error: anyhow::Error) -> anyhow::Error {
        let (until, server) = (self.claims.expires_at, self.api.server().url());
        let is_over = self.key_hash.is_none() && until <= SystemClock.now();
        match &self.source {
            Source::Environment if is_over => {
                anyhow!(
                    "the token in CLOUDLINK_TOKEN has expired: sign in again and set it anew, or unset it"
                )
            }
            Source::File(path) if is_over => {
                if let Err(error) = self.source.forget() {
                    return error;
                }
                anyhow!(
                    "you were signed in until {}, and {} is removed: sign in again with `cloudlink login --url \
                     {server}`",
                    moment(until),
                    path.display()
                )
            }
            Source::Environment | Source::File(_) => error,
        }
    }
}

/// `owner`, or `device ID`.
pub(super) fn shown(who: Who) -> String {
    match who {
        Who::Owner => "owner".to_owned(),
        Who::Device(device) => format!("device {device}"),
    }
}

/// The device that is signed in by its key.
pub(super) fn signed_in_device(terminal: &Terminal) -> anyhow::Result<PluginClient> {
    let Found { kept, source } = Places::of_this_process().find()?;
    let Secret::DeviceKey { device, key, .. } = &kept.secret else {
        bail!(
            "{source} is no device's key: `cloudlink login --device ID`, or give --url, --device and --key"
        );
    };
    terminal.note(format_args!("device {device} at {} ({source})", kept.server.url()));
    Ok(device_client(kept.server.clone(), *device, signing(key, &source)?))
}

fn signing(key: &PrivateKeyPem, source: &Source) -> anyhow::Result<DeviceKey> {
    DeviceKey::from_pem(key, &SystemEntropy)
        .with_context(|| format!("the key in {source} can't sign: sign in again"))
}

/// A device that signs with `key`.
pub(super) fn device_client(server: Server, device: DeviceId, key: DeviceKey) -> PluginClient {
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    PluginClient { server, device, slot: None, key: Arc::new(key), clock, entropy }
}
