//! The command line: which commands there are, and what each is given.
//!
//! A command gets its settings, a [`Terminal`] and a token that is cancelled at SIGINT or SIGTERM, and ends
//! in its own order; what it returns is the process's end. Results go to standard output, logs and
//! remarks to standard error.

mod advice;
pub mod attach;
mod audit;
#[cfg(feature = "mqtt")]
mod bridge;
mod credentials;
mod device;
mod doctor;
mod input;
mod key_status;
mod keys;
mod login;
mod named_device;
mod output;
mod permissions;
mod plugin;
mod reap;
mod resealing;
mod session;
mod signout;
mod slot;

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::bail;
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use self::{
    attach::Attach, audit::Audit, device::Device, doctor::Doctor, keys::Keys, login::Login,
    permissions::Permissions, plugin::Plugin, reap::Reap, slot::Slot,
};
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
    /// The settings file (TOML) of the service; every setting can also come from the environment
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Here(Here),
    #[command(flatten)]
    There(There),
}

/// What works on this machine, with its settings and its database.
#[derive(Debug, Subcommand)]
enum Here {
    /// Try everything on this machine, with a demo provider and a demo plugin; nothing to configure
    Dev(Dev),
    /// Run the service
    Serve,
    /// Bring the database up to date, and exit
    Migrate,
    /// Replace the keys of the service, and see which are in use
    #[command(subcommand)]
    Keys(Keys),
    /// Delete what the database no longer needs
    Reap(Reap),
}

/// What calls a server's API, as whoever is signed in.
#[derive(Debug, Subcommand)]
enum There {
    /// Sign in to a server, as its owner or as a device
    Login(Login),
    /// Show who is signed in where, until when, and what that is good for
    Permissions(Permissions),
    /// End what this machine was given, here and at the server
    Signout,
    /// The plugin store: list, show, put, approve, delete
    #[command(subcommand)]
    Plugin(Plugin),
    /// Devices: list, add, enrol, rename, remove, passwords, trusted keys
    #[command(subcommand)]
    Device(Device),
    /// The plugins on a device: install, override, connect, remove
    #[command(subcommand)]
    Slot(Slot),
    /// Show who did what, newest first
    Audit(Audit),
    /// Say what will go wrong with an OAuth configuration, before a person meets it
    Doctor(Doctor),
    /// Be a plugin: print the events of a device's slots and acknowledge them
    Attach(Attach),
    /// On a hub with an MQTT broker: link PG3 plugins, without PG3 or beside it
    #[cfg(feature = "mqtt")]
    Bridge(Box<bridge::Bridge>),
}

impl Cli {
    /// Does what was asked, until it is done or the process is told to stop.
    pub async fn run(self) -> anyhow::Result<()> {
        let terminal = Terminal::standard();
        match &self.command {
            Command::Here(here) => {
                // Before a secret is read.
                startup::keep_memory_private();
                self.run_here(here, &terminal).await
            }
            Command::There(_) if self.config.is_some() => bail!(
                "--config is for commands of the machine that runs the service: this one calls a server, the one that \
                 `cloudlink login` or {} names",
                credentials::URL
            ),
            Command::There(there) => {
                telemetry::start(LogFormat::Readable, QUIET)?;
                there.run(&terminal).await.or_else(unless_nobody_reads)
            }
        }
    }

    async fn run_here(&self, command: &Here, terminal: &Terminal) -> anyhow::Result<()> {
        match command {
            Here::Dev(dev) => dev.run(self.quiet()?, terminal, &stop_at_signals()).await,
            Here::Serve => startup::serve(&self.logged()?).await,
            Here::Migrate => startup::migrate(&self.logged()?).await,
            Here::Keys(keys) => keys.run(&self.quiet()?, terminal, &stop_at_signals()).await,
            Here::Reap(reap) => reap.run(&self.quiet()?, terminal).await,
        }
    }

    /// The settings of a command that talks to a person, and logs little.
    fn quiet(&self) -> anyhow::Result<Settings> {
        let settings = load(self.config.as_deref())?;
        let untouched = settings.log.filter == EVERYDAY;
        telemetry::start(settings.log.format, if untouched { QUIET } else { &settings.log.filter })?;
        Ok(settings)
    }

    /// The settings of a command that logs as they say.
    fn logged(&self) -> anyhow::Result<Settings> {
        let settings = load(self.config.as_deref())?;
        telemetry::start(settings.log.format, &settings.log.filter)?;
        Ok(settings)
    }
}

impl There {
    async fn run(&self, terminal: &Terminal) -> anyhow::Result<()> {
        match self {
            Self::Login(login) => login.run(terminal, &stop_at_signals()).await,
            Self::Permissions(permissions) => permissions.run(terminal).await,
            Self::Signout => signout::sign_out(terminal).await,
            Self::Plugin(plugin) => plugin.run(terminal).await,
            Self::Device(device) => device.run(terminal).await,
            Self::Slot(slot) => slot.run(terminal).await,
            Self::Audit(audit) => audit.run(terminal).await,
            Self::Doctor(doctor) => doctor.run(terminal).await,
            Self::Attach(attach) => attach.run(terminal, &stop_at_signals()).await,
            #[cfg(feature = "mqtt")]
            Self::Bridge(bridge) => bridge.run(terminal, &stop_at_signals()).await,
        }
    }
}

/// Whoever read the result has seen enough, as `head` has: that is no failure.
fn unless_nobody_reads(error: anyhow::Error) -> anyhow::Result<()> {
    match error.downcast_ref::<io::Error>() {
        Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Some(_) | None => Err(error),
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
    fn each_command_has_one_line_of_help_and_each_argument_too() {
        fn look(command: &clap::Command) {
            let of =
                |help: Option<&clap::builder::StyledStr>| help.map(ToString::to_string).unwrap_or_default();
            for argument in command.get_arguments() {
                let help = of(argument.get_help());
                assert!(
                    (5..=120).contains(&help.len()),
                    "{} {}: {help:?}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            for command in command.get_subcommands() {
                let about = of(command.get_about());
                assert!((5..=110).contains(&about.len()), "{}: {about:?}", command.get_name());
                look(command);
            }
        }
        look(&Cli::command());
    }

    #[test]
    fn a_code_may_begin_with_a_dash() {
        let enrol = "cloudlink device enrol --url https://link.example --name Hub --code -e0Q";
        assert!(Cli::try_parse_from(enrol.split(' ')).is_ok());
    }

    #[test]
    fn the_settings_file_may_stand_behind_the_command() {
        let cli = Cli::try_parse_from(["cloudlink", "serve", "--config", "a.toml"]).unwrap();
        assert_eq!(cli.config.unwrap().to_str(), Some("a.toml"));
    }

    #[test]
    fn attach_is_given_a_server_a_device_and_a_key_or_none_of_them() {
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
        assert!(Cli::try_parse_from(&whole[..2]).is_ok(), "the device that is signed in");
    }
}
