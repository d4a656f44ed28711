//! The floor's five transactions by pgbench, where it is installed: what PostgreSQL does without anything around it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::{floor::TRANSACTIONS, flow::AT_ONCE};

/// Debian's packages do not put it on the path.
const FOLDERS: &str = "/usr/lib/postgresql";

/// Flows a second, so to speak; nothing where pgbench is not installed.
pub(crate) async fn run(database: &str, slots: usize, seconds: u64, folder: &Path) -> Result<Option<f64>> {
    let Some(pgbench) = find() else { return Ok(None) };
    let mut script = format!("\\set flow random(1, 9000000000000000)\n\\set slot random(0, {})\n", slots - 1);
    for (statement, length) in TRANSACTIONS {
        let bytes = format!("'\\x{}'::bytea", "01".repeat(length));
        let statement = statement.replace("$1", ":flow").replace("$2", ":slot").replace("$3", &bytes);
        writeln!(script, "{statement};")?;
    }
    let file = folder.join("flow.sql");
    std::fs::write(&file, script)?;
    let at_once = AT_ONCE.to_string();
    let mut command = Command::new(pgbench);
    command.args(["-n", "-M", "prepared", "-c", &at_once, "-j", "1", "-T", &seconds.to_string(), "-f"]);
    let running = command.arg(file).arg(database).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(seconds + 20), running).await??;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench fails: {}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.strip_prefix("tps = ")).context("no tps from pgbench")?;
    Ok(line.split(' ').next().and_then(|word| word.parse().ok()))
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packages = std::fs::read_dir(FOLDERS).into_iter().flatten().filter_map(Result::ok);
    let packages = packages.map(|version| version.path().join("bin"));
    let folders = std::env::split_paths(&path).chain(packages).collect::<Vec<_>>();
    folders.into_iter().map(|folder| folder.join("pgbench")).find(|program| program.is_file())
}
