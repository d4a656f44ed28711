//! The relay behind a listener on a free port, over either transport, and a client of it.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use futures_util::{SinkExt as _, StreamExt as _, future::BoxFuture};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        handshake::derive_accept_key,
        http::{Response, header::SEC_WEBSOCKET_EXTENSIONS},
    },
};
use tokio_util::task::TaskTracker;

use super::{
    CallOutcome, HangUp, RelayAccess, RelaySettings, SlotCalls, Upgraded, WebSocket, Wire,
    fixture::{Bench, HOME, Slot},
    protocol::SUBPROTOCOL,
};
use crate::domain::{ids::SlotAddress, json::Object};

pub(super) type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// More than anything takes that ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What carries the connections.
#[derive(Debug, Clone, Copy)]
pub(super) enum Carrier {
    Upgraded,
    Wire,
}

struct Echo;

impl SlotCalls for Echo {
    fn settings(&self, _: SlotAddress, patch: Object) -> BoxFuture<'static, CallOutcome> {
        Box::pin(std::future::ready(Ok(patch)))
    }

    fn token(&self, _: SlotAddress) -> BoxFuture<'static, CallOutcome> {
        Box::pin(std::future::ready(Ok(Object::new())))
    }
}

pub(super) struct Served {
    pub(super) bench: Arc<Bench>,
    url: String,
    server: Server,
}

enum Server {
    Http(ServerHandle),
    Own(TaskTracker),
}

impl Served {
    pub(super) fn start(
        carrier: Carrier,
        slots: impl IntoIterator<Item = Slot>,
        settings: RelaySettings,
    ) -> Self {
        Self::start_for(carrier, Bench::new(slots, settings), Duration::from_hours(1))
    }

    pub(super) fn start_for(carrier: Carrier, bench: Bench, life: Duration) -> Self {
        let bench = Arc::new(bench);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/relay", listener.local_addr().unwrap());
        let server = match carrier {
            Carrier::Upgraded => Server::Http(upgrading(listener, &bench, life)),
            Carrier::Wire => Server::Own(accepting(listener, Arc::clone(&bench), life)),
        };
        Self { bench, url, server }
    }

    /// Ends the server, once it has let go of every connection.
    pub(super) async fn stop(self) {
        match self.server {
            Server::Http(handle) => handle.stop(true).await,
            Server::Own(connections) => {
                connections.close();
                connections.wait().await;
            }
        }
    }

    pub(super) async fn connect(&self) -> Client {
        Box::pin(self.shake_hands(None)).await.0
    }

    pub(super) async fn shake_hands(
        &self,
        extension: Option<&'static str>,
    ) -> (Client, Response<Option<Vec<u8>>>) {
        let mut request = self.url.as_str().into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        if let Some(extension) = extension {
            request.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, extension.parse().unwrap());
        }
        soon(Box::pin(connect_async(request))).await.unwrap()
    }

    /// A connection whose client says what a test wants, byte by byte.
    pub(super) async fn bare(&self) -> TcpStream {
        let mut client =
            TcpStream::connect(&self.url["ws://".len()..self.url.len() - "/relay".len()]).await.unwrap();
        let head = format!(
            "GET /relay HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: {SUBPROTOCOL}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        read_head(&mut client).await;
        client
    }
}

fn access(bench: &Bench, life: Duration) -> RelayAccess {
    RelayAccess { expires_at: bench.relay.clock().now() + life, ..bench.access() }
}

fn upgrading(listener: TcpListener, bench: &Arc<Bench>, life: Duration) -> ServerHandle {
    let data = web::Data::from(Arc::clone(bench));
    let upgrade = move |bench: web::Data<Bench>, request: HttpRequest, body: web::Payload| async move {
        let Ok(admission) = bench.relay.admit(HOME) else {
            return HttpResponse::TooManyRequests().finish();
        };
        let places = (bench.relay.handshake().await.unwrap(), admission);
        let hang_up = request.conn_data::<HangUp>().cloned();
        let key = request.headers().get("sec-websocket-key").unwrap();
        let (upgraded, answer) = Upgraded::new(body, hang_up);
        let (relay, access) = (bench.relay.clone(), access(&bench, life));
        actix_web::rt::spawn(relay.serve(
            places,
            access,
            Arc::new(Echo),
            WebSocket::new(upgraded, Vec::new()),
        ));
        let mut response = HttpResponse::SwitchingProtocols();
        response.upgrade("websocket").insert_header(("sec-websocket-protocol", SUBPROTOCOL));
        response.insert_header(("sec-websocket-accept", derive_accept_key(key.as_bytes())));
        response.body(answer)
    };
    let app = move || App::new().app_data(data.clone()).route("/relay", web::get().to(upgrade));
    let server = HttpServer::new(app).on_connect(HangUp::remember).workers(1).disable_signals();
    // So long that what ends does not end by it.
    let server = server.client_disconnect_timeout(Duration::from_hours(1));
    let server = server.listen(listener).unwrap().run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    handle
}

fn accepting(listener: TcpListener, bench: Arc<Bench>, life: Duration) -> TaskTracker {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let connections = TaskTracker::new();
    let tracker = connections.clone();
    actix_web::rt::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bench = Arc::clone(&bench);
            connections.spawn(async move {
                let Ok(admission) = bench.relay.admit(HOME) else { return };
                let places = (bench.relay.handshake().await.unwrap(), admission);
                let head = read_head(&mut stream).await;
                let key = head.lines().find(|line| line.to_lowercase().starts_with("sec-websocket-key:"));
                let accept = derive_accept_key(key.unwrap().split(": ").nth(1).unwrap().as_bytes());
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     sec-websocket-accept: {accept}\r\nsec-websocket-protocol: {SUBPROTOCOL}\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                let (relay, access) = (bench.relay.clone(), access(&bench, life));
                let socket = WebSocket::new(Wire::new(stream), Vec::new());
                relay.serve(places, access, Arc::new(Echo), socket).await;
            });
        }
    });
    tracker
}

/// Up to the empty line.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// The next frame; pings are left to the library.
pub(super) async fn frame(client: &mut Client) -> Value {
    loop {
        match soon(client.next()).await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other @ (Message::Binary(_) | Message::Close(_) | Message::Frame(_)) => {
                panic!("a text frame, not {other:?}")
            }
        }
    }
}

/// `slot version event` of the next frame.
pub(super) async fn event(client: &mut Client) -> String {
    let event = frame(client).await;
    let key = event["key"].as_str().map(|key| format!("/{key}")).unwrap_or_default();
    format!(
        "{} {} {}{key}",
        event["slot"].as_str().unwrap(),
        event["version"],
        event["event"].as_str().unwrap()
    )
}

/// The code the connection is closed with, whatever came before.
pub(super) async fn close_code(client: &mut Client) -> u16 {
    loop {
        match soon(client.next()).await {
            Some(Ok(Message::Close(Some(close)))) => return close.code.into(),
            Some(Ok(_)) => {}
            other => panic!("a close frame, not {other:?}"),
        }
    }
}

pub(super) async fn say(client: &mut Client, value: Value) {
    soon(client.send(Message::text(value.to_string()))).await.unwrap();
}

pub(super) fn quick() -> RelaySettings {
    let short = Duration::from_millis(20);
    RelaySettings { poll: short, reconnect_spread: Duration::from_secs(2), ..RelaySettings::default() }
}

/// Each story, told over both transports: two tests of one.
macro_rules! over_both {
    ($($name:ident)*) => {
        mod upgraded {
            use super::Carrier;
            $(#[actix_web::test] async fn $name() { super::$name(Carrier::Upgraded).await; })*
        }
        mod wire {
            use super::Carrier;
            $(#[actix_web::test] async fn $name() { super::$name(Carrier::Wire).await; })*
        }
    };
}
pub(super) use over_both;
