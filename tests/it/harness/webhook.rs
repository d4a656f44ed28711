//! A web service that calls a slot's webhook, and the plugin's part in answering.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Home, Relay, Service, service::Reply};

/// A call of a webhook.
pub(crate) struct Hook<'a> {
    pub(crate) method: Method,
    /// `response` or `noresponse`.
    pub(crate) kind: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Vec<u8>,
}

impl Default for Hook<'_> {
    fn default() -> Self {
        Self { method: Method::POST, kind: "response", query: "", headers: &[], body: Vec::new() }
    }
}

impl Hook<'_> {
    /// Calls the webhook of the home's slot.
    pub(crate) async fn call(self, service: &Service, home: &Home) -> Reply {
        let path =
            format!("/api/eisy/pg3/webhook/{}/{}/{}?{}", self.kind, home.device, home.slot, self.query);
        let mut request = service.request(self.method, path.trim_end_matches('?')).body(self.body);
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        Reply::of(request).await
    }
}

/// Posts to the webhook of the home's slot.
pub(crate) async fn hook(service: &Service, home: &Home) -> Reply {
    Hook::default().call(service, home).await
}

impl Relay {
    /// The next request or command; events are skipped.
    pub(crate) async fn asked(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            assert!(frame.get("close").is_none(), "closed: {frame}");
            if frame["type"] == "request" || frame["type"] == "command" {
                return frame;
            }
        }
    }

    /// The next frame that is no event.
    pub(crate) async fn next_but_events(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] != "event" {
                return frame;
            }
        }
    }

    /// Answers what was asked.
    pub(crate) async fn answer(&mut self, asked: &Value, status: u16, headers: Value, body: &[u8]) {
        let body = STANDARD.encode(body);
        let id = &asked["id"];
        self.send(&json!({"type": "response", "id": id, "status": status, "headers": headers, "body": body}))
            .await;
    }

    /// Answers the next request with this text.
    pub(crate) async fn answers(&mut self, text: &str) -> Value {
        let asked = self.asked().await;
        self.answer(&asked, 200, json!({}), text.as_bytes()).await;
        asked
    }
}
