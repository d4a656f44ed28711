//! A file of vault keys: who may read it, and what stands in it.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use zeroize::Zeroizing;

use super::SettingsError;

/// Bits of a mode that let others than the owner do anything.
const OTHERS: u32 = 0o077;
/// More than any list of keys has: what is longer is another file.
const LONGEST: u64 = 64 * 1024;

/// Reads a file of keys as a list by commas. It may have lines, commas, blank lines and comments from `#` on.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, SettingsError> {
    let unreadable = |cause| SettingsError::Unreadable { path: path.to_owned(), cause };
    let mut file = File::open(path).map_err(unreadable)?;
    let there = file.metadata().map_err(unreadable)?;
    if !is_closed(there.mode(), there.uid()) {
        return Err(SettingsError::OpenToOthers { path: path.to_owned(), mode: there.mode() & 0o7777 });
    }
    let mut text = Zeroizing::new(String::new());
    let read = file.by_ref().take(LONGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if read as u64 > LONGEST {
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, "no list of keys is that long")));
    }
    Ok(entries(&text))
}

/// Whether only its owner can use a file; or also a group that root gave it to, to read: systemd's credentials have
/// mode 0440 and belong to root.
fn is_closed(mode: u32, owner: u32) -> bool {
    mode & OTHERS == 0 || (mode & 0o777 == 0o440 && owner == 0)
}

fn entries(text: &str) -> Zeroizing<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty());
    let mut list = Zeroizing::new(String::with_capacity(text.len()));
    for entry in entries {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(entry);
    }
    list
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn keys_stand_on_lines_or_between_commas_with_comments_and_blank_lines() {
        let text = "# since May\n\n k2:bb= # in front\r\nk1:aa=, k0:zz=,\n   \n#k9:no\n";
        assert_eq!(entries(text).as_str(), "k2:bb=,k1:aa=,k0:zz=");
        assert_eq!(entries("\n# none\n").as_str(), "");
    }

    #[test]
    fn g05_a_file_of_keys_is_its_owners_alone_or_a_credential_of_systemd() {
        for (mode, owner) in [(0o600, 7), (0o400, 7), (0o400, 0), (0o700, 7), (0o440, 0), (0o10_0600, 7)] {
            assert!(is_closed(mode, owner), "{mode:o} of {owner}");
        }
        for (mode, owner) in
            [(0o640, 7), (0o604, 7), (0o440, 7), (0o640, 0), (0o444, 0), (0o644, 0), (0o660, 7), (0o602, 0)]
        {
            assert!(!is_closed(mode, owner), "{mode:o} of {owner}");
        }
    }

    #[test]
    fn g05_a_file_that_others_can_read_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "k1:canary\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("0644") && !refused.contains("canary"), "{refused}");
        assert!(refused.ends_with(&format!("chmod 600 '{}'", path.display())), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap().as_str(), "k1:canary");
    }

    #[test]
    fn a_file_that_is_too_long_for_keys_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "#".repeat(64 * 1024 + 1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(read(&path), Err(SettingsError::Unreadable { .. })));
    }
}
