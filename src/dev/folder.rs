//! What `dev` keeps between runs: one folder, its secrets in files of mode 0600.
//!
//! A file is whole or missing, because it is written beside its place and renamed. Two runs on one folder
//! at the same time are kept apart by the lock of the database in it.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// The folder can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be used: check who owns it, or give another folder with --data-dir", path.display())]
pub(super) struct FolderError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The folder of `dev`.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens it, or makes it: for its owner alone, except that PostgreSQL's own user must walk through root's.
    pub(super) fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError { path: path.to_owned(), source };
        let mode = if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 };
        let path = std::path::absolute(path).map_err(failed)?;
        let missing: Vec<_> = path.ancestors().take_while(|above| !above.exists()).collect();
        DirBuilder::new().recursive(true).mode(mode).create(&path).map_err(failed)?;
        for made in missing {
            // Whatever the umask.
            fs::set_permissions(made, Permissions::from_mode(mode)).map_err(failed)?;
        }
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a file of it is, as a person writes it.
    pub(super) fn shown(&self, name: &str) -> String {
        let path = self.0.join(name);
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let below =
            home.and_then(|home| path.strip_prefix(home).ok().map(|below| below.display().to_string()));
        below.map_or_else(|| path.display().to_string(), |below| format!("~/{below}"))
    }

    /// What a file holds, if it is there.
    pub(super) fn find(&self, name: &str) -> Result<Option<Zeroizing<String>>, FolderError> {
        match fs::read_to_string(self.0.join(name)) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed(name, source)),
        }
    }

    /// What a file holds, or now does.
    pub(super) fn find_or_keep(
        &self,
        name: &str,
        make: impl FnOnce() -> Zeroizing<String>,
    ) -> Result<Zeroizing<String>, FolderError> {
        if let Some(text) = self.find(name)? {
            return Ok(text);
        }
        let text = make();
        self.keep(name, &text)?;
        Ok(text)
    }

    /// Writes a file, readable to its owner alone.
    pub(super) fn keep(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let beside = self.0.join(format!(".{name}.new"));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, self.0.join(name))
        };
        write().map_err(|source| self.failed(name, source))
    }

    fn failed(&self, name: &str, source: io::Error) -> FolderError {
        FolderError { path: self.0.join(name), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_closed_to_others() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b");
        let kept =
            Folder::open(&path).unwrap().find_or_keep("secret", || Zeroizing::new("one".into())).unwrap();
        let again =
            Folder::open(&path).unwrap().find_or_keep("secret", || Zeroizing::new("two".into())).unwrap();
        assert_eq!((kept.as_str(), again.as_str()), ("one", "one"));
        assert_eq!(fs::metadata(path.join("secret")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing half-written is left");
    }

    #[test]
    fn a_file_that_is_replaced_is_closed_to_others_too() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join(".secret.new"), "left over").unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        folder.keep("secret", "three").unwrap();
        assert_eq!(fs::metadata(scratch.path().join("secret")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(folder.find("secret").unwrap().unwrap().as_str(), "three");
        assert!(folder.find("other").unwrap().is_none());
    }
}
