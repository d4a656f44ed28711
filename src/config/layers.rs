//! The layers a setting can come from, and the keys that exist: exactly those of the embedded default.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use config::{File, FileFormat, Source, Value, ValueKind};
use zeroize::Zeroizing;

use super::{DEFAULTS, SettingsError, account_link, key_file};

const PREFIX: &str = "CLOUDLINK__";
const FILE_SUFFIX: &str = "_FILE";

/// The keys whose values are secrets: they alone can come from a file, and no error quotes them.
const SECRETS: [&str; 5] =
    ["admin.password", "bus.url", "database.url", "login.oidc.client_secret", "vault.keys"];

/// A value and where it came from.
struct Setting {
    value: Value,
    origin: String,
}

/// The merged layers, by `section.key`.
pub(super) struct Layers {
    settings: BTreeMap<String, Setting>,
}

impl Layers {
    /// The embedded default.
    pub(super) fn of_defaults() -> Result<Self, SettingsError> {
        let origin = "the embedded default";
        let settings = flatten(DEFAULTS, origin)?
            .into_iter()
            .map(|(key, value)| (key, Setting { value, origin: origin.to_owned() }))
            .collect();
        Ok(Self { settings })
    }

    /// The operator's file.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let origin = path.display().to_string();
        let text = read(path)?;
        for (key, value) in flatten(&text, &origin)? {
            self.make_room(&key);
            let Some(setting) = self.settings.get_mut(&key) else {
                let suggestion = self.nearest(&key);
                return Err(SettingsError::Unknown { key, origin, suggestion });
            };
            *setting = Setting { value, origin: format!("{key} in {origin}") };
        }
        Ok(())
    }

    /// The variables that begin with `CLOUDLINK__`.
    pub(super) fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), SettingsError> {
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for (variable, value) in environment {
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            let (rest, value) = match rest.strip_suffix(FILE_SUFFIX) {
                Some(base) if SECRETS.contains(&key_of(base).as_str()) => {
                    (base, secret_in(&PathBuf::from(value), &key_of(base))?)
                }
                _ => (rest, value),
            };
            let key = key_of(rest);
            self.make_room(&key);
            if !self.settings.contains_key(&key) {
                let suggestion = self.nearest(&key).map(|known| variable_of(&known));
                return Err(SettingsError::Unknown {
                    key: variable,
                    origin: "in the environment".to_owned(),
                    suggestion,
                });
            }
            if given.insert(key.clone(), variable).is_some() {
                let value = variable_of(&key);
                return Err(SettingsError::Twice { file: format!("{value}{FILE_SUFFIX}"), value });
            }
            if let (Some(variable), Some(setting)) = (given.get(&key), self.settings.get_mut(&key)) {
                let in_file = setting.origin.starts_with(&key);
                if variable.ends_with(FILE_SUFFIX) && in_file && !is_empty(&setting.value) {
                    return Err(SettingsError::Twice {
                        value: setting.origin.clone(),
                        file: variable.clone(),
                    });
                }
                let is_list = matches!(setting.value.kind, ValueKind::Array(_));
                let kind = if is_list { ValueKind::Array(list(&value)) } else { ValueKind::String(value) };
                *setting = Setting { value: Value::new(None, kind), origin: variable.clone() };
            }
        }
        Ok(())
    }

    /// A key whose name holds one that the operator chooses is none of the default's.
    fn make_room(&mut self, key: &str) {
        if account_link::is_of_a_service(key) {
            let unset = || Setting {
                value: Value::new(None, ValueKind::String(String::new())),
                origin: String::new(),
            };
            self.settings.entry(key.to_owned()).or_insert_with(unset);
        }
    }

    /// The keys that begin like this, of those that are left.
    pub(super) fn below(&self, beginning: &str) -> Vec<String> {
        self.settings.keys().filter(|key| key.starts_with(beginning)).cloned().collect()
    }

    /// A text; a number or a truth value counts as one. Empty means that it is not set.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<Zeroizing<String>>, SettingsError> {
        let setting = self.take(key)?;
        match setting.value.into_string() {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(_) => Err(invalid(key, "must be a text")),
        }
    }

    /// A list of texts; empty members are left out.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Zeroizing<String>>, SettingsError> {
        let setting = self.take(key)?;
        let ValueKind::Array(members) = setting.value.kind else {
            return Err(invalid(key, "must be a list of texts, in brackets"));
        };
        let texts = members.into_iter().map(|member| {
            let ValueKind::String(text) = member.kind else {
                return Err(invalid(key, "must be a list of texts, in brackets"));
            };
            Ok(Zeroizing::new(text))
        });
        texts.filter(|text| !matches!(text, Ok(text) if text.is_empty())).collect()
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &str) -> Result<u64, SettingsError> {
        let text = self.text(key)?.unwrap_or_default();
        text.trim().parse().map_err(|_| invalid(key, "must be a whole number, 0 or more"))
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, key: &str) -> Result<bool, SettingsError> {
        let text = self.text(key)?.unwrap_or_default();
        text.trim().parse().map_err(|_| invalid(key, "must be true or false"))
    }

    /// Whatever was not taken: empty when `super::parse` knows each key of the default.
    pub(super) fn rest(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    fn take(&mut self, key: &str) -> Result<Setting, SettingsError> {
        self.settings.remove(key).ok_or_else(|| invalid(key, "is missing in the embedded default"))
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let written = key.to_lowercase();
        let candidates = self.settings.keys().map(|known| (distance(known, &written), known));
        candidates
            .filter(|(distance, known)| *distance * 2 < known.len())
            .min()
            .map(|(_, known)| known.clone())
    }
}

pub(super) fn invalid(key: &str, reason: impl Into<String>) -> SettingsError {
    SettingsError::Invalid { key: key.to_owned(), reason: reason.into() }
}

fn key_of(variable: &str) -> String {
    variable.to_lowercase().replace("__", ".")
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

fn list(text: &str) -> Vec<Value> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    members.map(|member| Value::new(None, ValueKind::String(member.to_owned()))).collect()
}

fn is_empty(value: &Value) -> bool {
    matches!(&value.kind, ValueKind::String(text) if text.is_empty())
        || matches!(&value.kind, ValueKind::Array(members) if members.is_empty())
}

fn read(path: &Path) -> Result<Zeroizing<String>, SettingsError> {
    let text = std::fs::read_to_string(path);
    text.map(Zeroizing::new).map_err(|cause| SettingsError::Unreadable { path: path.to_owned(), cause })
}

/// What a file of a secret says, without its last line end.
fn secret_in(path: &Path, key: &str) -> Result<String, SettingsError> {
    if key == "vault.keys" {
        return Ok(key_file::read(path)?.to_string());
    }
    Ok(read(path)?.trim_end_matches(['\r', '\n']).to_owned())
}

/// `section.key` and value of all that stands in a TOML text.
fn flatten(text: &str, origin: &str) -> Result<Vec<(String, Value)>, SettingsError> {
    let sections = File::from_str(text, FileFormat::Toml)
        .collect()
        .map_err(|error| SettingsError::Malformed { origin: origin.to_owned(), place: place_in(&error) })?;
    let mut flat = Vec::new();
    let mut deep: Vec<(String, Value)> = sections.into_iter().collect();
    while let Some((section, value)) = deep.pop() {
        if let ValueKind::Table(keys) = value.kind {
            deep.extend(keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
        } else {
            flat.push((section, value));
        }
    }
    flat.sort_by(|(one, _), (two, _)| one.cmp(two));
    Ok(flat)
}

/// The parser's message shows the line it stumbled over, which may hold a secret: only line and column are
/// taken from it.
fn place_in(error: &config::ConfigError) -> String {
    let message = if let config::ConfigError::FileParse { cause, .. } = error {
        cause.to_string()
    } else {
        String::new()
    };
    let first = message.lines().next().unwrap_or_default();
    let place = first.strip_prefix("TOML parse error at ").unwrap_or("see its syntax");
    place.to_owned()
}

/// How many characters must be inserted, deleted or replaced (Levenshtein).
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut next = vec![line + 1];
        for ((column, b), above) in two.iter().enumerate().zip(row.windows(2)) {
            let (&[diagonal, up], Some(&left)) = (above, next.get(column)) else { continue };
            next.push((diagonal + usize::from(a != *b)).min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
