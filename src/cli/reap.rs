//! `cloudlink reap`: on the machine that has the settings and reaches the database.

use crate::{config::Settings, flows, startup, terminal::Terminal};

/// What `reap` is told on the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cloudlink reap --dry-run --config /etc/cloudlink/cloudlink.toml\n\n\
                  Running replicas do the same every minute.")]
pub(super) struct Reap {
    /// Only count, by kind, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

impl Reap {
    /// Does it. Prints a line for each kind: its name, and how many there were.
    pub(super) async fn run(&self, settings: &Settings, terminal: &Terminal) -> anyhow::Result<()> {
        let how = if self.dry_run { flows::Reap::DryRun } else { flows::Reap::Round };
        for (kind, rows) in startup::reap(settings, how).await? {
            terminal.say(format!("{kind:<16} {rows}"))?;
        }
        terminal.note(if self.dry_run { "Nothing was deleted." } else { "These were deleted." });
        Ok(())
    }
}
