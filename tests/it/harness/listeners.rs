//! The relay is served at two listeners: stories about it are told at both.

use super::Service;

/// A listener that serves the relay.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listener {
    /// The public one, where it is one path of many.
    Public,
    /// `relay.bind`.
    Own,
}

tokio::task_local! {
    static LISTENER: Listener;
}

/// Tells a story whose relay connections go to this listener.
pub(crate) async fn at(listener: Listener, story: impl Future<Output = ()>) {
    Box::pin(LISTENER.scope(listener, story)).await;
}

/// `ws://127.0.0.1:PORT` of the listener that the story is told at.
pub(crate) fn relay_address(service: &Service) -> String {
    let url = match LISTENER.try_with(|listener| *listener) {
        Ok(Listener::Own) => &service.relay_url,
        Ok(Listener::Public) | Err(_) => &service.url,
    };
    url.replacen("http", "ws", 1)
}

/// Makes two tests of each story.
macro_rules! at_both_listeners {
    ($($story:ident)*) => {
        mod public {
            use crate::harness::listeners::{Listener, at};
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() { at(Listener::Public, super::$story()).await; })*
        }
        mod own {
            use crate::harness::listeners::{Listener, at};
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() { at(Listener::Own, super::$story()).await; })*
        }
    };
}
pub(crate) use at_both_listeners;
