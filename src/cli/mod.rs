//! The command line: which commands there are, and what each is given.
//!
//! A command gets its settings, a [`Terminal`] and a token that is cancelled at SIGINT or SIGTERM, and ends
//! in its own order; what it returns is the process's end. Results go to standard output, logs and
//! remarks to standard error.

pub mod attach;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use self::attach::Attach;
use crate::{
    config::{LogFormat, Settings, process_environment},
    dev::Dev,
    startup, telemetry,
    terminal::Terminal,
};

/// What is logged by commands that talk to a person, unless `log.filter` says otherwise.
const QUIET: &str = "warn";
/// The default of `log.filter`.
const EVERYDAY: &str = "info";

/// The other half of "Authenticate" for plugins that run at home: a self-hosted OAuth 2.0 redirect broker.
#[derive(Debug, Parser)]
#[command(name = "cloudlink", version, propagate_version = true)]
pub struct Cli {
    /// The settings file (TOML); every setting can also come from the environment
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try everything on this machine, with a demo provider and a demo plugin; nothing to configure
    Dev(Dev),
    /// Run the service
    Serve,
    /// Bring the database up to date, and end
    Migrate,
    /// Be a plugin: print the events of a device's slots and acknowledge them
    Attach(Attach),
}

impl Cli {
    /// Does what was asked, until it is done or the process is told to stop.
    pub async fn run(self) -> anyhow::Result<()> {
        let terminal = Terminal::standard();
        match &self.command {
            Command::Attach(attach) => {
                telemetry::start(LogFormat::Readable, QUIET)?;
                attach.run(&terminal, &stop_at_signals()).await
            }
            Command::Dev(dev) => {
                let settings = load(self.config.as_deref())?;
                let untouched = settings.log.filter == EVERYDAY;
                telemetry::start(settings.log.format, if untouched { QUIET } else { &settings.log.filter })?;
                dev.run(settings, &terminal, &stop_at_signals()).await
            }
            Command::Serve => startup::serve(&self.logged()?).await,
            Command::Migrate => startup::migrate(&self.logged()?).await,
        }
    }

    /// The settings of a command that logs as they say.
    fn logged(&self) -> anyhow::Result<Settings> {
        let settings = load(self.config.as_deref())?;
        telemetry::start(settings.log.format, &settings.log.filter)?;
        Ok(settings)
    }
}

fn load(file: Option<&Path>) -> anyhow::Result<Settings> {
    Ok(Settings::load(file, process_environment())?)
}

/// A token that is cancelled at the first SIGINT or SIGTERM.
fn stop_at_signals() -> CancellationToken {
    let stop = CancellationToken::new();
    tokio::spawn(startup::stop_on_signal(stop.clone()));
    stop
}

/// Tells why a command failed: what to do first, then the causes.
pub fn complain(error: &anyhow::Error) {
    Terminal::standard().note(format_args!("cloudlink: {error:#}"));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_command_has_one_line_of_help() {
        for command in Cli::command().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!((5..=100).contains(&about.len()), "{}: {about:?}", command.get_name());
        }
    }

    #[test]
    fn the_settings_file_may_stand_behind_the_command() {
        let cli = Cli::try_parse_from(["cloudlink", "serve", "--config", "a.toml"]).unwrap();
        assert_eq!(cli.config.unwrap().to_str(), Some("a.toml"));
    }

    #[test]
    fn attach_wants_a_server_a_device_and_a_key() {
        let whole = [
            "cloudlink",
            "attach",
            "--url",
            "https://link.example",
            "--device",
            "0c1f0d5e-9a3e-4b53-8f0e-1b5a7f6f2c11",
            "--key",
            "k.pem",
            "--slot",
            "a",
            "--slot",
            "b",
            "--json",
        ];
        assert!(Cli::try_parse_from(whole).is_ok());
        let plain =
            whole.map(|word| if word == "https://link.example" { "http://link.example" } else { word });
        let error = Cli::try_parse_from(plain).unwrap_err().to_string();
        assert!(error.contains("must begin with https"), "{error}");
        assert!(Cli::try_parse_from(&whole[..6]).is_err());
    }
}
