//! What the relay says, in words: an event is `heating 3 customns/oauth`.

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, handshake::client::Request},
};

use super::{Home, Relay, Service, home::call_with, service::Reply, within};

/// An event in words; any other frame as it is.
pub(crate) fn in_words(frame: &Value) -> String {
    let Some(event) = frame["event"].as_str() else { return frame.to_string() };
    let key = frame["key"].as_str().map(|key| format!("/{key}")).unwrap_or_default();
    format!("{} {} {event}{key}", frame["slot"].as_str().unwrap(), frame["version"])
}

/// The events of a poll's answer in words.
pub(crate) fn events_in_words(answer: &Value) -> Vec<String> {
    answer["events"].as_array().unwrap().iter().map(in_words).collect()
}

/// The status by which a handshake is refused.
pub(crate) async fn handshake_refused(request: Request) -> u16 {
    match within("the handshake", connect_async(request)).await {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the handshake was accepted"),
    }
}

impl Relay {
    /// The next frames in words.
    pub(crate) async fn told(&mut self, count: usize) -> Vec<String> {
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(in_words(&self.next().await));
        }
        frames
    }

    /// What was said, in words, until the relay had done all that it was sent before now.
    pub(crate) async fn told_so_far(&mut self) -> Vec<String> {
        self.send(&json!({"type": "fence"})).await;
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["code"] == "unknown_type" {
                return frames;
            }
            assert!(frame.get("close").is_none(), "closed: {frame}");
            frames.push(in_words(&frame));
        }
    }

    /// Skips frames until the connection is closed: the code.
    pub(crate) async fn closed(&mut self) -> u64 {
        loop {
            let frame = self.next().await;
            if let Some(code) = frame.get("close") {
                return code.as_u64().unwrap_or_else(|| panic!("ended without a close frame"));
            }
        }
    }
}

impl Home {
    /// The same device with its other slot.
    pub(crate) fn with_slot(mut self, slot: &str) -> Self {
        slot.clone_into(&mut self.slot);
        self
    }

    /// An access token for one slot alone.
    pub(crate) async fn slot_token(&self, service: &Service, slot: &str) -> String {
        let assertion = self.assertion(service, &json!({}));
        let granted = self.grant(service, &assertion, Some(slot)).await.expect(200);
        granted["access_token"].as_str().unwrap().to_owned()
    }

    /// Attaches with a fresh token; what is said at once, in words.
    pub(crate) async fn told_at_first(&self, service: &Service) -> Vec<String> {
        self.relay(service).await.told_so_far().await
    }

    /// Merges a patch into the slot's overrides.
    pub(crate) async fn patch(&self, service: &Service, patch: Value) -> Reply {
        self.call(service, Method::PATCH, &self.at("/oauth"), Some(patch)).await
    }

    /// Acknowledges by HTTP.
    pub(crate) async fn ack(&self, service: &Service, slot: &str, version: i64) -> u16 {
        let body = json!({"slot": slot, "version": version});
        let token = self.token(service).await;
        call_with(service, &token, Method::POST, "/api/ack", Some(body)).await.status
    }
}
