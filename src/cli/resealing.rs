//! `cloudlink keys rotate`: how far it is, and how it ended.

use std::io::{IsTerminal as _, stderr};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::key_status::key_of;
use crate::{
    flows::{Resealed, Resealing, reseal},
    seams::SystemClock,
    store::{SealedColumn, Store},
    terminal::Terminal,
    vault::envelope::KeyId,
};

/// Seals everything anew with the first key, and says so.
pub(super) async fn rotate(store: &Store, terminal: &Terminal, stop: &CancellationToken) -> Result<()> {
    let mut progress = Progress::new(terminal);
    let ended = reseal(store, &SystemClock, stop, &mut |step| progress.show(step)).await;
    let done = progress.finish();
    let key = store.active_key();
    match ended? {
        Resealed::Whole => {
            let others: Vec<&str> = store.keys().skip(1).map(KeyId::as_str).collect();
            let rest = match others.as_slice() {
                [] => String::new(),
                others => format!(
                    "; nothing needs {} any more: take it out of vault.keys ten minutes from now",
                    others.join(", ")
                ),
            };
            terminal
                .say(format_args!("{done} values sealed anew; everything stored has the key {key}{rest}"))?;
            Ok(())
        }
        Resealed::Stopped => anyhow::bail!("stopped after {done} values; run it again to go on"),
        Resealed::Left(left) => {
            for count in &left {
                terminal.note(format_args!(
                    "{}: {} values have {}",
                    count.column.name(),
                    count.values,
                    key_of(count)
                ));
            }
            anyhow::bail!(
                "{done} values sealed anew, but those above have not the key {key}: either the warnings say why they \
                 can't be opened, or a replica still encrypts with an older key; restart it with {key} in front of \
                 vault.keys, then run this again"
            )
        }
    }
}

/// A bar where a person looks on, else a line for each column.
struct Progress<'a> {
    terminal: &'a Terminal,
    bar: Option<ProgressBar>,
    done: u64,
    column: Option<(SealedColumn, u64)>,
}

impl<'a> Progress<'a> {
    fn new(terminal: &'a Terminal) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {msg} {eta}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { terminal, bar, done: 0, column: None }
    }

    fn show(&mut self, step: Resealing) {
        match (step, &self.bar) {
            (Resealing::Found(values), Some(bar)) => bar.set_length(values),
            (Resealing::Found(values), None) => {
                self.terminal.note(format_args!("{values} values have another key than the first"));
            }
            (Resealing::Resealed(column, values), Some(bar)) => {
                self.done += values;
                bar.set_message(column.name());
                bar.set_position(self.done);
            }
            (Resealing::Resealed(column, values), None) => {
                self.done += values;
                match &mut self.column {
                    Some((current, so_far)) if *current == column => *so_far += values,
                    _ => {
                        self.tell();
                        self.column = Some((column, values));
                    }
                }
            }
        }
    }

    /// Tells of the column that is done.
    fn tell(&mut self) {
        if let Some((column, values)) = self.column.take()
            && values > 0
        {
            self.terminal.note(format_args!("{}: {values} sealed anew", column.name()));
        }
    }

    /// How many values were sealed anew.
    fn finish(mut self) -> u64 {
        self.tell();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.done
    }
}
