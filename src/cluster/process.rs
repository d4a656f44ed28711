//! Making a cluster, and the server as a process that can't outlive its owner.
//!
//! The server is started by a shell of a few lines that waits for two things at once: the server's end,
//! and the end of a pipe whose writing end only the owner holds. The kernel closes that end however the
//! owner dies. The same path serves an orderly stop, so it is used every day. Pipe, shell and server are
//! in a process group of their own: Ctrl-C in a terminal reaches the owner alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::binaries::Binaries;
use super::folder::{Account, Folder, at, log_file};
use super::{ClusterError, ClusterSettings, DATABASE, Durability, leftovers};

/// Part of the socket's name; no port is opened.
pub(super) const PORT: u16 = 5432;
/// Making a cluster takes 1 s on a desktop; slow cards in small machines take much longer.
const MAKING: Duration = Duration::from_mins(2);
/// Recovery after a power cut can take a while.
const STARTING: Duration = Duration::from_mins(1);
/// The shell's own escalation takes 10 s.
const STOPPING: Duration = Duration::from_secs(12);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// `$1`: the signals to send, each for 5 s and every second, because one that comes before the server minds
/// its signals is lost; `$2`: the folder to delete at the end, or empty; then the server's command line.
/// TERM is ignored because service managers send it to every
/// process at once, and the owner needs the database to finish its work.
const WATCH: &str = r#"
trap '' HUP INT TERM
signals=$1 discard=$2
shift 2
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
    read -r line <&3
    for signal in $signals; do
        for second in 1 2 3 4 5; do kill -s "$signal" "$server"; sleep 1 3<&-; done
    done
) &
watcher=$!
wait "$server"
status=$?
kill -s KILL "$watcher"
if [ -n "$discard" ]; then cd / && rm -rf -- "$discard"; fi
exit "$status"
"#;

/// Makes a cluster with the role and the database [`DATABASE`], whole or not at all.
pub(super) async fn initialise(
    binaries: &Binaries,
    folder: &Folder,
    durability: Durability,
) -> Result<(), ClusterError> {
    let new = folder.unfinished();
    let mut initdb = command(&binaries.initdb, folder);
    initdb.arg("--pgdata").arg(&new).args(["--encoding=UTF8", "--locale=C"]);
    initdb.args(["--auth-local=trust", "--auth-host=reject", "--no-instructions"]);
    initdb.arg(format!("--username={DATABASE}"));
    if durability == Durability::Discarded {
        initdb.arg("--no-sync");
    }
    run(initdb, "", folder).await?;
    // A server without connections, so that the clients' programs need not be installed.
    let mut single = command(&binaries.postgres, folder);
    single.args(["--single", "-j", "-D"]).arg(&new).args(["-c", "exit_on_error=on", "postgres"]);
    run(single, &format!("create database {DATABASE};\n\n"), folder).await?;
    fs::rename(&new, folder.data()).map_err(at(&new))
}

async fn run(command: Command, input: &str, folder: &Folder) -> Result<(), ClusterError> {
    let program = PathBuf::from(command.get_program());
    let failed = |reason: String| ClusterError::Initialise { folder: folder.path.clone(), reason };
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let spawned = command.spawn().map_err(|source| ClusterError::Spawn { program, source });
    let mut child = spawned?;
    let mut stdin = child.stdin.take();
    let finish = async {
        if let Some(stdin) = &mut stdin {
            // A program that has ended early says why itself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin);
        child.wait_with_output().await
    };
    let limit = MAKING.as_secs();
    let output = timeout(MAKING, finish).await.map_err(|_| failed(format!("not done after {limit} s")))?;
    let output = output.map_err(at(&folder.path))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(last_words(&String::from_utf8_lossy(&output.stderr))))
    }
}

/// A command that runs as PostgreSQL's user, in the folder, blind to the caller's own PostgreSQL settings.
fn command(program: impl AsRef<Path>, folder: &Folder) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(&folder.path).process_group(0).env("LC_ALL", "C");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    if let Some(Account { uid, gid }) = folder.run_as {
        command.uid(uid).gid(gid);
    }
    command
}

/// The running server, by the shell that watches over it.
#[derive(Debug)]
pub(super) struct Server {
    shell: Child,
}

impl Server {
    /// Starts the server and waits until it accepts connections.
    pub(super) async fn start(
        binaries: &Binaries,
        folder: &Folder,
        sockets: &Path,
        settings: &ClusterSettings,
    ) -> Result<Self, ClusterError> {
        let mut log = folder.open_log()?;
        let mut shell = command("/bin/sh", folder);
        shell.args(["-c", WATCH, "cloudlink-postgres"]);
        match settings.durability {
            Durability::Full => shell.args(["INT QUIT KILL", ""]),
            Durability::Discarded => shell.args(["QUIT KILL"]).arg(&folder.path),
        };
        shell.arg(&binaries.postgres).arg("-D").arg(folder.data());
        for setting in server_settings(sockets, settings) {
            shell.args(["-c", &setting]);
        }
        let output = log.try_clone().map_err(at(&folder.path))?;
        let errors = log.try_clone().map_err(at(&folder.path))?;
        shell.stdin(Stdio::piped()).stdout(output).stderr(errors);
        let shell =
            shell.spawn().map_err(|source| ClusterError::Spawn { program: "/bin/sh".into(), source })?;
        let mut server = Self { shell };
        let started = server.ready(folder).await;
        if let Err(error) = started {
            // The log outlives the attempt, unless the folder itself doesn't.
            let _ = writeln!(log, "cloudlink: {error}");
            server.stop(&folder.path).await?;
            return Err(error);
        }
        Ok(server)
    }

    async fn ready(&mut self, folder: &Folder) -> Result<(), ClusterError> {
        let deadline = Instant::now() + STARTING;
        let note = folder.data().join("postmaster.pid");
        let log = log_file(&folder.path);
        loop {
            let status = fs::read_to_string(&note).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            if self.has_exited() {
                let reason = last_words(&fs::read_to_string(&log).unwrap_or_default());
                return Err(ClusterError::Start { log, reason });
            }
            if Instant::now() >= deadline {
                return Err(ClusterError::Slow { log, seconds: STARTING.as_secs() });
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    fn has_exited(&mut self) -> bool {
        // An error means there is no such child any more.
        !matches!(self.shell.try_wait(), Ok(None))
    }

    /// Waits until the server is gone.
    pub(super) async fn exited(&mut self) {
        while !self.has_exited() {
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// Closes the pipe and waits; if the shell can't do its work, its work is done from here.
    pub(super) async fn stop(mut self, folder: &Path) -> Result<(), ClusterError> {
        drop(self.shell.stdin.take());
        let patience = async {
            while !self.has_exited() {
                sleep(BETWEEN_LOOKS).await;
            }
        };
        let _ = timeout(STOPPING, patience).await;
        leftovers::end_processes(folder).await
    }
}

fn server_settings(sockets: &Path, settings: &ClusterSettings) -> Vec<String> {
    // A list in PostgreSQL's own syntax: quoted, so that spaces and commas in a path mean nothing.
    let sockets = sockets.to_string_lossy().replace('"', "\"\"");
    let mut lines = vec![
        "listen_addresses=".to_owned(),
        format!("port={PORT}"),
        format!("unix_socket_directories=\"{sockets}\""),
        "unix_socket_permissions=0700".to_owned(),
        format!("max_connections={}", settings.max_connections.max(10)),
        "logging_collector=off".to_owned(),
        // No row and no statement of ours in the log.
        "log_error_verbosity=terse".to_owned(),
        "log_min_error_statement=panic".to_owned(),
    ];
    if settings.durability == Durability::Discarded {
        let careless = ["fsync", "synchronous_commit", "full_page_writes", "autovacuum"];
        lines.extend(careless.map(|name| format!("{name}=off")));
    }
    lines
}

/// The last complaint in what PostgreSQL wrote, without its date, or the last line at all.
fn last_words(text: &str) -> String {
    let complaint = text.lines().rev().find_map(|line| {
        let severe = ["FATAL:", "PANIC:", "error:", "ERROR:"];
        severe.iter().find_map(|word| Some(line.split_once(word)?.1.trim()))
    });
    let last = || text.lines().rev().find(|line| !line.trim().is_empty()).map(str::trim);
    complaint.or_else(last).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_complaint() {
        let log = "2026-01-01 00:00:00.000 UTC [7] LOG:  starting\n\
                   2026-01-01 00:00:00.000 UTC [7] FATAL:  could not map memory\n\
                   2026-01-01 00:00:00.000 UTC [7] LOG:  database system is shut down\n";
        assert_eq!(last_words(log), "could not map memory");
        assert_eq!(last_words("sh: postgres: not found\n\n"), "sh: postgres: not found");
        assert_eq!(last_words(""), "it said nothing");
    }

    #[test]
    fn only_a_discarded_cluster_is_careless() {
        let settings = |durability| ClusterSettings { data_dir: "/d".into(), durability, max_connections: 5 };
        let lines = |durability| server_settings(Path::new("/a \"b, c"), &settings(durability));
        assert!(lines(Durability::Discarded).contains(&"fsync=off".to_owned()));
        let full = lines(Durability::Full);
        assert!(!full.iter().any(|line| line.ends_with("=off") && !line.starts_with("logging")));
        assert!(full.contains(&"unix_socket_directories=\"/a \"\"b, c\"".to_owned()));
        assert!(full.contains(&"listen_addresses=".to_owned()));
        assert!(full.contains(&"max_connections=10".to_owned()));
    }
}
