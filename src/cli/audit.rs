//! `cloudlink audit`: who did what, newest first, a page at a time.

use serde_json::Value;

use super::{
    advice::{Asked, advise},
    output::Output,
    session::Session,
};
use crate::terminal::Terminal;

/// What `audit` is told on the command line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  cloudlink audit --limit 20\n\nEach page ends with the command for the next one."
)]
pub(super) struct Audit {
    /// Only entries older than the one with this id
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// How many entries, 1 to 200
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=200))]
    limit: u8,
    #[command(flatten)]
    output: Output,
}

impl Audit {
    /// Prints a page.
    pub(super) async fn run(&self, terminal: &Terminal) -> anyhow::Result<()> {
        let session = Session::open(terminal).await?;
        let limit = self.limit;
        let before = self.before.map(|id| format!("&before={id}")).unwrap_or_default();
        let page = session.api.get(&format!("/api/audit?limit={limit}{before}")).await;
        let entries = page.map_err(|error| advise(error.into(), &session, Asked::Nothing))?;
        let members = ["id", "at", "actor", "address", "action", "subject", "detail"];
        self.output.list(terminal, &entries, members, "There are no entries")?;
        let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
        let oldest = entries.last().and_then(|entry| entry.get("id")).and_then(Value::as_i64);
        if let Some(id) = oldest.filter(|_| entries.len() == usize::from(limit)) {
            terminal.note(format_args!("Older ones: cloudlink audit --before {id} --limit {limit}"));
        }
        Ok(())
    }
}
