//! A home: a device with a trusted key, a slot, and the plugin that listens there.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _, handshake::client::Request},
};

use super::{
    Provider, Service,
    service::{Reply, with_json},
    within,
};

/// A device whose key is trusted, with the plugin `acme` in its slot `heating`.
#[derive(Clone)]
pub(crate) struct Home {
    /// The device's id.
    pub(crate) device: String,
    /// The name of its key.
    pub(crate) key_hash: String,
    /// The slot's name.
    pub(crate) slot: String,
    key: Arc<Ed25519KeyPair>,
}

/// A connection of the relay.
pub(crate) struct Relay {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Home {
    /// Enrols a device, trusts its key, stores the plugin `acme` and installs it.
    pub(crate) async fn enrol(service: &Service, provider: &Provider) -> Self {
        let home = Self::bare(service).await;
        service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configuration())).await;
        home.install(service, "acme", json!({})).await.expect(201);
        home
    }

    /// Enrols a device and trusts its key; nothing is installed.
    pub(crate) async fn bare(service: &Service) -> Self {
        let enrolled = service
            .owner(
                Method::POST,
                "/api/devices",
                Some(json!({"name": "Living room", "password": super::PASSWORD})),
            )
            .await
            .expect(201);
        let device = enrolled["device"].as_str().unwrap().to_owned();
        let key = Ed25519KeyPair::generate().unwrap();
        let jwk = public_jwk(&key);
        let added = service
            .owner(
                Method::POST,
                &format!("/api/devices/{device}/keys"),
                Some(json!({"label": "hub", "public_key": jwk})),
            )
            .await
            .expect(201);
        let key_hash = added["key_hash"].as_str().unwrap().to_owned();
        Self { device, key_hash, slot: "heating".to_owned(), key: Arc::new(key) }
    }

    /// A device that is unknown, with the same slot and key.
    pub(crate) fn elsewhere(&self) -> Self {
        Self { device: uuid::Uuid::from_u128(7).to_string(), ..self.clone() }
    }

    /// Another slot of the same device.
    pub(crate) fn beside(&self, slot: &str) -> Self {
        Self { slot: slot.to_owned(), ..self.clone() }
    }

    /// Installs a plugin in the home's slot.
    pub(crate) async fn install(&self, service: &Service, plugin: &str, variables: Value) -> Reply {
        let body = json!({"plugin": plugin, "variables": variables});
        self.call(service, Method::PUT, &self.at(""), Some(body)).await
    }

    /// A path below the home's slot.
    pub(crate) fn at(&self, rest: &str) -> String {
        format!("/api/devices/{}/slots/{}{rest}", self.device, self.slot)
    }

    /// The public half of its key.
    pub(crate) fn jwk(&self) -> Value {
        public_jwk(&self.key)
    }

    /// A signed assertion with these changes to its claims.
    pub(crate) fn assertion(&self, service: &Service, changes: &Value) -> String {
        let now = service.now().unix_timestamp();
        let mut jti = [0; 16];
        cloudlink::domain::clock::Entropy::fill(&cloudlink::seams::SystemEntropy, &mut jti);
        let mut claims = json!({
            "iss": self.device, "sub": self.device, "aud": format!("{}/api/token", service.public_url()),
            "iat": now, "exp": now + 60, "jti": URL_SAFE_NO_PAD.encode(jti),
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "EdDSA"})), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Trades an assertion for a token.
    pub(crate) async fn grant(&self, service: &Service, assertion: &str, slot: Option<&str>) -> Reply {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", assertion);
        if let Some(slot) = slot {
            form.append_pair("slot", slot);
        }
        let request = service
            .request(Method::POST, "/api/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish());
        Reply::of(request).await
    }

    /// An access token for all of the device.
    pub(crate) async fn token(&self, service: &Service) -> String {
        let assertion = self.assertion(service, &json!({}));
        let granted = self.grant(service, &assertion, None).await.expect(200);
        granted["access_token"].as_str().unwrap().to_owned()
    }

    /// A call with a fresh token.
    pub(crate) async fn call(
        &self,
        service: &Service,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let token = self.token(service).await;
        call_with(service, &token, method, path, body).await
    }

    /// Starts a flow: what the plugin gets.
    pub(crate) async fn connect(&self, service: &Service) -> Value {
        self.call(service, Method::POST, &self.at("/connect"), Some(json!({}))).await.expect(201)
    }

    /// The `status` and `error` of a flow that `connect` started.
    pub(crate) async fn flow(&self, service: &Service, connection: &Value) -> Value {
        let path = self.at(&format!("/flows/{}", connection["flow"].as_str().unwrap()));
        self.call(service, Method::GET, &path, None).await.expect(200)
    }

    /// The slot as the API shows it.
    pub(crate) async fn show(&self, service: &Service) -> Value {
        self.call(service, Method::GET, &self.at(""), None).await.expect(200)
    }

    /// Links the slot: consent in a browser of its own, tokens from the provider.
    pub(crate) async fn link(&self, service: &Service) -> super::Browser {
        let connection = self.connect(service).await;
        let mut browser = super::Browser::default();
        let sent = browser.consent(service, connection["connect_url"].as_str().unwrap()).await;
        let page = browser.callback(service, &sent, &[("code", "a-code")]).await;
        assert_eq!(page.status, 303, "{}", page.html);
        assert_eq!(self.flow(service, &connection).await["status"], "linked");
        browser
    }

    /// Attaches to the relay.
    pub(crate) async fn relay(&self, service: &Service) -> Relay {
        Relay::attach(service, &self.token(service).await).await
    }

    /// What a poll answers.
    pub(crate) async fn poll(&self, service: &Service, query: &str) -> Reply {
        self.call(service, Method::GET, &format!("/api/cloudlink/events?{query}"), None).await
    }
}

fn public_jwk(key: &Ed25519KeyPair) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key.public_key())})
}

/// A call with a bearer token.
pub(crate) async fn call_with(
    service: &Service,
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Reply {
    Reply::of(with_json(service.request(method, path).bearer_auth(token), body)).await
}

impl Relay {
    /// A handshake as a plugin makes it.
    pub(crate) fn handshake(service: &Service, token: &str) -> Request {
        let mut request = format!("{}/api/cloudlink/relay", super::listeners::relay_address(service))
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        headers.insert("sec-websocket-protocol", "cloudlink.v1".parse().unwrap());
        request
    }

    /// Attaches, and takes the hello.
    pub(crate) async fn attach(service: &Service, token: &str) -> Self {
        let (socket, _) =
            within("the handshake", connect_async(Self::handshake(service, token))).await.unwrap();
        let mut relay = Self { socket };
        let hello = relay.next().await;
        assert_eq!(hello["type"], "hello");
        relay
    }

    /// Attaches, where that is possible now.
    pub(crate) async fn try_attach(service: &Service, token: &str) -> Result<Self, String> {
        let socket = within("the handshake", connect_async(Self::handshake(service, token))).await;
        let (socket, _) = socket.map_err(|error| format!("the handshake: {error}"))?;
        Ok(Self { socket })
    }

    /// The next frame of text, as JSON; a close is `{"close": CODE}`.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match within("a frame", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Close(frame))) => {
                    return json!({ "close": frame.map(|frame| u16::from(frame.code)) });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return json!({ "close": null }),
            }
        }
    }

    /// The next event of this name (`oauth`, `oauthTokens` for `customns`), skipping others.
    pub(crate) async fn event(&mut self, event: &str, key: Option<&str>) -> Value {
        loop {
            let frame = self.next().await;
            assert!(frame.get("close").is_none(), "closed while waiting for {event}: {frame}");
            if frame["event"] == event && frame.get("key").and_then(Value::as_str) == key {
                return frame;
            }
        }
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Acknowledges an event.
    pub(crate) async fn ack(&mut self, event: &Value) {
        self.send(&json!({"type": "ack", "slot": event["slot"], "version": event["version"]})).await;
    }

    /// Sends anything.
    pub(crate) async fn raw(&mut self, message: Message) {
        // The service may have closed already, which is what some tests wait for.
        let _ = self.socket.send(message).await;
    }
}
