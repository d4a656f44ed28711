//! `cloudlink bridge`: stand between PG3 plugins and the server, on the hub.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    input::{object_in, password_in},
    named_device::NamedDevice,
};
use crate::{
    bridge::{self, Broker, Hub, HubId, Place, PluginEnvironment},
    domain::{
        ids::SlotName,
        json::{Object, is_deeper_than},
        secret::Password,
    },
    terminal::Terminal,
};

/// Where the bridge's password at the broker may stand, instead of in a file.
const PASSWORD: &str = "CLOUDLINK_MQTT_PASSWORD";

/// What `bridge` is told on the command line.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  cloudlink bridge --standalone --slot ecobee=3 --mqtt-user bridge --mqtt-password-file mqtt-password\n  \
                  cloudlink bridge --companion --uuid 00:21:b9:02:03:04 --slot ecobee=3"
)]
pub(super) struct Bridge {
    #[command(subcommand)]
    other: Option<Other>,
    /// Answer the plugins: there is no PG3
    #[arg(long, required_unless_present = "companion", conflicts_with = "companion")]
    standalone: bool,
    /// Stand beside PG3, which answers the plugins, and bring it configuration and tokens
    #[arg(long, requires = "uuid")]
    companion: bool,
    #[command(flatten)]
    plugins: Plugins,
    /// The bridge's user at the MQTT broker
    #[arg(long, value_name = "NAME")]
    mqtt_user: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        requires = "mqtt_user",
        help = "The file with that user's password [default: the variable CLOUDLINK_MQTT_PASSWORD]"
    )]
    mqtt_password_file: Option<PathBuf>,
    /// The bridge's client id at the MQTT broker [default: cloudlink-bridge- and the hub's id]
    #[arg(long, value_name = "ID")]
    mqtt_client_id: Option<String>,
    /// Custom parameters of a slot's plugin, a JSON object; read at the start
    #[arg(long = "parameters", value_name = "SLOT=FILE", value_parser = parameters, conflicts_with = "companion")]
    parameters: Vec<(SlotName, PathBuf)>,
    /// The folder for what must be known after a restart
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    device: NamedDevice,
}

/// The plugins, and how they and the bridge find each other.
#[derive(Debug, clap::Args)]
struct Plugins {
    /// A slot and the number of its plugin on the hub; may be given several times
    #[arg(long = "slot", value_name = "SLOT=NUMBER", required = true)]
    slots: Vec<Place>,
    /// The hub's id in the plugins' topics; with PG3, the one that PG3 shows [default: the device's id]
    #[arg(long, value_name = "ID")]
    uuid: Option<HubId>,
    /// The MQTT broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883", value_parser = host_and_port)]
    mqtt: (String, u16),
}

/// What else there is to do.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Print PG3INIT, which the plugin is started with; it holds the plugin's password
    InitEnv(InitEnv),
}

/// What `bridge init-env` is told.
#[derive(Debug, clap::Args)]
struct InitEnv {
    #[command(flatten)]
    plugins: Plugins,
    /// The file with the plugin's own password at the MQTT broker
    #[arg(long, value_name = "FILE")]
    plugin_password_file: Option<PathBuf>,
    /// Write it to this file, which only its owner can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    device: NamedDevice,
}

impl Bridge {
    /// Bridges until `stop`.
    pub(super) async fn run(&self, terminal: &Terminal, stop: &CancellationToken) -> anyhow::Result<()> {
        if let Some(Other::InitEnv(init)) = &self.other {
            return init.run(terminal);
        }
        let places = distinct(&self.plugins.slots)?;
        if let Some((slot, _)) =
            self.parameters.iter().find(|(slot, _)| !places.iter().any(|p| p.slot == *slot))
        {
            bail!("--parameters names {slot}, which is no --slot");
        }
        let device = self.device.client(terminal)?;
        let id = match &self.plugins.uuid {
            Some(id) => id.clone(),
            None => device.device.to_string().parse().map_err(anyhow::Error::msg)?,
        };
        let (host, port) = self.plugins.mqtt.clone();
        let client_id = match &self.mqtt_client_id {
            Some(client_id) => client_id.clone(),
            None => format!("cloudlink-bridge-{}", device.device),
        };
        let bridge = bridge::Bridge {
            hub: if self.companion { Hub::Pg3 } else { Hub::Bridge },
            id,
            places,
            parameters: self.parameters()?,
            broker: Broker { host, port, client_id, user: self.user()? },
            state: self.state()?,
            device,
        };
        Ok(bridge.run(terminal, stop).await?)
    }

    fn user(&self) -> anyhow::Result<Option<(String, Password)>> {
        let Some(user) = &self.mqtt_user else { return Ok(None) };
        let password = match &self.mqtt_password_file {
            Some(file) => password_in(file)?,
            None => Password::new(
                env::var(PASSWORD)
                    .with_context(|| format!("give --mqtt-password-file, or the password in {PASSWORD}"))?,
            ),
        };
        Ok(Some((user.clone(), password)))
    }

    fn parameters(&self) -> anyhow::Result<Vec<(SlotName, Object)>> {
        let each = self.parameters.iter().map(|(slot, file)| match object_in(file)? {
            deep if is_deeper_than(bridge::DEEPEST, &deep) => {
                bail!("{} has more than {} levels of lists and objects", file.display(), bridge::DEEPEST)
            }
            Value::Object(parameters) => Ok((slot.clone(), parameters)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                bail!("{} holds no JSON object", file.display())
            }
        });
        each.collect()
    }

    /// The folder that was given, else systemd's, else the user's.
    fn state(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.state {
            return Ok(folder.clone());
        }
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let systemds = absolute("STATE_DIRECTORY").map(|folder| folder.join("bridge"));
        let users = || absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        systemds
            .or_else(|| Some(users()?.join("cloudlink/bridge")))
            .context("there is no folder to keep the state in: give --state, or set HOME")
    }
}

impl InitEnv {
    fn run(&self, terminal: &Terminal) -> anyhow::Result<()> {
        let [place] = self.plugins.slots.as_slice() else {
            bail!("give one --slot: each plugin has its own")
        };
        let hub = match &self.plugins.uuid {
            Some(id) => id.clone(),
            None => self.device.client(terminal)?.device.to_string().parse().map_err(anyhow::Error::msg)?,
        };
        let password = self.plugin_password_file.as_deref().map(password_in).transpose()?;
        let (host, port) = &self.plugins.mqtt;
        let environment = PluginEnvironment {
            hub: &hub,
            profile: place.profile,
            host,
            port: *port,
            password: password.as_ref(),
        };
        terminal.note(format_args!("the plugin is the user {} at the MQTT broker", environment.user()));
        match &self.write {
            Some(path) => Ok(environment.write(path)?),
            None => Ok(terminal.say(environment.line().expose())?),
        }
    }
}

/// Each slot once, and each number.
fn distinct(places: &[Place]) -> anyhow::Result<Vec<Place>> {
    for (index, place) in places.iter().enumerate() {
        let before = places.iter().take(index);
        if before.clone().any(|other| other.slot == place.slot) {
            bail!("the slot {} is given twice", place.slot);
        }
        if before.clone().any(|other| other.profile == place.profile) {
            bail!("two slots have the number {}: each plugin has its own", place.profile);
        }
    }
    Ok(places.to_vec())
}

fn parameters(text: &str) -> Result<(SlotName, PathBuf), &'static str> {
    let advice = "must be written like ecobee=parameters.json";
    let (slot, file) = text.split_once('=').ok_or(advice)?;
    Ok((slot.parse().map_err(|_| advice)?, Path::new(file).to_owned()))
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let advice = "must be a host and a port, like 127.0.0.1:1883";
    let (host, port) = text.rsplit_once(':').ok_or(advice)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(advice)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() { Err(advice) } else { Ok((host.to_owned(), port)) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command, There};

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(format!("cloudlink bridge {line}").split(' '))
    }

    #[test]
    fn it_is_either_alone_or_beside_pg3_which_has_an_id() {
        assert!(parsed("--standalone --slot ecobee=3 --slot car=4").is_ok());
        assert!(parsed("--companion --uuid 00:21:b9:02:03:04 --slot ecobee=3").is_ok());
        for bad in [
            "--slot ecobee=3",
            "--standalone",
            "--companion --slot ecobee=3",
            "--standalone --companion --uuid a --slot a=1",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_no_argument() {
        assert!(parsed("--standalone --slot a=1 --mqtt-password x").is_err());
        assert!(parsed("--standalone --slot a=1 --mqtt-password-file f").is_err(), "whose?");
        assert!(parsed("init-env --slot a=1 --uuid h --plugin-password-file f --write e").is_ok());
    }

    #[test]
    fn parameters_that_could_not_be_kept_are_refused_at_the_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = format!("--standalone --slot a=1 --parameters a={}", file.path().display());
        for (levels, taken) in [(bridge::DEEPEST, true), (bridge::DEEPEST + 1, false)] {
            let (open, close) = ("{\"a\":".repeat(levels - 1), "}".repeat(levels - 1));
            std::fs::write(file.path(), format!("{open}{{}}{close}")).unwrap();
            let Command::There(There::Bridge(told)) = parsed(&line).unwrap().command else {
                panic!("{line}")
            };
            assert_eq!(told.parameters().is_ok(), taken, "{levels}");
        }
    }

    #[test]
    fn the_broker_is_a_host_and_a_port() {
        assert_eq!(host_and_port("[::1]:1884").unwrap(), ("::1".to_owned(), 1884));
        for bad in ["", "host", ":1883", "host:0", "host:x"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_slot_and_no_number_is_given_twice() {
        let places =
            |texts: &[&str]| -> Vec<Place> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        assert!(distinct(&places(&["a=1", "b=2"])).is_ok());
        assert!(distinct(&places(&["a=1", "a=2"])).unwrap_err().to_string().contains("given twice"));
        assert!(distinct(&places(&["a=1", "b=1"])).unwrap_err().to_string().contains("number 1"));
    }
}
