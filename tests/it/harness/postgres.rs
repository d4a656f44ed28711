//! A PostgreSQL that a test may end, stop and start again: a server of its own, that keeps what it committed.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use cloudlink::cluster::{Cluster, ClusterSettings, DATABASE, Durability};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::within;

/// One that runs, or will again.
pub(crate) struct Postgres {
    cluster: Option<Cluster>,
    settings: ClusterSettings,
    _folder: TempDir,
}

impl Postgres {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        // As root the server is somebody else.
        let folder =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let data_dir = folder.path().join("cluster");
        let settings = ClusterSettings { data_dir, durability: Durability::Full, max_connections: 100 };
        let mut server = Self { cluster: None, settings, _folder: folder };
        server.start_again().await;
        server
    }

    /// For `database.url`; the same after each start.
    pub(crate) fn url(&self) -> String {
        self.running().url(DATABASE)
    }

    /// Ends it as a power cut would: nothing is written any more, its connections just end.
    pub(crate) async fn end_at_once(&mut self) {
        let note = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let server = Pid::from_raw(note.lines().next().unwrap().parse().unwrap()).unwrap();
        kill_process(server, Signal::QUIT).unwrap();
        let mut cluster = self.cluster.take().unwrap();
        within("the end of PostgreSQL", cluster.ended()).await;
    }

    /// After its end.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.cluster.is_none(), "it runs");
        self.cluster = Some(Cluster::start(&self.settings).await.unwrap());
    }

    /// Stops every process of it in the middle of what it does: it answers nothing and closes nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// They go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let data = self.data().canonicalize().unwrap();
        let processes = fs::read_dir("/proc").unwrap().map(Result::unwrap);
        let ours =
            processes.filter(|entry| entry.path().join("cwd").read_link().is_ok_and(|cwd| cwd == data));
        let ids: Vec<i32> = ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        assert!(ids.len() > 3, "{ids:?}");
        for id in ids {
            // A worker may have ended meanwhile.
            let _ = kill_process(Pid::from_raw(id).unwrap(), signal);
        }
    }

    /// The cluster's own folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.running().folder().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    fn running(&self) -> &Cluster {
        self.cluster.as_ref().expect("it runs")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Who is stopped can't end.
        if self.cluster.is_some() && self.data().exists() {
            self.thaw();
        }
    }
}
