//! The stage: a service in this process, a provider that answers as told, a browser, a home with its plugin.

#![allow(dead_code, unused_imports, reason = "the stage has more doors than any one story uses")]

mod account;
mod attempt;
mod balancer;
mod browser;
pub(crate) mod cluster;
pub(crate) mod console;
mod desk;
pub(crate) mod dump;
pub(crate) mod frames;
mod hold;
pub(crate) mod home;
mod home_assistant;
mod link_to_database;
pub(crate) mod listeners;
mod load;
mod nats;
mod postgres;
mod process;
mod provider;
mod recipient;
mod rotating;
pub(crate) mod service;
mod statements;
mod tables;
mod terminal;
mod webhook;

pub(crate) use self::{
    account::{Account, PASSWORD},
    attempt::Attempt,
    balancer::{Balancer, Fleet, Kind as BalancerKind},
    browser::{Browser, Page, Sent},
    desk::{Desk, Ran},
    hold::Hold,
    home::{Home, Relay, call_with},
    home_assistant::{LinkSocket, account_link, browser_at_home, browser_from, consents, refresh},
    link_to_database::DatabaseLink,
    load::{Ledger, Load, Tally},
    nats::NatsServer,
    postgres::Postgres,
    process::{Process, begin, run_to_end},
    provider::{Answer, Judge, Provider, TokenRequest},
    recipient::Recipient,
    rotating::Rotation,
    service::{Clock, KEYS, OWNER, PUBLIC, Reply, Service, with_json},
    terminal::{Started, Terminal, token},
    webhook::{Hook, hook},
};

use std::{future::Future, time::Duration};

/// The longest that anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the long versions of the tests of faults are asked for, with `CLOUDLINK_LONG_FAULTS=1`.
pub(crate) fn long() -> bool {
    std::env::var("CLOUDLINK_LONG_FAULTS").is_ok_and(|said| said == "1")
}

/// Waits for `what`, with a limit.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what} did not happen within {PATIENCE:?}");
    };
    value
}

/// Asks again until the answer is some, with a limit.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
