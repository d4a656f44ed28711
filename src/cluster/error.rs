//! Why a private PostgreSQL could not be had, each in one sentence that says what to do.

use std::io;
use std::path::PathBuf;

/// Why [`Cluster`](super::Cluster) could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No usable programs were found.
    #[error(
        "PostgreSQL 14 or newer is not installed: run `apt-get install postgresql` (Debian, Ubuntu) or \
         `brew install postgresql` (macOS), or set database.url (CLOUDLINK__DATABASE__URL) to a server of yours"
    )]
    NotInstalled,
    /// The folder set by hand has no usable programs.
    #[error(
        "CLOUDLINK_POSTGRES_BIN is set to {}, which has no `initdb` and `postgres` of version 14 or newer: \
         correct it, or unset it to have PostgreSQL found", .0.display()
    )]
    NotThere(PathBuf),
    /// The data was written by a major version that is not installed.
    #[error(
        "the data in {} was written by PostgreSQL {wanted}, which is not installed: install that version, or \
         move the folder away to start empty", folder.display()
    )]
    WrongVersion {
        /// The cluster's folder.
        folder: PathBuf,
        /// The major version that wrote it.
        wanted: u32,
    },
    /// Somebody else holds the folder's lock.
    #[error(
        "{} is in use by another cloudlink: stop that one, or set CLOUDLINK_DATA_DIR to another folder",
        .0.display()
    )]
    InUse(PathBuf),
    /// Somebody else holds the folder's lock, and their server can't be reached from here.
    #[error(
        "{} is in use by another cloudlink, whose database can't be reached from here: run this as the same user, \
         with the same TMPDIR, or stop that one first", .0.display()
    )]
    NoSocket(PathBuf),
    /// The folder holds something that is not a cluster.
    #[error("{} holds other files: set CLOUDLINK_DATA_DIR to an empty or a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// The folder, or something in it, can't be used.
    #[error(
        "{} can't be used for the database: check who owns it and that the disk has room, or set \
         CLOUDLINK_DATA_DIR to another folder", path.display()
    )]
    Folder {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The folder for the socket belongs to somebody else.
    #[error(
        "{} belongs to somebody else or is open to others: remove it, or set CLOUDLINK_DATA_DIR to a folder \
         with a shorter path", .0.display()
    )]
    SocketFolder(PathBuf),
    /// Running as root, and there is nobody to run PostgreSQL as.
    #[error(
        "PostgreSQL can't run as root and there is no user `postgres` or `nobody`: add one, or run cloudlink as \
         an ordinary user"
    )]
    NoUser,
    /// A program could not be started.
    #[error("{} could not be started: check that it may be executed", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A new cluster could not be made.
    #[error("a new database could not be made in {}: {reason}", folder.display())]
    Initialise {
        /// The cluster's folder.
        folder: PathBuf,
        /// The last thing PostgreSQL said.
        reason: String,
    },
    /// The server ended before it was ready.
    #[error("PostgreSQL did not start: {reason} (all of it is in {})", log.display())]
    Start {
        /// The server's log.
        log: PathBuf,
        /// The last thing PostgreSQL said.
        reason: String,
    },
    /// The server was not ready in time.
    #[error("PostgreSQL was not ready after {seconds} s: read {}", log.display())]
    Slow {
        /// The server's log.
        log: PathBuf,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// The server ended although nobody asked it to.
    #[error("PostgreSQL has ended by itself: read {}, then start cloudlink again", .log.display())]
    Ended {
        /// The server's log.
        log: PathBuf,
    },
    /// A process of an earlier run, or the server itself, would not end.
    #[error("a PostgreSQL process in {} does not end: stop process {pid} by hand", folder.display())]
    Stuck {
        /// The cluster's folder.
        folder: PathBuf,
        /// The process.
        pid: i32,
    },
}
