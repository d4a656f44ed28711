//! The demo's home: one device, one plugin in one slot. Made through the API, kept, and found again.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::folder::Folder;
use crate::{
    api_client::{Api, ApiError, Caller, Method},
    domain::{
        clock::{Clock, Entropy},
        ids::{DeviceId, SlotName},
        secret::{BearerToken, Password},
    },
    plugin_client::{DeviceKey, PluginClient, Server, TokenError},
};

/// The name of the device, as the connect page shows it.
pub(super) const DEVICE: &str = "Demo hub";
/// Both the plugin's id and its slot's name.
pub(super) const SLOT: &str = "demo";
const DEVICE_FILE: &str = "device";
const PASSWORD_FILE: &str = "device-password";
pub(super) const KEY_FILE: &str = "device-key.pem";
const PUBLIC_KEY_FILE: &str = "device-key.pub.pem";

/// Who the owner is.
pub(super) struct OwnerLogin {
    pub(super) user: String,
    pub(super) password: Password,
}

/// The device with its slot, ready to attach.
pub(super) struct Household {
    /// With the device's token, which makes slots.
    hub: PluginClient,
    /// With the token of the one slot, which is all that a plugin needs.
    plugin: PluginClient,
}

/// One attempt to link the slot.
pub(super) struct Attempt {
    pub(super) connect_url: String,
    pub(super) lasts: Duration,
    pub(super) poll: Duration,
    path: String,
    token: BearerToken,
}

/// How an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    Linked,
    Denied,
    Failed,
    Expired,
}

impl Household {
    /// Makes what is missing.
    pub(super) async fn furnish(
        folder: &Folder,
        server: Server,
        owner: &OwnerLogin,
        plugin: &Value,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> anyhow::Result<Self> {
        let owner = Caller::Owner { user: owner.user.clone(), password: owner.password.clone() };
        let owner = Api::new(server.clone(), owner);
        let store = format!("/api/plugins/{SLOT}");
        let stored = owner.call(Method::PUT, &store, Some(plugin)).await;
        stored.context("storing the demo plugin failed")?;
        let key = device_key(folder, entropy.as_ref())?;
        let device = enrolled(folder, &owner, entropy.as_ref()).await?;
        let slot: SlotName = SLOT.parse().context("the slot's name")?;
        let hub = PluginClient { server, device, slot: None, key: Arc::new(key), clock, entropy };
        let token = match hub.access_token().await {
            Err(TokenError::Refused { .. }) => {
                trust(folder, &hub, &owner).await?;
                hub.access_token().await?
            }
            token => token?,
        };
        let household = Self { plugin: PluginClient { slot: Some(slot), ..hub.clone() }, hub };
        let copy = json!({"plugin": SLOT});
        let installed = household.call(&token, Method::PUT, "", Some(&copy)).await;
        installed.context("installing the demo plugin failed")?;
        Ok(household)
    }

    /// The plugin's side of the relay.
    pub(super) fn plugin(&self) -> &PluginClient {
        &self.plugin
    }

    /// Whether somebody has linked the slot already.
    pub(super) async fn is_linked(&self) -> anyhow::Result<bool> {
        let token = self.plugin.access_token().await?;
        let slot = self.call(&token, Method::GET, "", None).await.context("asking for the slot failed")?;
        Ok(text(&slot, "status")? == "linked")
    }

    /// Starts an attempt to link the slot.
    pub(super) async fn connect(&self) -> anyhow::Result<Attempt> {
        let token = self.plugin.access_token().await?;
        let answer = self.call(&token, Method::POST, "/connect", Some(&json!({}))).await;
        let answer = answer.context("starting to link the plugin failed")?;
        let seconds =
            |member| Duration::from_secs(answer.get(member).and_then(Value::as_u64).unwrap_or(5).max(1));
        Ok(Attempt {
            connect_url: text(&answer, "connect_url")?.to_owned(),
            lasts: seconds("expires_in"),
            poll: seconds("interval").min(Duration::from_secs(2)),
            path: format!("/flows/{}", text(&answer, "flow")?),
            token,
        })
    }

    /// How the attempt stands.
    pub(super) async fn progress(&self, attempt: &Attempt) -> anyhow::Result<Progress> {
        let answer = match self.call(&attempt.token, Method::GET, &attempt.path, None).await {
            Err(error) if error.status() == Some(404) => return Ok(Progress::Expired),
            answer => answer.context("asking how linking goes failed")?,
        };
        Ok(match text(&answer, "status")? {
            "linked" => Progress::Linked,
            "denied" => Progress::Denied,
            "failed" => Progress::Failed,
            "expired" => Progress::Expired,
            _ => Progress::Open,
        })
    }

    async fn call(
        &self,
        token: &BearerToken,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let path = format!("/api/devices/{}/slots/{SLOT}{path}", self.hub.device);
        let api = Api::new(self.hub.server.clone(), Caller::Bearer(token.clone()));
        api.call(method, &path, body).await
    }
}

/// The device's key of the last run, or a new one.
fn device_key(folder: &Folder, entropy: &dyn Entropy) -> anyhow::Result<DeviceKey> {
    let path: PathBuf = folder.path().join(KEY_FILE);
    if folder.find(KEY_FILE)?.is_none() || folder.find(PUBLIC_KEY_FILE)?.is_none() {
        let (_, private, public) = DeviceKey::make(entropy)?;
        folder.keep(PUBLIC_KEY_FILE, &public)?;
        folder.keep(KEY_FILE, private.expose())?;
    }
    Ok(DeviceKey::read(&path, entropy)?.0)
}

/// The device of the last run where the broker still knows it, or a new one.
async fn enrolled(folder: &Folder, owner: &Api, entropy: &dyn Entropy) -> anyhow::Result<DeviceId> {
    let kept = folder.find(DEVICE_FILE)?.and_then(|id| id.trim().parse::<DeviceId>().ok());
    if let Some(device) = kept {
        match owner.get(&format!("/api/devices/{device}")).await {
            Err(error) if error.status() == Some(404) => {}
            known => {
                known.context("looking for the demo device failed")?;
                return Ok(device);
            }
        }
    }
    let password = Zeroizing::new(Password::draw(entropy).expose().to_owned());
    folder.keep(PASSWORD_FILE, &password)?;
    let wanted = json!({"name": DEVICE, "password": password.as_str()});
    let made = owner.call(Method::POST, "/api/devices", Some(&wanted)).await;
    let made = made.context("enrolling the demo device failed")?;
    let device = text(&made, "device")?.parse().context("the device's id")?;
    folder.keep(DEVICE_FILE, &format!("{device}"))?;
    Ok(device)
}

/// Has the broker trust the device's key.
async fn trust(folder: &Folder, client: &PluginClient, owner: &Api) -> anyhow::Result<()> {
    let public = folder.find(PUBLIC_KEY_FILE)?.context("the device's public key is gone")?;
    let path = format!("/api/devices/{}/keys", client.device);
    let key = json!({"label": DEVICE, "public_key": public.as_str()});
    owner.call(Method::POST, &path, Some(&key)).await.context("trusting the device's key failed")?;
    Ok(())
}

/// A member of an answer that must be a text.
fn text<'a>(answer: &'a Value, member: &'static str) -> anyhow::Result<&'a str> {
    answer.get(member).and_then(Value::as_str).with_context(|| format!("the broker's answer has no {member}"))
}
