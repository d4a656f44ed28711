//! Finds `initdb` and `postgres` on this machine.
//!
//! Distributions keep them out of `PATH` and side by side in several major versions. The newest wins,
//! unless existing data fixes the major version. `CLOUDLINK_POSTGRES_BIN` overrides the search.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::ClusterError;

/// The oldest major version that cloudlink's SQL is written for.
const OLDEST: u32 = 14;
/// How long `postgres --version` may take.
const ASKING: Duration = Duration::from_secs(10);

/// Folders, and the beginning and the rest of the names below them, where packages put the programs.
const USUAL: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/usr/local", "pgsql", "bin"),
];

/// The programs of one installation.
#[derive(Debug)]
pub(super) struct Binaries {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
}

/// The programs of major version `wanted`, else the newest there are. `folder` is for the error alone.
pub(super) async fn find(wanted: Option<u32>, folder: &Path) -> Result<Binaries, ClusterError> {
    let by_hand = std::env::var_os("CLOUDLINK_POSTGRES_BIN").filter(|value| !value.is_empty());
    let places = match &by_hand {
        Some(place) => vec![PathBuf::from(place)],
        None => places(std::env::var_os("PATH").as_deref()),
    };
    let mut found = Vec::new();
    for place in places {
        if let Some(installation) = look_into(&place).await {
            found.push(installation);
        }
    }
    choose(found, wanted).map_err(|missing| match (missing, by_hand) {
        (Missing::Version(wanted), _) => ClusterError::WrongVersion { folder: folder.to_owned(), wanted },
        (Missing::All, Some(place)) => ClusterError::NotThere(place.into()),
        (Missing::All, None) => ClusterError::NotInstalled,
    })
}

#[derive(Debug, PartialEq)]
enum Missing {
    All,
    Version(u32),
}

/// Versions are compared as (major, minor).
fn choose<T>(found: Vec<((u32, u32), T)>, wanted: Option<u32>) -> Result<T, Missing> {
    let usable: Vec<_> = found.into_iter().filter(|(version, _)| version.0 >= OLDEST).collect();
    if usable.is_empty() {
        return Err(Missing::All);
    }
    usable
        .into_iter()
        .filter(|(version, _)| wanted.is_none_or(|wanted| version.0 == wanted))
        .max_by_key(|(version, _)| *version)
        .map(|(_, installation)| installation)
        .ok_or(wanted.map_or(Missing::All, Missing::Version))
}

/// Every folder worth a look, each once.
fn places(path: Option<&OsStr>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut add = |place: PathBuf| {
        if !places.contains(&place) {
            places.push(place);
        }
    };
    for directory in path.iter().flat_map(std::env::split_paths) {
        // A link in PATH often stands alone: the other programs are where it leads.
        if let Ok(program) = directory.join("postgres").canonicalize()
            && let Some(directory) = program.parent()
        {
            add(directory.to_owned());
        }
    }
    for (parent, prefix, rest) in USUAL {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
                && let Ok(place) = entry.path().join(rest).canonicalize()
            {
                add(place);
            }
        }
    }
    places
}

async fn look_into(place: &Path) -> Option<((u32, u32), Binaries)> {
    let binaries = Binaries { initdb: place.join("initdb"), postgres: place.join("postgres") };
    if !binaries.initdb.is_file() || !binaries.postgres.is_file() {
        return None;
    }
    let mut command = Command::new(&binaries.postgres);
    command.arg("--version").kill_on_drop(true);
    let output = timeout(ASKING, command.output()).await.ok()?.ok()?;
    Some((version(&String::from_utf8_lossy(&output.stdout))?, binaries))
}

/// Reads `postgres (PostgreSQL) 15.13 (Debian …)` and `postgres (PostgreSQL) 18beta1`.
fn version(line: &str) -> Option<(u32, u32)> {
    let numbers = line.split_once("(PostgreSQL)")?.1.trim_start();
    let (major, rest) = digits(numbers);
    let (minor, _) = digits(rest.strip_prefix('.').unwrap_or_default());
    Some((major.parse().ok()?, minor.parse().unwrap_or(0)))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_distributions_write_them() {
        assert_eq!(version("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"), Some((15, 13)));
        assert_eq!(version("postgres (PostgreSQL) 18beta1\n"), Some((18, 0)));
        assert_eq!(version("postgres (PostgreSQL) 17devel\n"), Some((17, 0)));
        assert_eq!(version("mysqld 8.0\n"), None);
        assert_eq!(version("postgres (PostgreSQL) x\n"), None);
    }

    #[test]
    fn the_newest_wins_unless_the_data_fixes_the_version() {
        let found = || vec![((15, 13), "a"), ((17, 2), "b"), ((17, 10), "c"), ((9, 6), "d")];
        assert_eq!(choose(found(), None), Ok("c"));
        assert_eq!(choose(found(), Some(15)), Ok("a"));
        assert_eq!(choose(found(), Some(16)), Err(Missing::Version(16)));
        assert_eq!(choose(found(), Some(9)), Err(Missing::Version(9)));
        assert_eq!(choose(vec![((13, 1), "old")], None), Err(Missing::All));
        assert_eq!(choose::<()>(Vec::new(), Some(15)), Err(Missing::All));
    }

    #[test]
    fn a_link_in_path_leads_to_its_installation() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = scratch.path().canonicalize().unwrap();
        let real = scratch.join("lib/15/bin");
        let linked = scratch.join("bin");
        std::fs::create_dir_all(&real).unwrap();
        std::fs::create_dir_all(&linked).unwrap();
        std::fs::write(real.join("postgres"), "").unwrap();
        std::os::unix::fs::symlink(real.join("postgres"), linked.join("postgres")).unwrap();

        assert_eq!(places(Some(linked.as_os_str())).first(), Some(&real));
    }
}
