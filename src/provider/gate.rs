//! How many requests one host may hold open at once, so that a dead provider can't take every task (E11).
//!
//! The map holds a host only while somebody waits for it or uses it: idle entries are swept once there are
//! more than [`KEPT`]. Waiting is bounded by the caller's deadline. It keeps no record of failures.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hosts kept before idle ones are swept.
const KEPT: usize = 64;

/// One semaphore a host.
pub(super) struct HostGate {
    per_host: usize,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl HostGate {
    pub(super) fn new(per_host: usize) -> Self {
        Self { per_host, hosts: Mutex::new(HashMap::new()) }
    }

    /// Waits for a place; it is given back when the permit is dropped.
    pub(super) async fn enter(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        self.semaphore(host).acquire_owned().await.ok()
    }

    fn semaphore(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() > KEPT {
            hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let fresh = || Arc::new(Semaphore::new(self.per_host));
        Arc::clone(hosts.entry(host.to_owned()).or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn e11_a_full_host_makes_others_wait_for_it_and_for_no_other() {
        let gate = HostGate::new(1);
        let held = gate.enter("dead.example").await.unwrap();
        assert!(gate.enter("dead.example").now_or_never().is_none());
        assert!(gate.enter("live.example").now_or_never().is_some());
        drop(held);
        assert!(gate.enter("dead.example").now_or_never().is_some());
    }

    #[tokio::test]
    async fn e11_hosts_that_nobody_uses_are_forgotten_and_held_ones_are_not() {
        let gate = HostGate::new(1);
        let _held = gate.enter("held.example").await.unwrap();
        for n in 0..1000 {
            drop(gate.enter(&format!("h{n}.example")).await.unwrap());
        }
        assert!(gate.hosts.lock().unwrap().len() <= KEPT + 1);
        assert!(gate.enter("held.example").now_or_never().is_none());
    }
}
