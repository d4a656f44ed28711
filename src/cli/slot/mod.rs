//! `cloudlink slot …`: the plugins that are installed on a device.

mod connect;

use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Map, Value, json};

use self::connect::NewFlow;
use super::{
    advice::{Asked, advise},
    device::Which,
    input::object_in,
    output::{Output, member, show_json},
    session::Session,
};
use crate::{
    api_client::{Method, Who},
    domain::ids::{PluginId, SlotName},
    terminal::{Terminal, printable},
};

/// The members of a slot, as they are shown.
const MEMBERS: [&str; 7] = ["slot", "plugin", "status", "version", "acked_version", "expiry", "scope"];

/// A slot of a device.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    #[command(flatten)]
    which: Which,
    /// The slot's name
    slot: SlotName,
}

/// What is done with slots.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Slot {
    /// List a device's slots
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: Output,
    },
    /// Show a slot
    Show {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        output: Output,
    },
    /// Install a plugin in a slot, or install it anew
    #[command(after_help = "Example:\n  cloudlink slot install heating --plugin acme --variable region=eu")]
    Install {
        #[command(flatten)]
        place: Place,
        /// The plugin's id in the store
        #[arg(long, value_name = "ID")]
        plugin: PluginId,
        /// A value that the plugin asks for; may be given several times
        #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = variable)]
        variables: Vec<(String, String)>,
        #[command(flatten)]
        output: Output,
    },
    /// Show a slot's effective OAuth configuration, its secrets masked
    Oauth {
        #[command(flatten)]
        place: Place,
    },
    /// Override members of a slot's OAuth configuration (a JSON merge patch)
    #[command(
        after_help = "Example:\n  echo '{\"scope\": \"read write\"}' | cloudlink slot override heating -\n\n\
                            null removes an override, and the plugin's own value shows again."
    )]
    Override {
        #[command(flatten)]
        place: Place,
        /// The patch, a JSON object; - reads standard input
        file: PathBuf,
    },
    /// Show or change a slot's webhook: its addresses, and what web services must prove
    #[command(
        after_help = "Example:\n  echo '{\"secret\": {\"header\": \"X-Webhook-Token\", \"value\": \"…\"}}' | \
                      cloudlink slot webhook heating --set -"
    )]
    Webhook {
        #[command(flatten)]
        place: Place,
        /// What applies from now on, a JSON object in this file; - reads standard input
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
        /// Take requests from anyone again
        #[arg(long, conflicts_with = "set")]
        reset: bool,
    },
    /// Start to link a slot to an account: prints where to go and what to type there
    Connect {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        flow: NewFlow,
    },
    /// Print a slot's access token, as the device; it is a secret
    Token {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a slot, with its tokens
    Remove {
        #[command(flatten)]
        place: Place,
    },
    /// Erase a slot's tokens, and revoke them where the provider has an endpoint for that
    Unlink {
        #[command(flatten)]
        place: Place,
    },
}

impl Slot {
    /// Does it.
    pub(super) async fn run(&self, terminal: &Terminal) -> anyhow::Result<()> {
        let session = Session::open(terminal).await?;
        self.act(terminal, &session).await.map_err(|error| advise(error, &session, self.asked()))
    }

    fn asked(&self) -> Asked<'_> {
        match self {
            Self::List { which, .. } => Asked::Device(which.device),
            Self::Install { place, plugin, .. } => Asked::Install(plugin, place.which.device),
            Self::Show { place, .. }
            | Self::Oauth { place }
            | Self::Override { place, .. }
            | Self::Webhook { place, .. }
            | Self::Connect { place, .. }
            | Self::Token { place, .. }
            | Self::Remove { place }
            | Self::Unlink { place } => Asked::Slot(&place.slot, place.which.device),
        }
    }

    async fn act(&self, terminal: &Terminal, session: &Session) -> anyhow::Result<()> {
        let api = &session.api;
        let at = |place: &Place| {
            let device = session.device(place.which.device)?;
            anyhow::Ok(format!("/api/devices/{device}/slots/{}", place.slot))
        };
        match self {
            Self::List { which, output } => {
                let path = format!("/api/devices/{}/slots", session.device(which.device)?);
                let slots = api.get(&path).await?;
                output.list(
                    terminal,
                    &slots,
                    MEMBERS,
                    "No plugin is installed yet: `cloudlink slot install`",
                )?;
            }
            Self::Show { place, output } => {
                output.object(terminal, &api.get(&at(place)?).await?, &MEMBERS)?;
            }
            Self::Install { place, plugin, variables, output } => {
                let variables: Map<String, Value> =
                    variables.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
                let wanted = json!({ "plugin": plugin, "variables": variables });
                let slot = api.call(Method::PUT, &at(place)?, Some(&wanted)).await?;
                output.object(terminal, &slot, &MEMBERS)?;
            }
            Self::Oauth { place } => {
                let shown = api.get(&format!("{}/oauth", at(place)?)).await?;
                show_json(terminal, &shown)?;
            }
            Self::Override { place, file } => {
                let overrides = object_in(file)?;
                let path = format!("{}/oauth", at(place)?);
                let shown = api.call(Method::PATCH, &path, Some(&overrides)).await?;
                show_json(terminal, &shown)?;
            }
            Self::Webhook { place, set, reset } => {
                let path = format!("{}/webhook", at(place)?);
                if *reset {
                    api.call(Method::DELETE, &path, None).await?;
                }
                let shown = match set {
                    Some(file) => api.call(Method::PUT, &path, Some(&object_in(file)?)).await?,
                    None => api.get(&path).await?,
                };
                show_json(terminal, &shown)?;
            }
            Self::Connect { place, flow } => flow.run(terminal, api, &at(place)?).await?,
            Self::Token { place, output } => {
                if session.claims.who == Who::Owner {
                    bail!("the owner sees no tokens: sign in as the device, `cloudlink login --device ID`");
                }
                let token = api.get(&format!("{}/token", at(place)?)).await?;
                if output.json {
                    show_json(terminal, &token)?;
                } else {
                    terminal.note(format_args!("until {}", printable(&member(&token, "expiry"))));
                    terminal.say(printable(&member(&token, "access_token")))?;
                }
            }
            Self::Remove { place } => {
                api.call(Method::DELETE, &at(place)?, None).await?;
                terminal.note("removed, with its tokens");
            }
            Self::Unlink { place } => {
                api.call(Method::DELETE, &format!("{}/tokens", at(place)?), None).await?;
                terminal.note("the tokens are erased");
            }
        }
        Ok(())
    }
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must be written like region=eu")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_name_and_a_value_that_may_hold_anything() {
        assert_eq!(variable("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(variable("a=").unwrap().1, "");
        assert!(variable("a").is_err());
    }
}
