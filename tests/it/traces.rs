//! What a secret could leave behind on the machine: core dumps, open files, memory that was given back.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
        process::ExitStatusExt as _,
    },
    path::Path,
};

use cloudlink::{
    cluster::{Cluster, ClusterSettings, Durability},
    domain::secret::Password,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::harness::{Process, Service};

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn g08_a_service_that_crashes_leaves_no_core() {
    // Its parent would allow one.
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let process = Process::start(&Service::start().await, &[]).await;
    let pid = process.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::ABORT).unwrap();
    let (status, _) = process.ended().await;
    assert_eq!((status.signal(), status.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
}

fn all_below(folder: &Path, seen: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let there = fs::symlink_metadata(entry.path()).unwrap();
        if !there.is_symlink() {
            seen.push((entry.path().display().to_string(), there.mode() & 0o777));
        }
        if there.is_dir() {
            all_below(&entry.path(), seen);
        }
    }
}

#[tokio::test]
async fn g08_nobody_else_can_read_a_file_of_the_private_database() {
    let open = fs::Permissions::from_mode(0o755);
    let scratch = tempfile::Builder::new().permissions(open).tempdir().unwrap();
    let folder = scratch.path().join("postgres");
    let settings =
        ClusterSettings { data_dir: folder.clone(), durability: Durability::Full, max_connections: 10 };
    let cluster = Cluster::start(&settings).await.unwrap();
    for closed in [folder.clone(), folder.join("data"), folder.join("socket")] {
        assert_eq!(fs::metadata(&closed).unwrap().mode() & 0o777, 0o700, "{closed:?}");
    }
    let mut seen = Vec::new();
    all_below(&folder, &mut seen);
    // The socket itself is open to all, in a folder that is not.
    seen.retain(|(path, _)| !path.contains("/socket/.s."));
    assert!(seen.len() > 100, "{seen:?}");
    let open: Vec<_> = seen.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(open.is_empty(), "{open:?}");
    cluster.stop().await.unwrap();
}

/// Reads the memory of this process where a secret was before it was dropped.
#[cfg(target_os = "linux")]
#[test]
fn g08_a_secret_that_is_dropped_is_wiped() {
    let canary = |at: usize| b'a' + u8::try_from(at * 7 % 26).unwrap();
    let secret = Password::new((0..4096).map(|at| char::from(canary(at))).collect::<String>());
    let (address, length) = (secret.expose().as_ptr() as u64, secret.expose().len());
    let memory = File::open("/proc/self/mem").unwrap();
    let mut bytes = vec![0; length];
    memory.read_exact_at(&mut bytes, address).unwrap();
    let same = |bytes: &[u8]| bytes.iter().enumerate().filter(|(at, byte)| **byte == canary(*at)).count();
    assert_eq!(same(&bytes), length, "it reads the right place");
    drop(secret);
    // What the allocator or another test wrote there since can agree in a few bytes by chance.
    if memory.read_exact_at(&mut bytes, address).is_ok() {
        assert!(same(&bytes) < length / 4, "{} of {length} bytes are still there", same(&bytes));
    }
}
