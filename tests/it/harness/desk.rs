//! A desk: somebody at a terminal with the commands, a home folder of their own, and a folder they work in.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
};

use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{Service, within};

/// Somebody at a terminal.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Desk {
    /// With nothing but a home.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self { folder, environment: Vec::new() }
    }

    /// With a token in the environment.
    pub(crate) fn signed_in(service: &Service, token: &str) -> Self {
        Self::empty().set("CLOUDLINK_URL", &service.url).set("CLOUDLINK_TOKEN", token)
    }

    /// With a variable more.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the home folder.
    pub(crate) fn home(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A file in the working folder, and its name.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join("work").join(name), text).unwrap();
        name.to_owned()
    }

    /// A command that was not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let binary =
            std::env::var_os("CLOUDLINK_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_cloudlink").into());
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path().join("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(within("the end of a command", self.command(arguments).output()).await.unwrap())
    }

    /// Runs a command that reads this.
    pub(crate) async fn type_into(&self, arguments: &[&str], text: &str) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(text.as_bytes()).await.unwrap();
        drop(input);
        Ran::of(within("the end of a command", child.wait_with_output()).await.unwrap())
    }
}

impl Service {
    /// A service that is where its public URL says, as whoever signs in needs it.
    pub(crate) async fn at_its_url() -> Self {
        // Free a moment ago; nobody else here asks for a port by number.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{port}");
        Self::with(&[("SERVER__BIND", &port.to_string()), ("SERVER__PUBLIC_URL", &url)]).await
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it printed, if it went well.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// What it complained of, if it failed.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        self.err
    }
}
