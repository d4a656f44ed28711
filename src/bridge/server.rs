//! A slot's API at the server, called with a token that is good for that slot alone.

use tokio::sync::Mutex;

use super::calls::{Call, Failure, Kind, Outcome};
use crate::{
    api_client::{Api, ApiError, Caller, Method},
    domain::ids::SlotName,
    plugin_client::PluginClient,
};

/// One slot at the server.
pub(super) struct SlotApi {
    client: PluginClient,
    slot: SlotName,
    /// Good until it is refused.
    api: Mutex<Option<Api>>,
}

impl SlotApi {
    pub(super) fn new(client: PluginClient, slot: SlotName) -> Self {
        Self { client, slot, api: Mutex::new(None) }
    }

    /// Makes a call; once more with a new token, where the old one is refused.
    pub(super) async fn make(&self, call: Call) -> Outcome {
        let Call { kind, body } = call;
        let (method, suffix) = match kind {
            Kind::Override => (Method::PATCH, "/oauth"),
            Kind::Import => (Method::PUT, "/tokens"),
            Kind::Refresh => (Method::POST, "/refresh"),
            Kind::Status => (Method::GET, ""),
            Kind::Connect => (Method::POST, "/connect"),
        };
        let path = format!("/api/devices/{}/slots/{}{suffix}", self.client.device, self.slot);
        let body = body.map(serde_json::Value::Object);
        let mut held = self.api.lock().await;
        for attempt in 1.. {
            let api = match &*held {
                Some(api) => api,
                None => match self.client.access_token().await {
                    Ok(token) => held.insert(Api::new(self.client.server.clone(), Caller::Bearer(token))),
                    Err(error) => return Outcome { kind, result: Err(failure(None, "", error.to_string())) },
                },
            };
            let error = match api.call(method.clone(), &path, body.as_ref()).await {
                Ok(answer) => return Outcome { kind, result: Ok(answer) },
                Err(error) => error,
            };
            if error.status() == Some(401) {
                *held = None;
                if attempt == 1 {
                    continue;
                }
            }
            let code = match &error {
                ApiError::Refused(problem) => problem.code.as_str(),
                ApiError::Unreached(_) | ApiError::NotCloudlink { .. } => "",
            };
            return Outcome { kind, result: Err(failure(error.status(), code, error.to_string())) };
        }
        Outcome { kind, result: Err(failure(None, "", String::new())) }
    }
}

fn failure(status: Option<u16>, code: &str, text: String) -> Failure {
    Failure { status, code: code.to_owned(), text }
}
