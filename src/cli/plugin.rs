//! `cloudlink plugin …`: the plugin store, for the owner.

use std::path::PathBuf;

use super::{
    advice::{Asked, advise},
    input::object_in,
    output::{Output, member, show_json, warn},
    session::Session,
};
use crate::{
    api_client::{Api, Method},
    domain::ids::PluginId,
    terminal::{Terminal, printable},
};

/// What is done with the store.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Plugin {
    /// List the plugins in the store
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show a plugin's OAuth configuration, its secrets masked
    Show {
        /// The plugin's id
        plugin: PluginId,
    },
    /// Store an OAuth configuration, replacing any that is there
    #[command(
        after_help = "Example:\n  cloudlink plugin put acme acme.json\n\nWhat `plugin show` prints can be \
                            changed and put back: a masked secret means `as it is`."
    )]
    Put {
        /// The plugin's id
        plugin: PluginId,
        /// The configuration, a JSON object; - reads standard input
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Lift the quarantine of a plugin, for what is stored now
    Approve {
        /// The plugin's id
        plugin: PluginId,
    },
    /// Delete a plugin from the store; slots keep their copies
    Delete {
        /// The plugin's id
        plugin: PluginId,
    },
}

impl Plugin {
    /// Does it.
    pub(super) async fn run(&self, terminal: &Terminal) -> anyhow::Result<()> {
        let session = Session::open(terminal).await?;
        self.act(terminal, &session.api).await.map_err(|error| advise(error, &session, self.asked()))
    }

    fn asked(&self) -> Asked<'_> {
        match self {
            Self::List { .. } => Asked::Nothing,
            Self::Approve { plugin }
            | Self::Delete { plugin }
            | Self::Put { plugin, .. }
            | Self::Show { plugin } => Asked::Plugin(plugin),
        }
    }

    async fn act(&self, terminal: &Terminal, api: &Api) -> anyhow::Result<()> {
        match self {
            Self::List { output } => {
                let plugins = api.get("/api/plugins").await?;
                let members = ["plugin", "name", "client_id", "redirect_uri", "token_endpoint"];
                output.list(
                    terminal,
                    &plugins,
                    members,
                    "There are no plugins yet: `cloudlink plugin put`",
                )?;
            }
            Self::Show { plugin } => {
                let shown = api.get(&format!("/api/plugins/{plugin}")).await?;
                show_json(terminal, &shown)?;
            }
            Self::Put { plugin, file, output } => {
                let configuration = object_in(file)?;
                let path = format!("/api/plugins/{plugin}");
                let stored = api.call(Method::PUT, &path, Some(&configuration)).await?;
                if output.json {
                    show_json(terminal, &stored)?;
                } else {
                    warn(terminal, &stored);
                    // The one that this configuration uses is what must be registered.
                    let kind = if member(&stored, "redirect_uri") == "own" { "own" } else { "shared" };
                    let uri = member(&stored, &format!("redirect_uris/{kind}"));
                    terminal.note("Register this redirect URI at the provider:");
                    terminal.say(printable(&uri))?;
                }
            }
            Self::Approve { plugin } => {
                api.call(Method::POST, &format!("/api/plugins/{plugin}/approve"), None).await?;
                terminal.note(format_args!("{plugin} may use the authorization server that it names"));
            }
            Self::Delete { plugin } => {
                api.call(Method::DELETE, &format!("/api/plugins/{plugin}"), None).await?;
                terminal.note(format_args!("{plugin} is deleted"));
            }
        }
        Ok(())
    }
}
