//! `cloudlink doctor`: what will go wrong with a plugin's configuration, before a person meets it.
//!
//! A plugin of the store is examined by its server, which knows who else claims the same authorization server; a file
//! is examined from here, without a server.

use std::{fs, path::Path, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use url::Url;

use super::{
    advice::{Asked, advise},
    output::{member, show_json},
    session::Session,
};
use crate::{
    api_client::Method,
    domain::{
        address::EgressPolicy,
        ids::PluginId,
        json,
        plugin::{Document, MAX_DOCUMENT},
    },
    provider::{Limits, ProviderClient},
    seams::SystemEntropy,
    terminal::{Terminal, printable},
};

/// What `doctor` is told on the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cloudlink doctor acme\n  cloudlink doctor --file acme.json")]
pub(super) struct Doctor {
    /// A plugin in the store of the server that this terminal is signed in to
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    plugin: Option<PluginId>,
    /// An OAuth configuration, as JSON; it is examined from here
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask http and private addresses too, for development
    #[arg(long, requires = "file")]
    allow_private: bool,
    /// Try an authorization request with this redirect URI
    #[arg(long, value_name = "URL", requires = "file")]
    redirect_uri: Option<Url>,
    /// Print the findings as one JSON array
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Prints the findings, worst first; an error where one of them is.
    pub(super) async fn run(&self, terminal: &Terminal) -> Result<()> {
        let findings = match (&self.plugin, &self.file) {
            (Some(plugin), _) => {
                let session = Session::open(terminal).await?;
                let findings =
                    session.api.call(Method::POST, &format!("/api/plugins/{plugin}/doctor"), None).await;
                findings.map_err(|error| advise(error.into(), &session, Asked::Plugin(plugin)))?
            }
            (None, Some(file)) => self.examine(file).await?,
            (None, None) => bail!("which one? Give a plugin's id, or --file"),
        };
        if self.json {
            show_json(terminal, &findings)?;
        }
        let findings = findings.as_array().map(Vec::as_slice).unwrap_or_default();
        if !self.json {
            self.print(findings, terminal)?;
        }
        match findings.iter().filter(|finding| member(finding, "severity") == "error").count() {
            0 => Ok(()),
            1 => bail!("with one error nobody can link"),
            errors => bail!("with {errors} errors nobody can link"),
        }
    }

    async fn examine(&self, file: &Path) -> Result<Value> {
        let path = file.display();
        let length = fs::metadata(file).with_context(|| format!("{path} can't be read"))?.len();
        if usize::try_from(length).map_or(true, |length| length > 2 * MAX_DOCUMENT) {
            bail!("{path} is too large for a configuration, which has at most {MAX_DOCUMENT} bytes");
        }
        let text = fs::read(file).with_context(|| format!("{path} can't be read"))?;
        let members = json::parse_object(&text).with_context(|| format!("{path} holds no JSON object"))?;
        let egress = if self.allow_private { EgressPolicy::AllowPrivate } else { EgressPolicy::PublicOnly };
        let client = ProviderClient::new(egress, Limits::default(), b"")?;
        let redirect_uri = self.redirect_uri.clone();
        let findings =
            client.examine_document(&Document::new(members), |_| redirect_uri, &SystemEntropy).await;
        Ok(serde_json::to_value(findings)?)
    }

    fn print(&self, findings: &[Value], terminal: &Terminal) -> Result<()> {
        if findings.is_empty() {
            terminal.say("Nothing was found.")?;
        }
        for finding in findings {
            let text = |name| printable(&member(finding, name));
            let field = if finding.get("field").is_some() { text("field") + " " } else { String::new() };
            let (severity, code) = (text("severity"), text("code"));
            terminal.say(format_args!("{severity:<7}  {code}\n         {field}{}", text("detail")))?;
            if let (Some(plugin), "awaiting_approval") = (&self.plugin, code.as_str()) {
                terminal.say(format_args!("         here: `cloudlink plugin approve {plugin}`"))?;
            }
        }
        Ok(())
    }
}
