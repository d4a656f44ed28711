//! The cluster's folder: who owns it, who holds it, where its parts are.
//!
//! As root the folder is handed to the user that PostgreSQL will run as, so it must belong to the
//! cluster alone: a folder that holds anything else is refused, never taken over.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::{ClusterError, process::PORT};

/// A socket's address holds 104 bytes on macOS and 108 on Linux, the closing zero included.
const LONGEST_SOCKET: usize = 100;
/// Where a cluster goes whose own place PostgreSQL's user can't reach.
const REACHABLE: &str = "/var/lib/cloudlink";
const LOOKUP: Duration = Duration::from_secs(10);

/// The file lock that makes its holder the folder's only owner; the kernel lets go when the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, never read")] File);

/// A user of the system, by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A claimed folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
    /// Whom PostgreSQL runs as, where that is not who we are.
    pub(super) run_as: Option<Account>,
}

impl Folder {
    /// Makes the folder where it is missing, decides who PostgreSQL runs as, and takes the lock.
    pub(super) async fn claim(wanted: &Path) -> Result<Self, ClusterError> {
        let mut path = made(wanted)?;
        let run_as = if rustix::process::geteuid().is_root() { Some(account(&path).await?) } else { None };
        if let Some(account) = run_as
            && !reachable(&path, account)?
        {
            path = made(&Path::new(REACHABLE).join(format!("cluster-{:016x}", fingerprint(&path))))?;
            if !reachable(&path, account)? {
                return Err(at(&path)(io::ErrorKind::PermissionDenied.into()));
            }
        }
        refuse_foreign(&path)?;
        let lock = lock(&path)?;
        if let Some(Account { uid, gid }) = run_as {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).map_err(at(&path))?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(at(&path))?;
        Ok(Self { path, lock, run_as })
    }

    /// PostgreSQL's own files.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Where a cluster is made before it is whole.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.path.join("data.new")
    }

    pub(super) fn holds_a_cluster(&self) -> bool {
        self.data().exists()
    }

    /// The major version that wrote the data, if there is any.
    pub(super) fn major_version(&self) -> Result<Option<u32>, ClusterError> {
        if !self.holds_a_cluster() {
            return Ok(None);
        }
        let file = self.data().join("PG_VERSION");
        let text = fs::read_to_string(&file).map_err(at(&file))?;
        let version = text.trim().parse().map_err(|_| at(&file)(io::ErrorKind::InvalidData.into()))?;
        Ok(Some(version))
    }

    /// The folder for the socket, there and closed to others. A path too long for a socket gets one
    /// in the folder for temporary files, with a name made from the path.
    pub(super) fn socket_folder(&self) -> Result<PathBuf, ClusterError> {
        let sockets = sockets_of(&self.path);
        match DirBuilder::new().mode(0o700).create(&sockets) {
            Ok(()) => {
                if let Some(Account { uid, gid }) = self.run_as {
                    std::os::unix::fs::lchown(&sockets, Some(uid), Some(gid)).map_err(at(&sockets))?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(&sockets)(error)),
        }
        // Somebody may have been first with that name, or planted a link.
        let uid = self.run_as.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
        let there = fs::symlink_metadata(&sockets).map_err(at(&sockets))?;
        if there.is_dir() && there.uid() == uid && there.mode() & 0o777 == 0o700 {
            Ok(sockets)
        } else {
            Err(ClusterError::SocketFolder(sockets))
        }
    }

    /// The server's log, emptied: it tells of one run.
    pub(super) fn open_log(&self) -> Result<File, ClusterError> {
        let path = log_file(&self.path);
        open(&path, OpenOptions::new().write(true).create(true).truncate(true))
    }
}

/// Where the socket of a cluster is.
fn sockets_of(cluster: &Path) -> PathBuf {
    let name = format!("cloudlink-{:016x}", fingerprint(cluster));
    let candidates = [cluster.join("socket"), std::env::temp_dir().join(&name)];
    let sockets = candidates.into_iter().find(|folder| fits(folder));
    sockets.unwrap_or_else(|| Path::new("/tmp").join(name))
}

/// Where the socket of a cluster is that somebody else runs, if we may use it.
pub(super) fn open_sockets(cluster: &Path) -> Option<PathBuf> {
    let sockets = sockets_of(cluster);
    sockets.join(socket_file()).exists().then_some(sockets)
}

fn socket_file() -> String {
    format!(".s.PGSQL.{PORT}")
}

pub(super) fn log_file(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// Gives an I/O error its path.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> ClusterError {
    move |source| ClusterError::Folder { path: path.to_owned(), source }
}

/// Makes the folder and what is missing above it. As root, whatever the umask, PostgreSQL's user must be
/// able to walk through what was made.
fn made(folder: &Path) -> Result<PathBuf, ClusterError> {
    let folder = std::path::absolute(folder).map_err(at(folder))?;
    let missing: Vec<_> = folder.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    if rustix::process::geteuid().is_root() {
        for new in missing {
            fs::set_permissions(new, fs::Permissions::from_mode(0o755)).map_err(at(new))?;
        }
    }
    folder.canonicalize().map_err(at(&folder))
}

/// Links are not followed: the folder belongs to a user with fewer rights than ours.
fn open(path: &Path, options: &mut OpenOptions) -> Result<File, ClusterError> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    options.mode(0o600).custom_flags(flags).open(path).map_err(at(path))
}

fn lock(folder: &Path) -> Result<Lock, ClusterError> {
    let path = folder.join("lock");
    let file = open(&path, OpenOptions::new().write(true).create(true).truncate(false))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(ClusterError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(at(&path)(error)),
    }
}

fn refuse_foreign(folder: &Path) -> Result<(), ClusterError> {
    let mut names = fs::read_dir(folder).map_err(at(folder))?.flatten().map(|entry| entry.file_name());
    if folder.join("lock").exists() || names.all(|name| name == "lost+found") {
        Ok(())
    } else {
        Err(ClusterError::NotEmpty(folder.to_owned()))
    }
}

/// Whom PostgreSQL runs as when we are root: the owner of existing data, `postgres`, `nobody`.
async fn account(folder: &Path) -> Result<Account, ClusterError> {
    if let Ok(owned) = fs::metadata(folder.join("data"))
        && owned.uid() != 0
    {
        return Ok(Account { uid: owned.uid(), gid: owned.gid() });
    }
    for name in ["postgres", "nobody"] {
        if let (Some(uid), Some(gid)) = (id("-u", name).await, id("-g", name).await) {
            return Ok(Account { uid, gid });
        }
    }
    Err(ClusterError::NoUser)
}

async fn id(which: &str, name: &str) -> Option<u32> {
    let mut command = Command::new("id");
    command.args([which, name]).kill_on_drop(true);
    let output = timeout(LOOKUP, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok())?
}

/// Whether `account` may walk through every folder above `folder`.
fn reachable(folder: &Path, account: Account) -> Result<bool, ClusterError> {
    for above in folder.ancestors().skip(1) {
        let folder = fs::metadata(above).map_err(at(above))?;
        if !walkable(folder.mode(), Account { uid: folder.uid(), gid: folder.gid() }, account) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The kernel's rule: the first class that fits decides alone.
fn walkable(mode: u32, owner: Account, visitor: Account) -> bool {
    let execute = match visitor {
        Account { uid, .. } if uid == owner.uid => 0o100,
        Account { gid, .. } if gid == owner.gid => 0o010,
        Account { .. } => 0o001,
    };
    mode & execute != 0
}

fn fits(sockets: &Path) -> bool {
    sockets.join(socket_file()).as_os_str().len() <= LONGEST_SOCKET
}

/// FNV-1a: names must stay the same across builds, which the standard library's hasher doesn't promise.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Account = Account { uid: 0, gid: 0 };
    const SERVER: Account = Account { uid: 101, gid: 104 };

    #[test]
    fn the_first_class_that_fits_decides_who_walks() {
        assert!(walkable(0o755, ROOT, SERVER));
        assert!(walkable(0o711, ROOT, SERVER));
        assert!(!walkable(0o700, ROOT, SERVER));
        assert!(!walkable(0o754, ROOT, SERVER));
        assert!(walkable(0o700, SERVER, SERVER));
        assert!(!walkable(0o077, SERVER, SERVER));
        assert!(walkable(0o710, Account { uid: 0, gid: 104 }, SERVER));
        assert!(!walkable(0o701, Account { uid: 0, gid: 104 }, SERVER));
    }

    #[test]
    fn a_folder_that_holds_something_else_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(refuse_foreign(scratch.path()).is_ok());
        fs::write(scratch.path().join("thesis.tex"), "").unwrap();
        assert!(matches!(refuse_foreign(scratch.path()), Err(ClusterError::NotEmpty(_))));
    }

    #[test]
    fn one_holder_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let first = lock(scratch.path()).unwrap();
        assert!(matches!(lock(scratch.path()), Err(ClusterError::InUse(_))));
        drop(first);
        assert!(lock(scratch.path()).is_ok());
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let elsewhere = scratch.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, scratch.path().join("lock")).unwrap();
        assert!(lock(scratch.path()).is_err());
        assert!(!elsewhere.exists());
    }

    #[test]
    fn a_socket_folder_open_to_others_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().to_owned();
        let folder = Folder { lock: lock(&path).unwrap(), path, run_as: None };
        let sockets = folder.socket_folder().unwrap();
        assert_eq!(fs::metadata(&sockets).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&sockets, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(folder.socket_folder(), Err(ClusterError::SocketFolder(_))));
    }

    #[test]
    fn names_made_from_paths_are_stable() {
        assert_eq!(fingerprint(Path::new("")), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint(Path::new("a")), 0xaf63_dc4c_8601_ec8c);
    }
}
