//! A flow half done: started by the home, and taken by a browser to the provider's door.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Browser, Home, Page, Provider, Sent, Service};

/// A flow that waits for its callback.
pub(crate) struct Attempt {
    /// What the plugin got from `connect`.
    pub(crate) connection: Value,
    /// The browser that continued.
    pub(crate) browser: Browser,
    /// The authorization request.
    pub(crate) sent: Sent,
}

impl Attempt {
    /// The home connects, and a browser of its own continues to the provider.
    pub(crate) async fn start(service: &Service, home: &Home) -> Self {
        Self::asking(service, home, json!({})).await
    }

    /// The same with this body of `connect`.
    pub(crate) async fn asking(service: &Service, home: &Home, body: Value) -> Self {
        let connection = home.call(service, Method::POST, &home.at("/connect"), Some(body)).await.expect(201);
        Self::of(service, connection, Browser::default()).await
    }

    /// This browser continues a flow that `connect` started.
    pub(crate) async fn of(service: &Service, connection: Value, mut browser: Browser) -> Self {
        let sent = browser.consent(service, connection["connect_url"].as_str().unwrap()).await;
        Self { connection, browser, sent }
    }

    /// The flow's `/connect` URL.
    pub(crate) fn url(&self) -> &str {
        self.connection["connect_url"].as_str().unwrap()
    }

    /// Comes back in the flow's own browser, with these members besides `state`.
    pub(crate) async fn back(&mut self, service: &Service, members: &[(&str, &str)]) -> Page {
        self.browser.callback(service, &self.sent, members).await
    }

    /// Comes back with this query, as it is.
    pub(crate) async fn back_raw(&mut self, service: &Service, query: &str) -> Page {
        let address = format!("{}?{query}", self.sent.query["redirect_uri"]);
        self.browser.open(service, &address).await
    }

    /// How far the flow has come: `status`, or `status/error`.
    pub(crate) async fn stands(&self, service: &Service, home: &Home) -> String {
        let flow = home.flow(service, &self.connection).await;
        let status = flow["status"].as_str().unwrap();
        flow["error"].as_str().map_or_else(|| status.to_owned(), |error| format!("{status}/{error}"))
    }
}

impl Home {
    /// Enrols a device with the plugin `acme` in its slot, the provider's configuration changed like this.
    pub(crate) async fn enrol_with(service: &Service, provider: &Provider, changes: Value) -> Self {
        let home = Self::bare(service).await;
        home.install_store(service, "acme", provider.configured(changes)).await;
        home
    }

    /// Puts a plugin into the store, and then into the home's slot.
    pub(crate) async fn install_store(&self, service: &Service, plugin: &str, configuration: Value) {
        let put = service.owner(Method::PUT, &format!("/api/plugins/{plugin}"), Some(configuration)).await;
        assert!(put.status < 300, "{}", put.text);
        let installed = self.install(service, plugin, json!({})).await;
        assert!(installed.status < 300, "{}", installed.text);
    }

    /// The access token that the plugin would work with, if it has one.
    pub(crate) async fn access_token(&self, service: &Service) -> Option<String> {
        let all = self.poll(service, "state=all").await.expect(200);
        let events = all["events"].as_array().unwrap();
        events
            .iter()
            .filter(|event| event["slot"] == self.slot)
            .find_map(|event| event["data"]["access_token"].as_str().map(str::to_owned))
    }
}

impl Provider {
    /// A plugin's configuration for this provider with these members changed.
    pub(crate) fn configured(&self, changes: Value) -> Value {
        let mut configuration = self.configuration();
        let Value::Object(changes) = changes else { panic!("an object of changes") };
        configuration.as_object_mut().unwrap().extend(changes);
        configuration
    }
}
