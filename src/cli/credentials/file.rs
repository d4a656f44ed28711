//! A credential in its file: one JSON object, for its owner's eyes alone.
//!
//! The file is whole or missing, because it is written beside its place and renamed. One that others can read, or
//! that belongs to somebody else, is refused: the first may be known already, the second may send this user's
//! passwords to a server of the other's.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    api_client::Claims,
    domain::{
        ids::{DeviceId, KeyHash},
        secret::{BearerToken, PrivateKeyPem},
    },
    plugin_client::Server,
};

/// The longest file that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A credential, and the server that it is for.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) server: Server,
    pub(crate) secret: Secret,
}

/// What is shown to the server.
#[derive(Debug)]
pub(crate) enum Secret {
    /// An access token, until it expires.
    Token { token: BearerToken, claims: Claims },
    /// A trusted key of a device.
    DeviceKey { device: DeviceId, key: PrivateKeyPem, key_hash: KeyHash },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Token { server: String, token: String },
    DeviceKey { server: String, device: DeviceId, key: String, key_hash: KeyHash },
}

/// Reads a file; none where there is none.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Kept>> {
    let shown = path.display();
    let unreadable = || format!("{shown} can't be read: check who owns it");
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(unreadable),
    };
    let metadata = file.metadata().with_context(unreadable)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        bail!("{shown} belongs to somebody else and is not used: remove it, or work in another folder");
    }
    if metadata.mode() & 0o077 != 0 {
        bail!(
            "others on this machine can read {shown}: run `chmod 600 {shown}`, and sign in anew if they did"
        );
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LONGEST).read_to_string(&mut text).with_context(unreadable)?;
    // The cause may quote the file.
    match parse(&text) {
        Some(kept) => Ok(Some(kept)),
        None => bail!("{shown} holds no credential: remove it and sign in again"),
    }
}

fn parse(text: &str) -> Option<Kept> {
    Some(match serde_json::from_str(text).ok()? {
        Written::Token { server, token } => {
            let token = BearerToken::new(token);
            let claims = Claims::read(&token)?;
            Kept { server: server.parse().ok()?, secret: Secret::Token { token, claims } }
        }
        Written::DeviceKey { server, device, key, key_hash } => {
            let secret = Secret::DeviceKey { device, key: PrivateKeyPem::new(key), key_hash };
            Kept { server: server.parse().ok()?, secret }
        }
    })
}

fn written(kept: &Kept) -> Zeroizing<String> {
    let server = kept.server.url().origin();
    let value = match &kept.secret {
        Secret::Token { token, .. } => json!({ "server": server, "token": token.expose() }),
        Secret::DeviceKey { device, key, key_hash } => {
            json!({ "server": server, "device": device, "key": key.expose(), "key_hash": key_hash })
        }
    };
    Zeroizing::new(format!("{value:#}\n"))
}

/// Writes a file of mode 0600 in a folder of mode 0700.
pub(super) fn write(path: &Path, kept: &Kept) -> anyhow::Result<()> {
    let folder = path.parent().context("a credential's file is in a folder")?;
    let beside = path.with_extension("json.new");
    let write = || {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        // So that a credential in a working folder is not committed with the work.
        let ignored = folder.join(".gitignore");
        if folder.ends_with(".cloudlink") && !ignored.exists() {
            fs::write(ignored, "*\n")?;
        }
        // Left over, or planted: a link is not followed.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(written(kept).as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("{} can't be written: check who owns its folder", path.display()))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be removed: remove it by hand", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::{cli::credentials::tests::token, plugin_client::DeviceKey, seams::SystemEntropy};

    fn a_token() -> Kept {
        let token = token(datetime!(2026-01-02 03:04:05 UTC));
        let claims = Claims::read(&token).unwrap();
        Kept { server: "https://a.example".parse().unwrap(), secret: Secret::Token { token, claims } }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_read_again_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloudlink/credentials.json");
        assert!(read(&path).unwrap().is_none());
        write(&path, &a_token()).unwrap();
        let (_, key, _) = DeviceKey::make(&SystemEntropy).unwrap();
        let device = DeviceId::draw(&SystemEntropy);
        let secret = Secret::DeviceKey { device, key: key.clone(), key_hash: KeyHash("SHA256:x".to_owned()) };
        fs::write(path.with_extension("json.new"), "left over").unwrap();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        write(&path, &Kept { secret, ..a_token() }).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing half-written is left");
        let Secret::DeviceKey { device: read_device, key: read_key, key_hash } =
            read(&path).unwrap().unwrap().secret
        else {
            panic!("a device's key was written");
        };
        assert_eq!((read_device, read_key, key_hash.0.as_str()), (device, key, "SHA256:x"));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path).unwrap().is_none());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_line_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        write(&path, &a_token()).unwrap();
        for open in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("`chmod 600 {}`", path.display())), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_that_is_no_credential_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        for text in [
            "",
            "canary",
            r#"{"server":"canary","token":"canary"}"#,
            r#"{"server":"https://a.example","token":"canary"}"#,
        ] {
            write(&path, &a_token()).unwrap();
            fs::write(&path, text).unwrap();
            let error = format!("{:?}", read(&path).unwrap_err());
            assert!(error.contains("sign in again") && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_credential_in_a_working_folder_stays_out_of_version_control() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join(".cloudlink/credentials.json"), &a_token()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(".cloudlink/.gitignore")).unwrap(), "*\n");
    }

    #[test]
    fn nothing_secret_is_shown_by_debug() {
        let shown = format!("{:?}", a_token());
        assert!(shown.contains("[redacted]") && !shown.contains("e30."), "{shown}");
    }
}
