//! `cloudlink keys status`: which keys are in use, and for how much.

use anyhow::Result;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::output::show_json;
use crate::{
    config::Settings,
    domain::clock::Clock as _,
    flows::{KeyStatus, SealedCount, SigningKeyDates, key_status},
    seams::SystemClock,
    startup::maintain,
    terminal::{Table, Terminal, moment_of},
    vault::envelope::KeyId,
};

/// How the status is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints it. Fails where something can't be read with the keys there are.
    pub(super) async fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<()> {
        let now = SystemClock.now();
        let status = maintain(settings, async |store| Ok(key_status(&store, now).await?)).await?;
        if self.json {
            show_json(terminal, &as_json(&status, now))?;
        } else {
            for line in as_lines(&status, now) {
                terminal.say(line)?;
            }
        }
        match status.unreadable().map(|count| count.values).sum::<u64>() {
            0 => Ok(()),
            lost => anyhow::bail!(
                "{lost} values can't be read: put the keys that they need back into vault.keys, behind the first"
            ),
        }
    }
}

/// A key's id, or what stands for one that could not be told.
pub(super) fn key_of(count: &SealedCount) -> &str {
    count.key.as_ref().map_or("?", KeyId::as_str)
}

fn as_lines(status: &KeyStatus, now: OffsetDateTime) -> Vec<String> {
    let mut keys = Table::new(["vault key", "values", "state"]);
    for (key, values) in status.by_key() {
        let id = key.map_or("?", KeyId::as_str);
        let state = match key {
            Some(_) if key == status.held.first() => "seals",
            Some(key) if !status.held.contains(key) => "NOT IN vault.keys: put it back, behind the first",
            Some(_) if values == 0 => "not needed any more",
            Some(_) => "opens; `cloudlink keys rotate` makes it superfluous",
            None => "NOT READABLE: these are no sealed values",
        };
        keys.row([id, &values.to_string(), state]);
    }
    let mut columns = Table::new(["column", "key", "values"]);
    for count in &status.counts {
        columns.row([count.column.name(), key_of(count), &count.values.to_string()]);
    }
    let mut signing = Table::new(["signing key", "days old", "state"]);
    for key in &status.signing {
        let days = (now - key.created_at).whole_days().to_string();
        let state = key
            .retires_at
            .map_or_else(|| "signs".to_owned(), |at| format!("believed until {}", moment_of(&written(at))));
        signing.row([&key.kid, &days, &state]);
    }
    let blank = || std::iter::once(String::new());
    keys.lines().chain(blank()).chain(columns.lines()).chain(blank()).chain(signing.lines()).collect()
}

fn as_json(status: &KeyStatus, now: OffsetDateTime) -> Value {
    let keys = status.by_key().into_iter().map(|(key, values)| {
        json!({
            "key": key.map(KeyId::as_str),
            "values": values,
            "seals": key.is_some() && key == status.held.first(),
            "in_vault_keys": key.is_some_and(|key| status.held.contains(key)),
        })
    });
    let column = |count: &SealedCount| {
        json!({
            "column": count.column.name(),
            "key": count.key.as_ref().map(KeyId::as_str),
            "values": count.values,
        })
    };
    let signing = |key: &SigningKeyDates| {
        json!({
            "kid": key.kid,
            "created_at": written(key.created_at),
            "age_seconds": (now - key.created_at).whole_seconds(),
            "retires_at": key.retires_at.map(written),
        })
    };
    json!({
        "keys": keys.collect::<Vec<_>>(),
        "columns": status.counts.iter().map(column).collect::<Vec<_>>(),
        "unreadable": status.unreadable().map(|count| count.values).sum::<u64>(),
        "signing_keys": status.signing.iter().map(signing).collect::<Vec<_>>(),
    })
}

fn written(at: OffsetDateTime) -> String {
    at.truncate_to_second().format(&Rfc3339).unwrap_or_default()
}
