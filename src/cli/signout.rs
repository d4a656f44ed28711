//! `cloudlink signout`: what this machine was given ends, here and at the server.
//!
//! The file is removed whatever the server says: who signs out wants the machine to forget.

use super::{
    credentials::{Found, Places, Secret, Source},
    device::key_path,
    login::revoke,
    session::device_client,
};
use crate::{
    api_client::{Answered, Api, Caller, Method},
    domain::{
        ids::{DeviceId, KeyHash},
        secret::PrivateKeyPem,
    },
    plugin_client::{DeviceKey, Server},
    seams::SystemEntropy,
    terminal::{Terminal, moment},
};

/// Ends the credential that the other commands would use.
pub(super) async fn sign_out(terminal: &Terminal) -> anyhow::Result<()> {
    let Found { kept, source } = Places::of_this_process().find()?;
    source.forget()?;
    match &kept.secret {
        Secret::Token { token, claims } => {
            let api = Api::new(kept.server.clone(), Caller::Anyone);
            match revoke(&api, token).await {
                Ok(Answered::Granted(_)) => {
                    terminal
                        .note(format_args!("Signed out: the token of {} is revoked.", api.server().url()));
                }
                Ok(Answered::Refused { error, .. }) => {
                    terminal.note(format_args!("The server did not revoke the token ({error})."));
                    terminal.note(format_args!("It ends by itself at {}.", moment(claims.expires_at)));
                }
                Err(error) => {
                    terminal.note(format_args!("The token could not be revoked: {error}"));
                    terminal.note(format_args!("It ends by itself at {}.", moment(claims.expires_at)));
                }
            }
        }
        Secret::DeviceKey { device, key, key_hash } => {
            match untrust(kept.server.clone(), *device, key, key_hash).await {
                Ok(()) => {
                    terminal.note(format_args!("Signed out: {device} does not trust this key any more."));
                }
                Err(error) => {
                    terminal.note(format_args!("The key could not be removed at the server: {error:#}"));
                    terminal.note(format_args!(
                        "It is forgotten here; the owner removes it there: cloudlink device untrust --device {device} \
                         {key_hash}"
                    ));
                }
            }
        }
    }
    match source {
        Source::Environment => terminal.note("Unset CLOUDLINK_TOKEN: it is of no use any more."),
        Source::File(path) => terminal.note(format_args!("{} is removed.", path.display())),
    }
    Ok(())
}

async fn untrust(
    server: Server,
    device: DeviceId,
    key: &PrivateKeyPem,
    key_hash: &KeyHash,
) -> anyhow::Result<()> {
    let key = DeviceKey::from_pem(key, &SystemEntropy);
    let key = anyhow::Context::context(key, "it can't sign")?;
    let token = device_client(server.clone(), device, key).access_token().await?;
    let api = Api::new(server, Caller::Bearer(token));
    api.call(Method::DELETE, &key_path(device, key_hash), None).await?;
    Ok(())
}
