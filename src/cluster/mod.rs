//! The private PostgreSQL that cloudlink runs where no `database.url` is set, in `dev`, and in tests.
//!
//! One folder holds one cluster: `lock`, `data/` (PostgreSQL's own files), `socket/`, `server.log`.
//! The machine's PostgreSQL programs are used; nothing is downloaded.
//!
//! Guarantees, and what carries them:
//! - One cloudlink per folder: an exclusive file lock held for the life of [`Cluster`]. Its holder may
//!   treat everything else in the folder as left over (`leftovers`).
//! - The server ends with its owner, however the owner ends, `kill -9` included: a small shell stands
//!   between them and holds the reading end of a pipe whose only writing end is ours (`process`).
//!   A parent death signal would do the same, but only on Linux, only for the thread that spawned the
//!   server, and only through `unsafe`.
//! - A folder holds either a whole cluster or none: it is made in `data.new` and renamed.
//! - Nobody else on the machine can connect: a socket in a folder of mode 0700, no TCP.
//! - PostgreSQL refuses to run as root, so as root it runs as the owner of the data, else as `postgres`,
//!   else as `nobody`.
//!
//! It does not upgrade data between major versions of PostgreSQL, make backups, or know any table.

use std::path::{Path, PathBuf};

mod binaries;
mod error;
mod folder;
mod leftovers;
mod process;

pub use error::ClusterError;

/// The database that every new cluster holds, empty, and the name of its only role.
pub const DATABASE: &str = "cloudlink";

/// How much of what is written must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What was committed survives a power cut.
    Full,
    /// Nothing outlives the owner, for tests: no `fsync`, and the folder is emptied when the server ends
    /// (and removed, where the server's user may do that).
    Discarded,
}

/// What [`Cluster::start`] needs to know.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The folder that belongs to the cluster alone; made where it is missing. Where the user that
    /// PostgreSQL runs as can't reach it, [`Cluster::folder`] says where the cluster went instead.
    pub data_dir: PathBuf,
    /// What must survive.
    pub durability: Durability,
    /// How many connections the server accepts at once, at least 10.
    pub max_connections: u16,
}

/// A running private PostgreSQL. Dropping it lets the server stop in the background;
/// [`Cluster::stop`] waits for that.
#[derive(Debug)]
pub struct Cluster {
    server: process::Server,
    folder: PathBuf,
    sockets: PathBuf,
    /// Declared last: fields are dropped in order, and the lock must outlive the pipe to the server.
    _lock: folder::Lock,
}

impl Cluster {
    /// Starts the server on the folder, after making the cluster where there is none and ending what an
    /// earlier owner left behind. Takes about 1 s the first time, 0.25 s later.
    pub async fn start(settings: &ClusterSettings) -> Result<Self, ClusterError> {
        let folder = folder::Folder::claim(&settings.data_dir).await?;
        leftovers::end(&folder).await?;
        let binaries = binaries::find(folder.major_version()?, &folder.path).await?;
        if !folder.holds_a_cluster() {
            process::initialise(&binaries, &folder, settings.durability).await?;
        }
        let sockets = folder.socket_folder()?;
        leftovers::forget_the_dead(&folder, &sockets)?;
        let server = process::Server::start(&binaries, &folder, &sockets, settings).await?;
        Ok(Self { server, folder: folder.path, sockets, _lock: folder.lock })
    }

    /// A URL for `database`, over the private socket; [`DATABASE`] always exists.
    pub fn url(&self, database: &str) -> String {
        url_over(&self.sockets, database)
    }

    /// Where the cluster lives.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until the server has ended by itself, which it does not do in health. Safe to cancel.
    pub async fn ended(&mut self) -> ClusterError {
        self.server.exited().await;
        ClusterError::Ended { log: folder::log_file(&self.folder) }
    }

    /// Stops the server: open transactions are rolled back, data is written. Takes a fraction of a second;
    /// a server that does not obey is killed after 10 s, and its data is recovered at the next start.
    pub async fn stop(self) -> Result<(), ClusterError> {
        self.server.stop(&self.folder).await?;
        if !self.sockets.starts_with(&self.folder) {
            // Empty now; if it stays, it is found again at the next start.
            let _ = std::fs::remove_dir(&self.sockets);
        }
        Ok(())
    }
}

/// A URL for `database` of a cluster that another cloudlink runs: `folder` as [`ClusterError::InUse`] names it.
pub fn url_beside(folder: &Path, database: &str) -> Result<String, ClusterError> {
    let sockets = folder::open_sockets(folder).ok_or_else(|| ClusterError::NoSocket(folder.to_owned()))?;
    Ok(url_over(&sockets, database))
}

fn url_over(sockets: &Path, database: &str) -> String {
    let host = percent_encoded(sockets.as_os_str().as_encoded_bytes());
    let database = percent_encoded(database.as_bytes());
    format!("postgres://{DATABASE}@{host}:{}/{database}?sslmode=disable", process::PORT)
}

/// Where cloudlink keeps what it must not lose, when nobody says otherwise: `$CLOUDLINK_DATA_DIR`;
/// as root `/var/lib/cloudlink`; else `cloudlink` below `$XDG_DATA_HOME`, else below `~/.local/share`.
pub fn default_data_dir() -> PathBuf {
    let user = if rustix::process::geteuid().is_root() { User::Root } else { User::Ordinary };
    data_dir_of(user, |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

#[derive(Clone, Copy)]
enum User {
    Root,
    Ordinary,
}

fn data_dir_of(user: User, variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    if let Some(path) = variable("CLOUDLINK_DATA_DIR") {
        return path;
    }
    if matches!(user, User::Root) {
        return PathBuf::from("/var/lib/cloudlink");
    }
    // The XDG specification has relative paths ignored.
    let below = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
    below
        .or_else(|| Some(variable("HOME")?.join(".local/share")))
        .map_or_else(|| PathBuf::from(".cloudlink"), |below| below.join("cloudlink"))
}

fn percent_encoded(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<PathBuf> {
        move |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| PathBuf::from(pair.1))
    }

    #[test]
    fn the_data_folder_follows_the_environment_then_the_user() {
        let all = [("CLOUDLINK_DATA_DIR", "/srv/c"), ("XDG_DATA_HOME", "/x"), ("HOME", "/home/ann")];
        let cases = [
            (User::Root, &all[..], "/srv/c"),
            (User::Root, &all[1..], "/var/lib/cloudlink"),
            (User::Ordinary, &all[..], "/srv/c"),
            (User::Ordinary, &all[1..], "/x/cloudlink"),
            (User::Ordinary, &all[2..], "/home/ann/.local/share/cloudlink"),
            (User::Ordinary, &[("XDG_DATA_HOME", "x"), ("HOME", "/h")], "/h/.local/share/cloudlink"),
            (User::Ordinary, &[], ".cloudlink"),
        ];
        for (user, pairs, expected) in cases {
            assert_eq!(data_dir_of(user, variables(pairs)), PathBuf::from(expected));
        }
    }

    #[test]
    fn a_path_in_a_url_is_encoded_whole() {
        assert_eq!(percent_encoded("/a b/é:@".as_bytes()), "%2Fa%20b%2F%C3%A9%3A%40");
    }
}
