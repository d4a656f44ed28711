//! `cloudlink device …`: the hubs, their passwords and their trusted keys.

mod enrol;

use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Value, json};

use self::enrol::Enrol;
use super::{
    advice::{Asked, advise},
    input::{NewPassword, known_password, object_in, text_in},
    output::{Output, member, show_json},
    session::Session,
};
use crate::{
    api_client::{Method, Who},
    domain::ids::{DeviceId, KeyHash},
    terminal::{Terminal, printable, span},
};

/// Which device.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Which {
    /// The device's id, a UUID [default: the device that is signed in]
    #[arg(long, value_name = "ID")]
    pub(super) device: Option<DeviceId>,
}

/// What is done with devices.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Device {
    /// List the devices
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show a device
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: Output,
    },
    /// Add a device, as the owner; asks for its password
    #[command(after_help = "Example:\n  cloudlink device add 'Living room' --password-file password")]
    Add {
        /// What people call it
        name: String,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        output: Output,
    },
    /// Make a one-time code that a new hub enrols with
    Code {
        #[command(flatten)]
        output: Output,
    },
    /// Enrol this machine as a device, with a one-time code, and sign it in
    Enrol(Enrol),
    /// Give a device another name
    Rename {
        #[command(flatten)]
        which: Which,
        /// What people call it from now on
        name: String,
    },
    /// Remove a device, its keys, slots and tokens
    Remove {
        /// The device's id, a UUID
        #[arg(long, value_name = "ID")]
        device: DeviceId,
    },
    /// Set a new password; unless told otherwise, this also removes every trusted key and ends every token
    Password {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        password: NewPassword,
        /// Read the old password, which the owner need not give, from this file
        #[arg(long, value_name = "FILE")]
        old_password_file: Option<PathBuf>,
        /// Leave the trusted keys, and what they obtained
        #[arg(long)]
        keep_keys: bool,
    },
    /// List the keys that speak for a device
    Keys {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: Output,
    },
    /// Trust a public key: whoever has its private half speaks for the device
    #[command(after_help = "Example:\n  openssl genpkey -algorithm ed25519 -out device.pem\n  \
                            openssl pkey -in device.pem -pubout | cloudlink device trust --device ID -")]
    Trust {
        #[command(flatten)]
        which: Which,
        /// The public key, PEM (BEGIN PUBLIC KEY) or a JWK; - reads standard input
        file: PathBuf,
        /// What people call the key
        #[arg(long, default_value = "added by cloudlink device trust")]
        label: String,
        #[command(flatten)]
        output: Output,
    },
    /// Send a command to a hub, and print what it answers
    #[command(after_help = "Examples:\n  cloudlink device command get_wifi_list\n  \
                            echo '{\"method\": \"dhcp\"}' | cloudlink device command modify_network -")]
    Command {
        #[command(flatten)]
        which: Which,
        /// The command's name
        name: String,
        /// What goes with it, a JSON object; - reads standard input [default: nothing]
        file: Option<PathBuf>,
    },
    /// Stop trusting a key, and end what it obtained
    Untrust {
        #[command(flatten)]
        which: Which,
        /// The key's hash, as `device keys` shows it
        key_hash: String,
    },
}

impl Device {
    /// Does it.
    pub(super) async fn run(&self, terminal: &Terminal) -> anyhow::Result<()> {
        if let Self::Enrol(enrol) = self {
            return enrol.run(terminal).await;
        }
        let session = Session::open(terminal).await?;
        self.act(terminal, &session).await.map_err(|error| advise(error, &session, self.asked()))
    }

    fn asked(&self) -> Asked<'_> {
        match self {
            Self::Add { .. } | Self::Code { .. } | Self::Enrol(_) | Self::List { .. } => Asked::Nothing,
            Self::Keys { which, .. }
            | Self::Password { which, .. }
            | Self::Rename { which, .. }
            | Self::Show { which, .. }
            | Self::Trust { which, .. } => Asked::Device(which.device),
            Self::Remove { device } => Asked::Device(Some(*device)),
            Self::Command { which, name, .. } => Asked::Command(name, which.device),
            Self::Untrust { which, .. } => Asked::Key(which.device),
        }
    }

    async fn act(&self, terminal: &Terminal, session: &Session) -> anyhow::Result<()> {
        let api = &session.api;
        let at = |which: &Which| session.device(which.device).map(|device| format!("/api/devices/{device}"));
        match self {
            Self::Enrol(_) => {}
            Self::List { output } => {
                let devices = api.get("/api/devices").await?;
                output.list(
                    terminal,
                    &devices,
                    ["device", "created_at", "name"],
                    "There are no devices yet",
                )?;
            }
            Self::Show { which, output } => {
                let device = api.get(&at(which)?).await?;
                output.object(terminal, &device, &["device", "name", "created_at"])?;
            }
            Self::Add { name, password, output } => {
                let password = password.get("Password of the new device").await?;
                let wanted = json!({ "name": name, "password": password.expose() });
                let made = api.call(Method::POST, "/api/devices", Some(&wanted)).await?;
                show_one(terminal, *output, &made, "device")?;
            }
            Self::Code { output } => {
                let code = api.call(Method::POST, "/api/enrolment-codes", None).await?;
                if let Some(seconds) = code.get("expires_in").and_then(Value::as_i64) {
                    terminal.note(format_args!("good for one device, for {}:", span(seconds)));
                }
                show_one(terminal, *output, &code, "enrolment_code")?;
            }
            Self::Rename { which, name } => {
                let renamed = json!({ "name": name });
                let renamed = api.call(Method::PATCH, &at(which)?, Some(&renamed)).await?;
                terminal.note(format_args!("its name is now {}", printable(&member(&renamed, "name"))));
            }
            Self::Remove { device } => {
                api.call(Method::DELETE, &format!("/api/devices/{device}"), None).await?;
                terminal.note("removed, with its keys, slots and tokens");
            }
            Self::Password { which, password, old_password_file, keep_keys } => {
                let path = format!("{}/password", at(which)?);
                let mut change = json!({ "reset_acl": !keep_keys });
                if old_password_file.is_some() || session.claims.who != Who::Owner {
                    let old = known_password(old_password_file.as_deref(), "Old password").await?;
                    put(&mut change, "old_password", old.expose());
                }
                put(&mut change, "new_password", password.get("New password").await?.expose());
                api.call(Method::PUT, &path, Some(&change)).await?;
                terminal.note(if *keep_keys {
                    "changed; what the old password obtained has ended"
                } else {
                    "changed; every trusted key is removed and every token has ended: sign the hub in again"
                });
            }
            Self::Keys { which, output } => {
                let keys = api.get(&format!("{}/keys", at(which)?)).await?;
                let members = ["key_hash", "added_at", "last_used_at", "label"];
                output.list(terminal, &keys, members, "No key speaks for this device")?;
            }
            Self::Trust { which, file, label, output } => {
                let path = format!("{}/keys", at(which)?);
                let key = json!({ "label": label, "public_key": public_key(&text_in(file)?)? });
                let added = api.call(Method::POST, &path, Some(&key)).await?;
                show_one(terminal, *output, &added, "key_hash")?;
            }
            Self::Command { which, name, file } => {
                let data = match file {
                    Some(file) => object_in(file)?,
                    None => json!({}),
                };
                let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
                let path = format!("{}/commands/{name}", at(which)?);
                let answer = api.call(Method::POST, &path, Some(&data)).await?;
                show_json(terminal, answer.get("data").unwrap_or(&answer))?;
                if answer.get("ok") != Some(&Value::Bool(true)) {
                    bail!("the hub did not do it");
                }
            }
            Self::Untrust { which, key_hash } => {
                let path = key_path(session.device(which.device)?, &KeyHash(key_hash.clone()));
                api.call(Method::DELETE, &path, None).await?;
                terminal.note("not trusted any more; what it obtained ends within seconds");
            }
        }
        Ok(())
    }
}

/// The path of a trusted key.
pub(super) fn key_path(device: DeviceId, key_hash: &KeyHash) -> String {
    let key_hash: String = url::form_urlencoded::byte_serialize(key_hash.0.as_bytes()).collect();
    format!("/api/devices/{device}/keys/{key_hash}")
}

fn show_one(terminal: &Terminal, output: Output, answer: &Value, name: &str) -> std::io::Result<()> {
    if output.json { show_json(terminal, answer) } else { terminal.say(printable(&member(answer, name))) }
}

fn put(object: &mut Value, name: &str, text: &str) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), text.into());
    }
}

/// PEM as it is; a JWK as the object that it is.
fn public_key(text: &str) -> anyhow::Result<Value> {
    if text.contains("PRIVATE KEY-----") {
        bail!(
            "this is the private half, which never leaves the device: give what `openssl pkey -pubout` makes of it"
        );
    }
    match crate::domain::json::parse_object(text.as_bytes()) {
        // "d" is the private half of any JWK (RFC 7518 §6).
        Ok(jwk) if jwk.contains_key("d") => {
            bail!("this is the private half, which never leaves the device: leave out what is private in it")
        }
        Ok(jwk) => Ok(Value::Object(jwk)),
        Err(_) => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_half_of_a_key_is_not_sent() {
        for text in
            ["-----BEGIN PRIVATE KEY-----\nx", "-----BEGIN EC PRIVATE KEY-----", r#"{"kty":"OKP","d":"x"}"#]
        {
            assert!(public_key(text).unwrap_err().to_string().contains("private half"), "{text}");
        }
        assert!(public_key("-----BEGIN PUBLIC KEY-----\nx").unwrap().is_string());
        assert!(public_key(r#"{"kty":"OKP","x":"x"}"#).unwrap().is_object());
    }

    #[test]
    fn a_keys_path_has_no_slash_of_its_own() {
        let device: DeviceId = "0c1f0d5e-9a3e-4b53-8f0e-1b5a7f6f2c11".parse().unwrap();
        let path = key_path(device, &KeyHash("SHA256:a/b+c".to_owned()));
        assert!(path.ends_with("/keys/SHA256%3Aa%2Fb%2Bc"), "{path}");
    }
}
