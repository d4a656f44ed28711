//! Settings: `config/default.toml`, then the operator's file, then the environment.
//!
//! Guarantees: a key that does not exist is refused with its name, wherever it was written, because the
//! keys are those of the embedded default and nothing else (`layers`); a value that does not fit and two
//! settings that contradict each other stop the start with one sentence that names them (`parse`,
//! [`Settings::fit_to_serve`]); a secret is never part of an error or of `Debug`, because it leaves the
//! layers as one of `domain::secret`'s types, and no error of the layers quotes a value.
//!
//! It does not open, resolve or connect to anything that a setting names, except the files of secrets.

mod account_link;
mod key_file;
mod layers;
mod parse;
mod settings;

use std::path::{Path, PathBuf};

pub use settings::{
    Admin, Audit, Bus, BusKind, Consent, Database, Egress, Enrolment, Flow, Log, LogFormat, Login, Refresh,
    Relay, Server, Settings, Vault,
};

/// The commented defaults, embedded: the documentation is the default.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Why the settings cannot be used. Each is one sentence; none holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file named by `--config`, or by a `…_FILE` variable, cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file of vault keys can be read by others than its owner.
    #[error("{} holds vault keys and has mode {mode:04o}, so others than its owner can use it: chmod 600 '{}'", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is no TOML.
    #[error("{origin} is no valid TOML: {place}")]
    Malformed {
        /// The file.
        origin: String,
        /// Line and column; never the text, which may be a secret.
        place: String,
    },
    /// A key that does not exist.
    #[error("{key} ({origin}) is no setting{}", suggestion.as_ref().map_or_else(String::new, |s| format!("; did you mean {s}?")))]
    Unknown {
        /// The key as it was written.
        key: String,
        /// Where it was written.
        origin: String,
        /// The nearest one that exists, written in the same way.
        suggestion: Option<String>,
    },
    /// A secret was given as a value and as a file.
    #[error("{value} and {file} are both set; keep one of them")]
    Twice {
        /// The variable or key with the value.
        value: String,
        /// The variable that names a file.
        file: String,
    },
    /// A value that does not fit.
    #[error("{key} {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// What is wrong and what would fit.
        reason: String,
    },
    /// Two settings that contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl Settings {
    /// Reads the layers: the defaults, `file` if there is one, and `environment` (all variables of the
    /// process; the others are skipped).
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut layers = layers::Layers::of_defaults()?;
        if let Some(path) = file {
            layers.add_file(path)?;
        }
        layers.add_environment(environment)?;
        parse::settings(&mut layers)
    }
}

/// The process's environment as [`Settings::load`] takes it. Variables that are no Unicode are left out.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests;
