//! The stage: a service in this process, a provider that answers as told, a browser, a home with its plugin.

#![allow(dead_code, unused_imports, reason = "the stage has more doors than any one story uses")]

mod browser;
pub(crate) mod cluster;
pub(crate) mod frames;
pub(crate) mod home;
mod provider;
pub(crate) mod service;

pub(crate) use self::{
    browser::{Browser, Page, Sent},
    home::{Home, Relay},
    provider::{Answer, Provider, TokenRequest},
    service::{Clock, PUBLIC, Service},
};

use std::{future::Future, time::Duration};

/// The longest that anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

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
