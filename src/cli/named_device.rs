//! The device that a command speaks as: named by its arguments, or the one that is signed in.

use std::path::PathBuf;

use super::session::{device_client, signed_in_device};
use crate::{
    domain::ids::DeviceId,
    plugin_client::{DeviceKey, KeyFileAccess, PluginClient, Server},
    seams::SystemEntropy,
    terminal::Terminal,
};

/// A device, its server and its key; all of them or none.
#[derive(Debug, clap::Args)]
pub(super) struct NamedDevice {
    /// The server's public URL: https, host and port, no path [default: where a device is signed in]
    #[arg(long, value_name = "URL", requires = "device")]
    url: Option<Server>,
    /// The device's id, a UUID [default: the device that is signed in]
    #[arg(long, value_name = "UUID", requires = "key")]
    device: Option<DeviceId>,
    /// The private half of one of the device's trusted keys: PEM (PKCS#8), Ed25519, P-256 or RSA
    #[arg(long, value_name = "FILE", requires = "url")]
    key: Option<PathBuf>,
}

impl NamedDevice {
    /// The device that was named, else the one that is signed in.
    pub(super) fn client(&self, terminal: &Terminal) -> anyhow::Result<PluginClient> {
        let (Some(url), Some(device), Some(path)) = (&self.url, self.device, &self.key) else {
            return signed_in_device(terminal);
        };
        let (key, access) = DeviceKey::read(path, &SystemEntropy)?;
        if access == KeyFileAccess::Others {
            let path = path.display();
            terminal.note(format_args!("Others on this machine can read the key: run `chmod 600 {path}`."));
        }
        Ok(device_client(url.clone(), device, key))
    }
}
