//! The real binary: started on a service's database, listened to, ended politely or not at all.

use std::process::{ExitStatus, Output, Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

use super::{Service, within};

/// A `cloudlink serve` of its own.
pub(crate) struct Process {
    /// What drives it: the same calls as for a service in this process.
    pub(crate) service: Service,
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    reading: JoinHandle<()>,
}

impl Process {
    /// Starts one on the database of `service`, with its settings and these changes, and waits until it serves.
    pub(crate) async fn start(service: &Service, settings: &[(&str, &str)]) -> Self {
        let wanted = service.elsewhere(Default::default(), settings);
        let mut child = command("serve", &wanted.environment()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, lines) = watch::channel(Vec::new());
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        let mut heard = lines.clone();
        let started = within("the start of the binary", async {
            heard
                .wait_for(|lines| lines.iter().any(|line| addresses(line).is_some()))
                .await
                .map(|lines| lines.iter().find_map(|line| addresses(line)).unwrap())
        })
        .await;
        let Ok(addresses) = started else { panic!("it did not start: {:?}", lines.borrow()) };
        let service = service.elsewhere(addresses, settings);
        Self { service, child, lines, reading }
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).unwrap()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end: how it ended, and all that it logged.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = within("the end of the binary", self.child.wait()).await.unwrap();
        within("the end of its log", self.reading).await.unwrap();
        let log = self.lines.borrow().join("\n");
        (status, log)
    }

    /// Waits for a line that holds this.
    pub(crate) async fn logs(&self, part: &str) {
        let mut lines = self.lines.clone();
        within(part, lines.wait_for(|lines| lines.iter().any(|line| line.contains(part)))).await.unwrap();
    }
}

/// Runs a command of the binary, its arguments behind it, to its end, with these variables.
pub(crate) async fn run_to_end(command_name: &str, environment: &[(String, String)]) -> Output {
    within("the end of the binary", command(command_name, environment).output()).await.unwrap()
}

/// Begins a command of the binary; it is killed when dropped.
pub(crate) fn begin(command_name: &str, environment: &[(String, String)]) -> Child {
    command(command_name, environment).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn command(name: &str, environment: &[(String, String)]) -> Command {
    // Another binary than the one just built, where somebody wants to know how that one does.
    let binary = std::env::var_os("CLOUDLINK_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_cloudlink").into());
    let mut command = Command::new(binary);
    command
        .args(name.split(' '))
        .env_clear()
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for kept in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// The three addresses in the line that says that it serves, in either format of the log.
fn addresses(line: &str) -> Option<[String; 3]> {
    if !line.contains("serving") {
        return None;
    }
    let after = |name: &str| {
        let rest = line.split(name).nth(1)?.trim_start_matches(['"', ':', '=']);
        let end = rest.find(['"', ' ', ',']).unwrap_or(rest.len());
        Some(format!("http://{}", &rest[..end]))
    };
    Some([after("public")?, after("admin")?, after("relay")?])
}
