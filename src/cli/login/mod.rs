//! `cloudlink login`: a person signs in on the server's pages, and this machine may act for them.
//!
//! With a browser here, it comes back to a loopback address (`loopback`, RFC 8252); without one, a code is typed into
//! a browser elsewhere (`headless`, RFC 8628). The operator's token is kept until it expires. A device's is used once,
//! to have a new key trusted (`trust`), and revoked: from then on the key speaks.

mod browser;
mod headless;
mod loopback;
mod poller;
pub(super) mod trust;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use self::browser::Opener;
use super::{
    advice::at_a_new_server,
    credentials::{Keep, Kept, Places, Secret, URL},
};
use crate::{
    api_client::{Answered, Api, ApiError, Caller, Claims, Who},
    domain::{ids::DeviceId, json::Object, secret::BearerToken},
    plugin_client::Server,
    terminal::{Terminal, moment},
};

/// The name of the commands as an OAuth client, a public one (RFC 6749 §2.1).
pub(super) const CLIENT_ID: &str = "cloudlink-cli";

/// What `login` is told on the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cloudlink login --url https://link.example\n  \
                        cloudlink login --headless --device 0c1f0d5e-9a3e-4b53-8f0e-1b5a7f6f2c11\n\n\
                        The operator stays signed in until the token expires; a device until `cloudlink signout`.")]
pub(super) struct Login {
    /// The server's public URL [default: the server of the last login]
    #[arg(long, env = URL, value_name = "URL")]
    url: Option<Server>,
    /// Open no browser here: show a code to type into a browser elsewhere
    #[arg(long)]
    headless: bool,
    /// Sign in as this device, with a new key that is kept here
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
    /// Keep the credential in .cloudlink in this folder, not in the user's configuration folder
    #[arg(long)]
    here: bool,
}

impl Login {
    /// Signs in, until `stop`.
    pub(super) async fn run(&self, terminal: &Terminal, stop: &CancellationToken) -> anyhow::Result<()> {
        let places = Places::of_this_process();
        let server = match &self.url {
            Some(server) => server.clone(),
            None => places.server()?,
        };
        let opener = if self.headless { None } else { Opener::of_this_machine() };
        let anyone = Api::new(server.clone(), Caller::Anyone);
        let signing_in = self.sign_in(terminal, &anyone, opener);
        let Some(token) = stop.run_until_cancelled(signing_in).await else {
            terminal.progress("");
            bail!("stopped: nobody was signed in");
        };
        let token = token?;
        let claims = Claims::read(&token).context("the server gave no access token of a cloudlink")?;
        let keep = if self.here { Keep::Here } else { Keep::ForUser };
        let api = Api::new(server.clone(), Caller::Bearer(token.clone()));
        match (claims.who, self.device) {
            (Who::Device(device), wanted) if wanted.is_none_or(|wanted| wanted == device) => {
                let trusted = trust::trust_a_new_key(terminal, &places, &api, device, keep).await;
                // The key speaks from now on; a token that can't be revoked ends by itself.
                if let Err(error) = revoke(&api, &token).await {
                    tracing::debug!(cause = %error, "the login's token was not revoked");
                }
                trusted
            }
            (Who::Owner, None) => {
                let until = moment(claims.expires_at);
                let path = places.keep(&Kept { server, secret: Secret::Token { token, claims } }, keep)?;
                terminal
                    .note(format_args!("Signed in as the owner until {until}; kept in {}.", path.display()));
                warn_of_the_environment(terminal, &places);
                Ok(())
            }
            _ => {
                let _ = revoke(&api, &token).await;
                bail!("somebody else was signed in than was asked for: choose the device on the page")
            }
        }
    }

    async fn sign_in(
        &self,
        terminal: &Terminal,
        api: &Api,
        opener: Option<Opener>,
    ) -> anyhow::Result<BearerToken> {
        let scope = self.device.map(|device| format!("device:{device}"));
        // Before a browser is sent where there is nothing to sign in at.
        api.get("/.well-known/jwks.json").await.map_err(at_a_new_server)?;
        if let Some(opener) = opener
            && let Some(token) = browser::sign_in(terminal, api, scope.as_deref(), &opener).await?
        {
            return Ok(token);
        }
        headless::sign_in(terminal, api, scope.as_deref()).await
    }
}

/// Says so where a token in the environment hides what was just kept.
pub(super) fn warn_of_the_environment(terminal: &Terminal, places: &Places) {
    if places.environment_goes_first() {
        terminal.note("CLOUDLINK_TOKEN is set and goes first: unset it to use this login.");
    }
}

/// Ends a token (RFC 7009 §2.1).
pub(super) async fn revoke(api: &Api, token: &BearerToken) -> Result<Answered, ApiError> {
    api.post_form("/api/revoke", &[("token", token.expose()), ("client_id", CLIENT_ID)]).await
}

/// The token in an answer of RFC 6749 §5.1.
fn granted(members: &Object) -> anyhow::Result<BearerToken> {
    let token = members.get("access_token").and_then(serde_json::Value::as_str);
    Ok(BearerToken::new(token.context("the server's answer has no access_token: check the URL")?))
}
