//! The private PostgreSQL: it starts, it keeps, it ends with its owner, whatever happened before.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloudlink::cluster::{Cluster, ClusterError, ClusterSettings, DATABASE, Durability};
use cloudlink::{seams::SystemEntropy, store, vault::ring::KeyRing};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::harness::{cluster::Database, service::KEYS};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that any user may walk into.
fn scratch() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap()
}

fn settings(data_dir: impl Into<PathBuf>, durability: Durability) -> ClusterSettings {
    ClusterSettings { data_dir: data_dir.into(), durability, max_connections: 20 }
}

async fn start(folder: &Path) -> Cluster {
    Cluster::start(&settings(folder, Durability::Full)).await.unwrap()
}

async fn execute(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

async fn number(url: &str, statement: &str) -> i32 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let row = connection.fetch_one(AssertSqlSafe(statement.to_owned())).await.unwrap();
    connection.close().await.unwrap();
    row.get(0)
}

async fn becomes_true(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
}

/// Another process that owns a cluster: this test program again, running `an_owner_of_its_own` alone.
struct Owner {
    process: Child,
    url: String,
}

impl Owner {
    fn start(folder: &Path, durability: Durability) -> Self {
        Self::start_with(folder, durability, "exec \"$@\"")
    }

    fn start_with(folder: &Path, durability: Durability, shell: &str) -> Self {
        let mut process = Command::new("/bin/sh")
            .args(["-c", shell, "owner"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "cluster::an_owner_of_its_own_holds_a_cluster", "--nocapture"])
            .env("OWNED_CLUSTER", folder)
            .env("OWNED_DURABILITY", format!("{durability:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.map_while(Result::ok).find(|line| line.starts_with("postgres://")).unwrap();
        Self { process, url }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test]
async fn an_owner_of_its_own_holds_a_cluster() {
    let Some(folder) = std::env::var_os("OWNED_CLUSTER") else { return };
    let full = std::env::var("OWNED_DURABILITY").unwrap() == format!("{:?}", Durability::Full);
    let durability = if full { Durability::Full } else { Durability::Discarded };
    let cluster = Cluster::start(&settings(folder, durability)).await.unwrap();
    println!("\n{}", cluster.url(DATABASE));
    // Until somebody kills us.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let scratch = scratch();
    let folder = scratch.path().join("a folder, with \"odd\" name");
    let cluster = start(&folder).await;
    let url = cluster.url(DATABASE);
    execute(&url, "create table kept as select 7 as number").await;
    cluster.stop().await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err());

    let cluster = start(&folder).await;
    assert_eq!(number(&cluster.url(DATABASE), "select number from kept").await, 7);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_owner_is_refused_and_the_first_is_not_disturbed() {
    let scratch = scratch();
    let first = start(scratch.path()).await;
    let refused = Cluster::start(&settings(scratch.path(), Durability::Full)).await;
    assert!(matches!(refused, Err(ClusterError::InUse(_))));
    assert!(refused.unwrap_err().to_string().contains("is in use by another cloudlink"));
    assert_eq!(number(&first.url(DATABASE), "select 1").await, 1);
    first.stop().await.unwrap();
}

#[tokio::test]
async fn the_server_ends_with_an_owner_that_is_killed() {
    let scratch = scratch();
    let folder = scratch.path().join("discarded");
    let owner = Owner::start(&folder, Durability::Discarded);
    assert_eq!(number(&owner.url, "select 1").await, 1);
    owner.kill();
    becomes_true(|| !folder.join("data").exists()).await;
}

#[tokio::test]
async fn the_folder_of_a_killed_owner_can_be_had_at_once() {
    let scratch = scratch();
    let owner = Owner::start(scratch.path(), Durability::Full);
    execute(&owner.url, "create table kept as select 8 as number").await;
    owner.kill();

    let cluster = start(scratch.path()).await;
    assert_eq!(number(&cluster.url(DATABASE), "select number from kept").await, 8);
    cluster.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_outlived_its_owner_and_its_watcher_is_replaced() {
    let scratch = scratch();
    let folder = scratch.path().canonicalize().unwrap();
    let owner = Owner::start(&folder, Durability::Full);
    let old = postmaster(&folder);
    for shell in working_in(&folder) {
        kill_process(shell, Signal::KILL).unwrap();
    }
    owner.kill();
    assert!(Path::new(&format!("/proc/{old}/cwd")).read_link().is_ok());

    let cluster = start(&folder).await;
    assert!(Path::new(&format!("/proc/{old}/cwd")).read_link().is_err());
    assert_eq!(number(&cluster.url(DATABASE), "select 1").await, 1);
    cluster.stop().await.unwrap();
}

/// The processes whose working folder is the cluster's folder itself: the shell and its child.
#[cfg(target_os = "linux")]
fn working_in(folder: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().map(Result::unwrap);
    let here = entries.filter(|entry| entry.path().join("cwd").read_link().is_ok_and(|cwd| cwd == folder));
    here.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn postmaster(folder: &Path) -> String {
    let note = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    note.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn the_note_of_a_dead_server_does_not_stop_a_new_one() {
    let scratch = scratch();
    start(scratch.path()).await.stop().await.unwrap();
    // As after a power cut: the number belongs to another process of the same user by now.
    let data = scratch.path().join("data");
    let user = fs::metadata(&data).unwrap().uid();
    let mut stranger = Command::new("sleep").arg("60").uid(user).current_dir("/").spawn().unwrap();
    let note = format!("{}\n{}\n1\n5432\n/nowhere\n\n", stranger.id(), data.display());
    fs::write(data.join("postmaster.pid"), &note).unwrap();
    fs::write(scratch.path().join("socket/.s.PGSQL.5432.lock"), &note).unwrap();

    let cluster = Cluster::start(&settings(scratch.path(), Durability::Full)).await;
    assert!(stranger.try_wait().unwrap().is_none(), "it was ended");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    cluster.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_never_became_whole_is_made_anew() {
    let scratch = scratch();
    fs::write(scratch.path().join("lock"), "").unwrap();
    fs::create_dir_all(scratch.path().join("data.new/base")).unwrap();
    fs::write(scratch.path().join("data.new/PG_VERSION"), "15\n").unwrap();
    let cluster = start(scratch.path()).await;
    assert_eq!(number(&cluster.url(DATABASE), "select 1").await, 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works() {
    let scratch = scratch();
    let folder = scratch.path().join("x".repeat(120));
    let cluster = start(&folder).await;
    let url: url::Url = cluster.url(DATABASE).parse().unwrap();
    let sockets =
        PathBuf::from(url.host_str().unwrap().replace("%2F", "/").replace("%2D", "-").replace("%2E", "."));
    assert!(!sockets.starts_with(&folder) && sockets.is_dir(), "{sockets:?}");
    assert_eq!(number(url.as_str(), "select 1").await, 1);
    cluster.stop().await.unwrap();
    assert!(!sockets.exists());
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed_is_named_and_not_touched() {
    let scratch = scratch();
    start(scratch.path()).await.stop().await.unwrap();
    let version = scratch.path().join("data/PG_VERSION");
    fs::write(&version, "9\n").unwrap();
    let refused = Cluster::start(&settings(scratch.path(), Durability::Full)).await;
    assert!(matches!(refused, Err(ClusterError::WrongVersion { wanted: 9, .. })));
    assert_eq!(fs::read_to_string(&version).unwrap(), "9\n");
}

#[tokio::test]
async fn a_server_that_ends_by_itself_is_noticed() {
    let scratch = scratch();
    let mut cluster = start(scratch.path()).await;
    let server = Pid::from_raw(postmaster(scratch.path()).parse().unwrap()).unwrap();
    kill_process(server, Signal::QUIT).unwrap();
    let ended = timeout(PATIENCE, cluster.ended()).await.unwrap();
    assert!(matches!(ended, ClusterError::Ended { .. }));
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let scratch = scratch();
    start(scratch.path()).await.stop().await.unwrap();
    let configuration = scratch.path().join("data/postgresql.conf");
    fs::write(&configuration, "shared_buffers = nonsense\n").unwrap();
    let refused = Cluster::start(&settings(scratch.path(), Durability::Full)).await;
    let Err(ClusterError::Start { reason, .. }) = refused else { panic!("it started") };
    assert!(reason.contains("configuration file"), "{reason}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn as_root_a_narrow_umask_does_not_lock_postgres_out() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scratch = scratch();
    let folder = scratch.path().join("made/on/the/way");
    // The umask belongs to the whole process, hence a process of its own.
    let owner = Owner::start_with(&folder, Durability::Discarded, "umask 077; exec \"$@\"");
    assert_eq!(number(&owner.url, "select 1").await, 1);
    assert!(folder.join("data").exists());
    owner.kill();
    becomes_true(|| !folder.join("data").exists()).await;
}

#[tokio::test]
async fn as_root_a_folder_that_postgres_cannot_reach_is_moved_below_var_lib() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let closed = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let wanted = settings(closed.path().join("cluster"), Durability::Discarded);
    let cluster = Cluster::start(&wanted).await.unwrap();
    let folder = cluster.folder().to_owned();
    assert!(folder.starts_with("/var/lib/cloudlink"));
    assert_eq!(number(&cluster.url(DATABASE), "select 1").await, 1);
    cluster.stop().await.unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(folder).unwrap();
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_made_from_one_template() {
    let ring = KeyRing::parse([KEYS]).unwrap();
    let migrate = async |pool: &sqlx::PgPool| store::migrate(pool, &ring, &SystemEntropy).await;
    let (one, other) = tokio::join!(Database::fresh(migrate), Database::fresh(migrate));
    one.pool.execute("create table mine (number int)").await.unwrap();
    let tables = "select count(*)::int from pg_tables where schemaname = 'public'";
    let (ours, theirs) = (number(&one.url, tables).await, number(&other.url, tables).await);
    assert!(theirs > 5, "the template was migrated");
    assert_eq!(ours, theirs + 1);
}
