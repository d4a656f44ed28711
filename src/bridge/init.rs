//! What a plugin is started with: PG3's own variable, `PG3INIT`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use zeroize::Zeroizing;

use super::HubId;
use crate::domain::secret::{Password, SecretValue};

/// Versions that plugins ask for; the first is one that knows `setPoll`.
const PG3: &str = "3.3.0";
const CONTROLLER: &str = "5.8.4";

/// A plugin's environment.
#[derive(Debug)]
pub struct PluginEnvironment<'a> {
    /// What the hub is called.
    pub hub: &'a HubId,
    /// The plugin's number there.
    pub profile: u16,
    /// The MQTT broker, as the plugin reaches it.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// The plugin's own password there; none where the broker asks for none.
    pub password: Option<&'a Password>,
}

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be written: check the path and who owns it", path.display())]
pub struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl PluginEnvironment<'_> {
    /// The plugin's user name at the broker.
    pub fn user(&self) -> String {
        self.hub.plugin(self.profile).0.replace(':', "")
    }

    /// `PG3INIT=…`: a line of an environment file. It holds the plugin's password.
    pub fn line(&self) -> SecretValue {
        let init = Zeroizing::new(
            json!({
                "uuid": self.hub.0,
                "profileNum": self.profile,
                "pg3Version": PG3,
                "isyVersion": CONTROLLER,
                "mqttHost": self.host,
                "mqttPort": self.port,
                "secure": 0,
                "token": self.password.map_or("", Password::expose),
            })
            .to_string(),
        );
        SecretValue::new(format!("PG3INIT={}", STANDARD.encode(init.as_bytes())))
    }

    /// Writes the line to a file that its owner alone can read, in place of what was there.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        let written = || -> io::Result<()> {
            let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
            name.push(".new");
            let beside = path.with_file_name(name);
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
            writeln!(file, "{}", self.line().expose())?;
            file.sync_all()?;
            fs::rename(beside, path)
        };
        written().map_err(|source| WriteError { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_plugin_finds_its_number_its_broker_and_its_password() {
        let (hub, password) = ("00:21:b9:02:03:04".parse().unwrap(), Password::new("pw"));
        let environment = PluginEnvironment {
            hub: &hub,
            profile: 3,
            host: "127.0.0.1",
            port: 1884,
            password: Some(&password),
        };
        assert_eq!(environment.user(), "0021b9020304_3");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin.env");
        for _ in 0..2 {
            environment.write(&path).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let init = STANDARD.decode(text.trim_end().strip_prefix("PG3INIT=").unwrap()).unwrap();
        let init: Value = serde_json::from_slice(&init).unwrap();
        assert_eq!(
            (&init["uuid"], &init["profileNum"], &init["token"]),
            (&"00:21:b9:02:03:04".into(), &3.into(), &"pw".into())
        );
        assert_eq!(
            (&init["mqttHost"], &init["mqttPort"], &init["secure"]),
            (&"127.0.0.1".into(), &1884.into(), &0.into())
        );
    }
}
