//! Whoever has a name and a password, in some network.

use reqwest::Method;
use serde_json::{Value, json};

use super::{OWNER, Reply, Service, service::with_json};

/// The password of every home's device.
pub(crate) const PASSWORD: &str = "a long enough phrase";

/// Somebody at a keyboard. Their network counts where the service trusts 127.0.0.1 as a proxy.
pub(crate) struct Account<'a> {
    /// What they call.
    pub(crate) service: &'a Service,
    /// Where they are.
    pub(crate) network: &'a str,
}

impl Account<'_> {
    /// A call without a credential.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Reply {
        let request = self.service.request(method, path).header("x-forwarded-for", self.network);
        Reply::of(with_json(request, Some(body))).await
    }

    /// A device's login.
    pub(crate) async fn login(&self, device: &str, password: &str) -> Reply {
        let path = format!("/api/devices/{device}/login");
        self.call(Method::POST, &path, json!({ "password": password })).await
    }

    /// The token that a device's login earns.
    pub(crate) async fn token(&self, device: &str, password: &str) -> String {
        text(&self.login(device, password).await.expect(200)["token"])
    }

    /// The token that the owner's login earns.
    pub(crate) async fn owner_token(&self) -> String {
        let login = json!({"user": OWNER.0, "pass": OWNER.1});
        text(&self.call(Method::POST, "/api/login", login).await.expect(200)["token"])
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
