//! `cloudlink device enrol`: a machine becomes a device, and from then on its key speaks.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    api_client::{Api, Caller, Method},
    cli::{
        advice::at_a_new_server,
        credentials::{Keep, Places, URL},
        input::NewPassword,
        login::trust::trust_a_new_key,
    },
    domain::{ids::DeviceId, secret::BearerToken},
    plugin_client::Server,
    terminal::Terminal,
};

/// What `device enrol` is told on the command line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, on the hub:\n  cloudlink device enrol --url https://link.example --code CODE \
                        --name 'Living room'\n\nThe owner makes the code with `cloudlink device code`."
)]
pub(in crate::cli) struct Enrol {
    /// The server's public URL
    #[arg(long, env = URL, value_name = "URL")]
    url: Server,
    /// The one-time code
    #[arg(
        long,
        env = "CLOUDLINK_ENROLMENT_CODE",
        value_name = "CODE",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    code: String,
    /// What people call the device
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    password: NewPassword,
    /// Keep the key in .cloudlink in this folder, not in the user's configuration folder
    #[arg(long)]
    here: bool,
}

impl Enrol {
    /// Enrols, signs in by the password once, has a new key trusted, and keeps it. Prints the device's id.
    pub(super) async fn run(&self, terminal: &Terminal) -> anyhow::Result<()> {
        let password = self.password.get("Password of the new device").await?;
        let anyone = Api::new(self.url.clone(), Caller::Anyone);
        let wanted =
            json!({ "name": self.name, "password": password.expose(), "enrolment_code": self.code.trim() });
        let made = anyone.call(Method::POST, "/api/devices", Some(&wanted)).await.map_err(at_a_new_server)?;
        let device = made.get("device").and_then(Value::as_str).and_then(|id| id.parse::<DeviceId>().ok());
        let device = device.context("the server named no device: check the URL")?;
        terminal.say(device)?;
        let login = json!({ "password": password.expose() });
        let login = anyone.call(Method::POST, &format!("/api/devices/{device}/login"), Some(&login)).await?;
        let token = login.get("token").and_then(Value::as_str).context("the server gave no token")?;
        let api = Api::new(self.url.clone(), Caller::Bearer(BearerToken::new(token)));
        let keep = if self.here { Keep::Here } else { Keep::ForUser };
        trust_a_new_key(terminal, &Places::of_this_process(), &api, device, keep).await
    }
}
