//! Replicas in this process, a device with a slot, and its plugin behind a WebSocket.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cloudlink::{
    bus::Bus,
    cluster::Cluster,
    config::Settings,
    domain::{
        clock::{Clock as _, draw},
        ids::SlotAddress,
    },
    seams::{SystemClock, SystemEntropy},
    startup::{Application, Seams},
};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tokio_util::sync::CancellationToken;

/// `vault.keys`.
const KEYS: &str = "bench:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const PUBLIC: &str = "http://127.0.0.1:9";
const OWNER: (&str, &str) = ("owner", "a password for the owner");
/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// A replica.
pub(crate) struct Replica {
    /// Its bus.
    pub(crate) bus: Bus,
    url: String,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<()>>,
}

/// A slot whose plugin can connect.
pub(crate) struct Home {
    /// The slot.
    pub(crate) address: SlotAddress,
    token: String,
}

/// A plugin that listens.
pub(crate) struct Plugin(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// A database of that name: its URL.
pub(crate) async fn database(cluster: &Cluster, name: &str) -> Result<String> {
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await?;
    connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
    connection.close().await?;
    Ok(cluster.url(name))
}

impl Replica {
    /// Starts one, which polls so seldom that only knocks tell.
    pub(crate) async fn start(database: &str, bus: &[(&str, &str)]) -> Result<Self> {
        let settings = [
            ("SERVER__BIND", "127.0.0.1:0"),
            ("SERVER__PUBLIC_URL", PUBLIC),
            ("ADMIN__BIND", "127.0.0.1:0"),
            ("ADMIN__PASSWORD", OWNER.1),
            ("DATABASE__URL", database),
            ("VAULT__KEYS", KEYS),
            ("RELAY__POLL_SECONDS", "300"),
            ("EGRESS__ALLOW_PRIVATE", "true"),
        ];
        let settings = settings.iter().chain(bus);
        let settings = settings.map(|(name, value)| (format!("CLOUDLINK__{name}"), (*value).to_owned()));
        let settings = Settings::load(None, settings)?;
        let application = Application::build(&settings, Seams::of_this_machine(None)).await?;
        let (url, stop) = (format!("http://{}", application.public_addr()), CancellationToken::new());
        let bus = application.bus().clone();
        let running = tokio::spawn(application.run(stop.clone()));
        Ok(Self { bus, url, stop, running })
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.running.await?
    }

    async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Value) -> Result<Value> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let request = client.request(method, format!("{}{path}", self.url));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request.basic_auth(OWNER.0, Some(OWNER.1)),
        };
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await?.error_for_status()?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }
}

impl Home {
    /// Enrols a device and installs a plugin in its slot.
    pub(crate) async fn enrol(replica: &Replica) -> Result<Self> {
        let configuration = json!({"name": "Acme Thermostats", "client_id": "the-client",
            "client_secret": "the-secret", "scope": "read write", "addRedirect": true,
            "auth_endpoint": "http://127.0.0.1:9/authorize", "token_endpoint": "http://127.0.0.1:9/token"});
        replica.call(Method::PUT, "/api/plugins/acme", None, configuration).await?;
        let device = json!({"name": "A hub", "password": "a password for the hub"});
        let device = replica.call(Method::POST, "/api/devices", None, device).await?;
        let device = device["device"].as_str().context("a device")?.to_owned();
        let key = Ed25519KeyPair::generate()?;
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key.public_key())});
        let jwk = json!({"label": "hub", "public_key": jwk});
        replica.call(Method::POST, &format!("/api/devices/{device}/keys"), None, jwk).await?;
        let token = token(replica, &device, &key).await?;
        let path = format!("/api/devices/{device}/slots/heating");
        replica.call(Method::PUT, &path, Some(&token), json!({"plugin": "acme", "variables": {}})).await?;
        let address = SlotAddress { device: device.parse()?, slot: "heating".parse()? };
        Ok(Self { address, token })
    }

    /// Its plugin connects to a replica.
    pub(crate) async fn plugin(&self, replica: &Replica) -> Result<Plugin> {
        let url = format!("{}/api/cloudlink/relay", replica.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {}", self.token).parse()?);
        headers.insert("sec-websocket-protocol", "cloudlink.v1".parse()?);
        let mut plugin = Plugin(connect_async(request).await?.0);
        while plugin.frame().await?["event"] != "customns" {}
        Ok(plugin)
    }
}

async fn token(replica: &Replica, device: &str, key: &Ed25519KeyPair) -> Result<String> {
    let now = SystemClock.now().unix_timestamp();
    let jti = URL_SAFE_NO_PAD.encode(draw::<16>(&SystemEntropy));
    let claims = json!({"iss": device, "sub": device, "aud": format!("{PUBLIC}/api/token"), "iat": now,
        "exp": now + 60, "jti": jti});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({"alg": "EdDSA"})), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={signed}.{signature}"
    );
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.post(format!("{}/api/token", replica.url));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = request.send().await?.error_for_status()?;
    let answer: Value = serde_json::from_str(&answer.text().await?)?;
    Ok(answer["access_token"].as_str().context("a token")?.to_owned())
}

impl Plugin {
    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Result<Value> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match next.context("a frame did not come")?.context("the relay hung up")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(close) => bail!("the relay closed: {close:?}"),
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Nothing but the next event, and that of this version.
    pub(crate) async fn event(&mut self, version: i64) -> Result<()> {
        let frame = self.frame().await?;
        ensure!(frame["event"] == "customns" && frame["version"] == version, "something else: {frame}");
        Ok(())
    }
}
