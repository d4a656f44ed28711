//! Homes: devices with a slot each, an access token, and a connection of the relay.

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cloudlink::{domain::clock::Clock as _, seams::SystemClock};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use uuid::Uuid;

use crate::{server::OWNER, wire::Connection};

/// The slot of each home.
pub(crate) const SLOT: &str = "heating";
const JWT_BEARER: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";

/// A device with its slot.
#[derive(Clone)]
pub(crate) struct Home {
    /// Its path, up to the slot.
    pub(crate) path: String,
    /// The line of a request's head that says who calls.
    pub(crate) authorization: String,
}

/// A home that listens.
pub(crate) struct Listening {
    pub(crate) home: Home,
    socket: WebSocketStream<TcpStream>,
}

/// Stores the plugin, and enrols that many homes with it.
pub(crate) async fn enrol(pool: &PgPool, host: &str, provider: &str, count: usize) -> Result<Vec<Home>> {
    let mut connection = Connection::to(host).await?;
    let owner = format!("authorization: Basic {}\r\ncontent-type: application/json\r\n", OWNER.1);
    let configuration = json!({
        "name": "Acme Thermostats", "client_id": "the-client", "client_secret": "the-secret",
        "scope": "read write", "auth_endpoint": format!("{provider}/authorize"),
        "token_endpoint": format!("{provider}/token"), "addRedirect": true,
    });
    let stored = connection.call("PUT", "/api/plugins/acme", &owner, &configuration.to_string()).await?;
    ensure!(matches!(stored.status, 200 | 201), "the plugin is answered by {}", stored.status);

    // By hand: to hash a password for each would take most of the time.
    let devices: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    let statement = "-- bench_devices
        insert into devices (id, name, password_hash, created_at)
        select id, 'A hub', 'no password', $2 from unnest($1) as id";
    sqlx::query(statement).bind(&devices).bind(SystemClock.now()).execute(pool).await?;

    let key = Ed25519KeyPair::generate().ok().context("no key")?;
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key.public_key())});
    let mut homes = Vec::with_capacity(count);
    for device in devices {
        let keys = format!("/api/devices/{device}/keys");
        let body = json!({"label": "hub", "public_key": jwk}).to_string();
        connection.expect(201, ("POST", &keys), &owner, &body).await?;
        let token = token(&mut connection, device, &key, host).await?;
        let path = format!("/api/devices/{device}/slots/{SLOT}");
        let authorization = format!("authorization: Bearer {token}\r\n");
        let head = format!("{authorization}content-type: application/json\r\n");
        connection.expect(201, ("PUT", &path), &head, r#"{"plugin":"acme"}"#).await?;
        homes.push(Home { path, authorization });
    }
    Ok(homes)
}

/// Trades an assertion for an access token.
async fn token(
    connection: &mut Connection,
    device: Uuid,
    key: &Ed25519KeyPair,
    host: &str,
) -> Result<String> {
    let now = SystemClock.now().unix_timestamp();
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "EdDSA"}).to_string());
    let claims = json!({"iss": device, "sub": device, "aud": format!("http://{host}/api/token"),
        "iat": now, "exp": now + 60, "jti": Uuid::new_v4()});
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    let form = format!("grant_type={JWT_BEARER}&assertion={signed}.{signature}");
    let head = "content-type: application/x-www-form-urlencoded\r\n";
    let answer = connection.expect(200, ("POST", "/api/token"), head, &form).await?;
    Ok(answer.json()?["access_token"].as_str().context("no access token")?.to_owned())
}

impl Listening {
    /// Attaches a home to the relay and takes the hello.
    pub(crate) async fn attach(home: &Home, host: &str) -> Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{host}/api/cloudlink/relay").into_client_request()?;
        let token = home.authorization.trim().trim_start_matches("authorization: ");
        request.headers_mut().insert("authorization", token.parse()?);
        request.headers_mut().insert("sec-websocket-protocol", "cloudlink.v1".parse()?);
        let (socket, _) = client_async(request, stream).await?;
        let mut listening = Self { home: home.clone(), socket };
        let hello = listening.next().await?;
        ensure!(hello["type"] == "hello", "this is no hello: {hello}");
        Ok(listening)
    }

    /// Waits for the event of a consent and acknowledges it.
    pub(crate) async fn take_consent(&mut self) -> Result<()> {
        loop {
            let frame = self.next().await?;
            if frame["event"] == "oauth" {
                let ack = json!({"type": "ack", "slot": SLOT, "version": frame["version"]});
                return Ok(self.socket.send(Message::text(ack.to_string())).await?);
            }
        }
    }

    async fn next(&mut self) -> Result<Value> {
        loop {
            match self.socket.next().await.context("the relay hung up")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => anyhow::bail!("the relay closed: {frame:?}"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}
