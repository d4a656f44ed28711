//! What the bridge knows of a slot over restarts: a file for each, mode 0600, whole or as it was before.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::tokens::Held;
use crate::domain::{
    ids::{SlotName, Version},
    json::Object,
};

/// The most bytes of a slot's file.
const LONGEST: u64 = 8 * 1024 * 1024;
/// The most bytes of a plugin's custom data, and the most values of it.
pub(super) const MOST_CUSTOM: usize = 2 * 1024 * 1024;
const MOST_KEYS: usize = 256;

/// Whether an account is linked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Link {
    /// The server has not said.
    #[default]
    Unknown,
    /// There is.
    Linked,
    /// There is none, or not any more.
    Unlinked,
}

/// What is kept. It has no `Debug`: it holds tokens and secrets.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    /// The plugin's own custom data, by key.
    pub(super) custom: Object,
    /// The configuration as the server sent it.
    pub(super) configuration: Option<Object>,
    /// What the plugin overrides, as far as the server took it.
    pub(super) overrides: Object,
    /// The configuration as the plugin was last given it.
    pub(super) given: Option<Object>,
    /// The newest tokens.
    pub(super) tokens: Option<Held>,
    /// Whether the plugin has tokens of this link.
    pub(super) has_tokens: bool,
    /// The newest consent that was delivered.
    pub(super) delivered: Option<Version>,
    /// Whether an account is linked.
    pub(super) link: Link,
    /// Whether a notice of ours may stand among the plugin's.
    pub(super) noticed: bool,
}

impl Kept {
    /// Keeps a value of the plugin's; false where it is too much.
    pub(super) fn set_custom(&mut self, key: &str, value: Value) -> bool {
        // As it is written: an escaped character has up to six bytes.
        let size = |key: &str, value: &Value| json!(key).to_string().len() + value.to_string().len();
        let others = self.custom.iter().filter(|(name, _)| *name != key);
        let others: usize = others.map(|(name, value)| size(name, value)).sum();
        let fits = others + size(key, &value) <= MOST_CUSTOM
            && (self.custom.contains_key(key) || self.custom.len() < MOST_KEYS);
        if fits {
            self.custom.insert(key.to_owned(), value);
        }
        fits
    }

    /// The plugin's notices, ours not among them.
    pub(super) fn notices(&self) -> Object {
        self.custom.get("notices").and_then(Value::as_object).cloned().unwrap_or_default()
    }
}

/// The folder with the files, held by one bridge at a time.
pub(super) struct Folder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// Why there is no folder to keep things in.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    /// Another one is at it.
    #[error("another bridge works with {}: stop it, or give each its own --state", .0.display())]
    Taken(PathBuf),
    /// It can't be made or read.
    #[error("{} can't be used: check the path and who owns it", path.display())]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error(
        "{} holds no state of a bridge. It is left as it is: put a copy of it from before in its place, or move it \
         away, and start the bridge again; without it the plugin has nothing of what it had saved",
        .0.display()
    )]
    Damaged(PathBuf),
}

impl Folder {
    /// Makes the folder where it is missing, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mut private = OpenOptions::new();
        private.create(true).truncate(false).write(true).mode(0o600);
        let lock = private.open(path.join("lock")).map_err(unusable)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::Taken(path.to_owned())),
            Err(error) => Err(unusable(error.into())),
        }
    }

    fn file(&self, slot: &SlotName) -> PathBuf {
        self.path.join(format!("{slot}.json"))
    }

    /// What is known of a slot; nothing yet where it has no file.
    pub(super) fn read(&self, slot: &SlotName) -> Result<Kept, FolderError> {
        let path = self.file(slot);
        let unusable = |source| FolderError::Unusable { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            Err(error) => return Err(unusable(error)),
        };
        parsed(file).map_err(unusable)?.ok_or(FolderError::Damaged(path))
    }

    /// Writes what is known of a slot beside its place, and puts it there. What could not be read again is not written:
    /// what is there is worth more.
    pub(super) fn write(&self, slot: &SlotName, kept: &Kept) -> io::Result<()> {
        let (path, beside) = (self.file(slot), self.path.join(format!("{slot}.json.new")));
        let text = Zeroizing::new(serde_json::to_vec(kept)?);
        if parsed(text.as_slice())?.is_none() {
            let why = "it is too long, or nested too deep, to be read again";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(&self.path)?.sync_all()
    }
}

/// What a file holds; none where that is no state.
fn parsed(file: impl io::Read) -> io::Result<Option<Kept>> {
    let mut text = Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_by_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("state")).unwrap();
        let slot: SlotName = "ecobee".parse().unwrap();
        assert!(folder.read(&slot).unwrap().custom.is_empty());
        let mut kept = Kept::default();
        assert!(kept.set_custom("customparams", json!({"client_id": "home"})));
        for _ in 0..2 {
            folder.write(&slot, &kept).unwrap();
        }
        assert_eq!(folder.read(&slot).unwrap().custom, kept.custom);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.file(&slot)), 0o600);
        assert_eq!(mode(place.path().join("state")), 0o700);
    }

    #[test]
    fn a_folder_has_one_bridge_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = Folder::open(place.path()).unwrap();
        let second = Folder::open(place.path()).err().unwrap().to_string();
        assert!(second.contains("another bridge"), "{second}");
        drop(first);
        assert!(Folder::open(place.path()).is_ok());
    }

    #[test]
    fn a_damaged_file_is_said_to_be_and_left_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let slot: SlotName = "ecobee".parse().unwrap();
        fs::write(folder.file(&slot), "{\"custom\":").unwrap();
        assert!(folder.read(&slot).err().unwrap().to_string().contains("ecobee.json"));
        assert!(folder.file(&slot).exists());
    }

    #[test]
    fn what_could_not_be_read_again_does_not_take_the_place_of_what_can() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let slot: SlotName = "ecobee".parse().unwrap();
        let mut kept = Kept::default();
        assert!(kept.set_custom("visits", json!(1)));
        folder.write(&slot, &kept).unwrap();
        let deep: Value = serde_json::from_str(&format!("{}{}", "[".repeat(127), "]".repeat(127))).unwrap();
        for (key, value) in [("deep", deep), ("long", "x".repeat(9 << 20).into())] {
            let mut more = kept.clone();
            more.given = Some(Object::from_iter([(key.to_owned(), value)]));
            let refused = folder.write(&slot, &more).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{key}");
            assert_eq!(folder.read(&slot).unwrap().custom["visits"], 1, "{key}");
        }
    }

    #[test]
    fn a_plugin_can_fill_no_disk() {
        let mut kept = Kept::default();
        assert!(
            !kept.set_custom(&"\u{1}".repeat(MOST_CUSTOM / 4), json!(1)),
            "each is written with six bytes"
        );
        assert!(!kept.set_custom("a", json!("x".repeat(MOST_CUSTOM))));
        for key in 0..MOST_KEYS {
            assert!(kept.set_custom(&key.to_string(), json!(1)));
        }
        assert!(!kept.set_custom("one more", json!(1)));
        assert!(kept.set_custom("7", json!(2)), "what is there may change");
    }
}
