//! HAProxy or nginx, with the configuration in `deploy/` as it is shipped, its addresses and folders apart, in front
//! of replicas or of whoever plays them.

use std::{
    fs::File,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{Process, Service, until};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `deploy/haproxy.cfg`
    Haproxy,
    /// `deploy/nginx.conf`
    Nginx,
}

/// A balancer of its own; it ends with this.
pub(crate) struct Balancer {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    folder: TempDir,
    child: Child,
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Balancer {
    /// Starts one in front of three addresses, and waits until it takes connections.
    pub(crate) async fn start(kind: Kind, replicas: [SocketAddr; 3]) -> Self {
        let folder =
            tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let public = free_address();
        let (name, listening) = match kind {
            Kind::Haproxy => ("haproxy.cfg", ("bind :80\n", format!("bind {public}\n"))),
            Kind::Nginx => ("nginx.conf", ("listen 80;", format!("listen {public};"))),
        };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
        let mut text = std::fs::read_to_string(shipped).unwrap();
        let mut replace = |shipped: &str, ours: &str| {
            assert!(text.contains(shipped), "{name} has no {shipped}");
            text = text.replace(shipped, ours);
        };
        replace(listening.0, &listening.1);
        for (number, replica) in replicas.iter().enumerate() {
            replace(&format!("10.0.0.{}:8080", 11 + number), &replica.to_string());
        }
        let here = folder.path().display();
        if kind == Kind::Nginx {
            replace("/var/log/nginx/", &format!("{here}/"));
            replace("/run/nginx.pid", &format!("{here}/pid"));
            // Where who does not run as root may write too.
            let spool = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|what| format!("    {what}_temp_path {here}/{what};\n"))
                .concat();
            replace("http {\n", &format!("http {{\n{spool}"));
        }
        let configuration = folder.path().join(name);
        std::fs::write(&configuration, text).unwrap();
        check(kind, &configuration).await;

        let mut command = program(kind);
        match kind {
            Kind::Haproxy => command.arg("-db").arg("-f"),
            Kind::Nginx => command.args(["-g", "daemon off;", "-c"]),
        };
        let output = File::create(folder.path().join("output.log")).unwrap();
        let child = command
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut balancer = Self { url: format!("http://{public}"), folder, child };
        until("the balancer's listener", async || {
            assert!(balancer.child.try_wait().unwrap().is_none(), "{}", balancer.logs());
            tokio::net::TcpStream::connect(public).await.ok()
        })
        .await;
        balancer
    }

    /// Drives it as if it were the service behind it.
    pub(crate) fn in_front_of(&self, service: &Service) -> Service {
        service.elsewhere([self.url.clone(), service.admin_url.clone(), String::new()], &[])
    }

    /// Everything that it has written: its access log, its error log, its output.
    pub(crate) fn logs(&self) -> String {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path: PathBuf| std::fs::read_to_string(path).unwrap()).collect()
    }

    /// Waits until its log has this so often.
    pub(crate) async fn logged(&self, part: &str, times: usize) {
        until(part, async || (self.logs().matches(part).count() >= times).then_some(())).await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // nginx' workers end with their master, if that is asked and not killed.
        if let Some(pid) = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
}

/// Three replicas, each a process of its own at an address that it keeps.
pub(crate) struct Fleet {
    /// Their processes.
    pub(crate) processes: Vec<Process>,
    /// Where they listen.
    pub(crate) addresses: [SocketAddr; 3],
}

impl Fleet {
    /// On the database of `service`, with its settings and these changes.
    pub(crate) async fn start(service: &Service, settings: &[(&str, &str)]) -> Self {
        let addresses = [free_address(), free_address(), free_address()];
        let [one, two, three] = addresses.map(|address| Self::process(service, settings, address));
        let (one, two, three) = tokio::join!(one, two, three);
        Self { processes: vec![one, two, three], addresses }
    }

    /// One that listens there.
    pub(crate) async fn process(
        service: &Service,
        settings: &[(&str, &str)],
        address: SocketAddr,
    ) -> Process {
        let address = address.to_string();
        let bound =
            [settings, &[("SERVER__BIND", address.as_str()), ("SERVER__TRUSTED_PROXIES", "127.0.0.1")]];
        Process::start(service, &bound.concat()).await
    }

    /// Which of them has made a number in its metrics grow, or nobody.
    pub(crate) async fn metrics(&self, name: &str, label: &str) -> [u64; 3] {
        let mut values = [0; 3];
        for (value, process) in values.iter_mut().zip(&self.processes) {
            let request = process.service.admin(reqwest::Method::GET, "/metrics");
            let text = request.send().await.unwrap().text().await.unwrap();
            let named =
                |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
            let lines = text.lines().filter(|line| named(line) && line.contains(label));
            *value = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        }
        values
    }
}

/// The program's own opinion of the configuration.
async fn check(kind: Kind, configuration: &Path) {
    let mut command = program(kind);
    match kind {
        Kind::Haproxy => command.args(["-c", "-f"]),
        Kind::Nginx => command.args(["-t", "-q", "-c"]),
    };
    let said = command.arg(configuration).output().await.unwrap();
    let text = String::from_utf8_lossy(&said.stderr) + String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}");
    assert!(!text.to_lowercase().contains("warning"), "{text}");
}

fn program(kind: Kind) -> Command {
    let name = match kind {
        Kind::Haproxy => "haproxy",
        Kind::Nginx => "nginx",
    };
    // Debian keeps both where only root looks.
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists());
    Command::new(found.unwrap_or_else(|| panic!("{name} is not installed: scripts/test installs it")))
}
