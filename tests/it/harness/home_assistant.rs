//! Home Assistant's cloud client, as it behaves on the wire: one WebSocket for an attempt, two plain calls.

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::{Browser, Provider, Sent, Service, service::Reply, with_json, within};

/// Account link switched on: `ecobee` and `nest` are the plugin `acme`, `lost` is a plugin that the store has not.
pub(crate) const ACCOUNT_LINK: [(&str, &str); 4] = [
    ("ACCOUNT_LINK__ENABLED", "true"),
    ("ACCOUNT_LINK__SERVICES", "ecobee=acme@2022.9.0,nest=acme,lost=lost"),
    ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ("RELAY__POLL_SECONDS", "1"),
];

/// A socket of one attempt.
pub(crate) struct LinkSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// A service with account link and these settings, and the provider behind its plugin.
pub(crate) async fn account_link(settings: &[(&str, &str)], configuration: Value) -> (Service, Provider) {
    let all: Vec<_> = ACCOUNT_LINK
        .into_iter()
        .filter(|(key, _)| settings.iter().all(|(other, _)| other != key))
        .chain(settings.iter().copied())
        .collect();
    let (service, provider) = (Service::with(&all).await, Provider::start().await);
    let configuration = provider.configured(configuration);
    service.owner(Method::PUT, "/api/plugins/acme", Some(configuration)).await.expect(201);
    (service, provider)
}

impl LinkSocket {
    /// Opens one.
    pub(crate) async fn open(service: &Service) -> Self {
        Self::open_from(service, "198.51.100.7").await
    }

    /// Opens one from this address, as the proxy says.
    pub(crate) async fn open_from(service: &Service, address: &str) -> Self {
        let mut request =
            format!("{}/v1", service.url.replacen("http", "ws", 1)).into_client_request().unwrap();
        request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
        let (socket, _) = within("the handshake", connect_async(request)).await.unwrap();
        Self { socket }
    }

    /// Opens one, and gets the URL for its person.
    pub(crate) async fn start(service: &Service) -> (Self, String) {
        let mut socket = Self::open(service).await;
        let url = socket.asks_for("ecobee").await["authorize_url"].as_str().unwrap().to_owned();
        (socket, url)
    }

    /// Names the service; what comes back.
    pub(crate) async fn asks_for(&mut self, service: &str) -> Value {
        self.says(Message::text(json!({ "service": service }).to_string())).await;
        self.hears().await
    }

    /// Sends anything.
    pub(crate) async fn says(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next text as JSON. A close is `{"close": CODE}`, for which the client has no words.
    pub(crate) async fn hears(&mut self) -> Value {
        loop {
            match within("a message", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Close(frame))) => {
                    return json!({ "close": frame.map(|frame| u16::from(frame.code)) });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return json!({ "close": null }),
            }
        }
    }

    /// The last words: a text, and after it a close.
    pub(crate) async fn last_words(&mut self) -> Value {
        let words = self.hears().await;
        assert_eq!(words.get("close"), None, "closed without a word");
        assert_eq!(self.hears().await, json!({ "close": 1000 }));
        words
    }

    /// What it waited for, after which the client closes.
    pub(crate) async fn takes_tokens(mut self) -> Value {
        let words = self.hears().await;
        self.leaves().await;
        words["tokens"].clone()
    }

    /// The client goes, as it does when its person closes the dialog.
    pub(crate) async fn leaves(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = within("the close", self.socket.next()).await {}
    }
}

/// A browser in the network of whoever opened a socket.
pub(crate) fn browser_at_home() -> Browser {
    browser_from("198.51.100.7")
}

/// A browser in this network.
pub(crate) fn browser_from(address: &str) -> Browser {
    Browser { headers: vec![("x-forwarded-for", address.to_owned())], ..Browser::default() }
}

/// A browser of the same home that consented and was sent to the provider.
pub(crate) async fn consents(service: &Service, authorize_url: &str) -> (Browser, Sent) {
    let mut browser = browser_at_home();
    let sent = browser.consent(service, authorize_url).await;
    (browser, sent)
}

/// `POST /refresh_token/{domain}`.
pub(crate) async fn refresh(service: &Service, domain: &str, refresh_token: &str) -> Reply {
    let request = service.request(Method::POST, &format!("/refresh_token/{domain}"));
    Reply::of(with_json(request, Some(json!({ "refresh_token": refresh_token })))).await
}
