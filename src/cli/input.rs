//! What a person gives a command besides its arguments: passwords, and files.
//!
//! A password is never an argument, which everybody on the machine could read, but typed without echo or read from a
//! file.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::{json, secret::Password};

/// The longest file that is read, in bytes: more than a request's body may have.
const LONGEST_FILE: u64 = 256 * 1024;

/// Where a new password comes from.
#[derive(Debug, clap::Args)]
pub(super) struct NewPassword {
    /// Read the password from this file, or from standard input (-), instead of asking for it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl NewPassword {
    /// The password: from the file, else typed twice.
    pub(super) async fn get(&self, what: &'static str) -> anyhow::Result<Password> {
        if let Some(path) = &self.password_file {
            return password_in(path);
        }
        let first = ask(what.to_owned()).await?;
        let again = ask(format!("{what}, again")).await?;
        if first == again { Ok(first) } else { bail!("the two were not the same: try again") }
    }
}

/// A password that is known: from a file where one is given, else typed.
pub(super) async fn known_password(file: Option<&Path>, what: &str) -> anyhow::Result<Password> {
    match file {
        Some(path) => password_in(path),
        None => ask(what.to_owned()).await,
    }
}

async fn ask(what: String) -> anyhow::Result<Password> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the password: give it with --password-file");
    }
    let typed = tokio::task::spawn_blocking(move || rpassword::prompt_password(format!("{what}: "))).await?;
    Ok(Password::new(typed.context("no password was typed")?))
}

/// The password in a file, or in standard input (`-`): its line without its end.
pub(super) fn password_in(path: &Path) -> anyhow::Result<Password> {
    let text = text_in(path)?;
    Ok(Password::new(text.strip_suffix('\n').map_or(text.as_str(), |line| line.trim_end_matches('\r'))))
}

/// The JSON object in a file, or in standard input (`-`).
pub(super) fn object_in(path: &Path) -> anyhow::Result<Value> {
    let text = text_in(path)?;
    match json::parse_object(text.as_bytes()) {
        Ok(object) => Ok(Value::Object(object)),
        Err(error) => bail!("{} holds no JSON object: {error}", path.display()),
    }
}

/// The text in a file, or in standard input (`-`).
pub(super) fn text_in(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let unreadable = || format!("{} can't be read: check the path and who owns it", path.display());
    let reader: &mut dyn Read = if path.as_os_str() == "-" {
        &mut io::stdin()
    } else {
        &mut File::open(path).with_context(unreadable)?
    };
    let read = reader.take(LONGEST_FILE + 1).read_to_string(&mut text).with_context(unreadable)?;
    if read as u64 > LONGEST_FILE {
        bail!("{} has more than 256 KiB: that is more than the server takes", path.display());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_password_is_the_files_line_without_its_end() {
        for (text, password) in
            [("loud herons\n", "loud herons"), ("a b \r\n", "a b "), ("x", "x"), ("a\n\n", "a\n")]
        {
            let (_folder, path) = file(text.as_bytes());
            assert_eq!(password_in(&path).unwrap().expose(), password, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_object_or_too_long_is_said_to_be() {
        for (text, part) in
            [(&b"[]"[..], "no JSON object"), (b"{", "no JSON object"), (&b" ".repeat(300_000), "256 KiB")]
        {
            let (_folder, path) = file(text);
            let error = object_in(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let missing = object_in(Path::new("/does/not/exist")).unwrap_err().to_string();
        assert!(missing.contains("/does/not/exist can't be read"), "{missing}");
    }
}
