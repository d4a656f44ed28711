//! What an earlier owner of the folder left: live processes, and the files of dead ones.
//!
//! Only the holder of the folder's lock comes here, so whatever still works in the folder has no owner.
//! Processes are found by the folder they work in, not by `postmaster.pid`: its number may by now be
//! another process, and under an init that doesn't reap, a dead server answers signals for ever.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::folder::{Folder, at};
use super::{ClusterError, process::PORT};

/// Each signal and how long it gets: a fast shutdown, an immediate one, the end.
const ESCALATION: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(10)),
    (Signal::QUIT, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// The programs that may be ended; a person's shell may stand in the folder too.
const OURS: [&str; 3] = ["postgres", "postmaster", "initdb"];

/// Ends every PostgreSQL process in the folder and removes a cluster that never became whole.
pub(super) async fn end(folder: &Folder) -> Result<(), ClusterError> {
    end_processes(&folder.path).await?;
    let unfinished = folder.unfinished();
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&unfinished)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Ends every PostgreSQL process that works below `folder`; returns when none is left.
pub(super) async fn end_processes(folder: &Path) -> Result<(), ClusterError> {
    for (signal, patience) in ESCALATION {
        let deadline = Instant::now() + patience;
        let mut told = Vec::new();
        loop {
            let living = living_in(folder);
            if living.is_empty() {
                return Ok(());
            }
            for pid in living {
                if !told.contains(&pid) {
                    // It may have ended in between: the next look tells.
                    let _ = kill_process(pid, signal);
                    told.push(pid);
                }
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }
    match living_in(folder).first() {
        Some(pid) => Err(ClusterError::Stuck { folder: folder.to_owned(), pid: pid.as_raw_nonzero().get() }),
        None => Ok(()),
    }
}

/// Removes the marks that a dead server leaves and a new one would stumble over.
pub(super) fn forget_the_dead(folder: &Folder, sockets: &Path) -> Result<(), ClusterError> {
    let marks = [
        folder.data().join("postmaster.pid"),
        sockets.join(format!(".s.PGSQL.{PORT}")),
        sockets.join(format!(".s.PGSQL.{PORT}.lock")),
    ];
    for mark in marks {
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&mark)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn living_in(folder: &Path) -> Vec<Pid> {
    if Path::new("/proc/self/cwd").exists() { by_working_folder(folder) } else { by_pid_file(folder) }
}

fn by_working_folder(folder: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = pid(entry.file_name().to_str()?)?;
            // A zombie has no working folder any more.
            let works_in = fs::read_link(entry.path().join("cwd")).ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            (works_in.starts_with(folder) && OURS.contains(&name.trim())).then_some(pid)
        })
        .collect()
}

/// Where there is no `/proc`: the server's own note, checked against the name of the process.
fn by_pid_file(folder: &Path) -> Vec<Pid> {
    let note = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
    let noted = note.lines().next().and_then(pid);
    noted.into_iter().filter(|pid| OURS.iter().any(|name| program(*pid).ends_with(name))).collect()
}

fn program(pid: Pid) -> PathBuf {
    let number = pid.as_raw_nonzero().to_string();
    let output = std::process::Command::new("ps").args(["-o", "comm=", "-p", &number]).output();
    let name = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    PathBuf::from(name.unwrap_or_default())
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.trim().parse().ok().filter(|number| *number > 1)?)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A process named `name` that works in `folder` until it is ended.
    fn at_work(name: &str, folder: &Path) -> Child {
        let program = folder.join(name);
        fs::copy("/bin/sleep", &program).unwrap();
        Command::new(program).arg("60").current_dir(folder).spawn().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_abandoned_server_is_ended_and_a_person_in_the_folder_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().canonicalize().unwrap();
        let data = folder.join("data");
        fs::create_dir(&data).unwrap();
        let mut server = at_work("postgres", &data);
        let mut person = at_work("sleep", &data);

        end_processes(&folder).await.unwrap();

        assert!(!server.wait().unwrap().success());
        assert!(person.try_wait().unwrap().is_none());
        person.kill().unwrap();
        person.wait().unwrap();
    }

    #[test]
    fn a_noted_number_that_is_another_program_by_now_is_spared() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("data")).unwrap();
        let note = scratch.path().join("data/postmaster.pid");
        fs::write(&note, format!("{}\n/data\n", std::process::id())).unwrap();
        assert_eq!(by_pid_file(scratch.path()), []);
        fs::write(&note, "-1\n").unwrap();
        assert_eq!(by_pid_file(scratch.path()), []);
    }
}
