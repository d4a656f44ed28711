use std::{future::Future, net::TcpListener};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use futures_util::{SinkExt as _, StreamExt as _, future::LocalBoxFuture};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        http::{Response, header::SEC_WEBSOCKET_EXTENSIONS},
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::*;
use crate::{
    domain::json::Object,
    relay::{
        CallOutcome, RelaySettings,
        fixture::{Bench, HOME, Slot},
        protocol::SUBPROTOCOL,
    },
};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_secs(20);

struct Echo;

impl SlotCalls for Echo {
    fn settings(&self, _: SlotAddress, patch: Object) -> LocalBoxFuture<'static, CallOutcome> {
        Box::pin(std::future::ready(Ok(patch)))
    }

    fn token(&self, _: SlotAddress) -> LocalBoxFuture<'static, CallOutcome> {
        Box::pin(std::future::ready(Ok(Object::new())))
    }
}

/// The relay behind an HTTP server on a free port.
struct Served {
    bench: Arc<Bench>,
    url: String,
    server: ServerHandle,
}

impl Served {
    fn start(slots: impl IntoIterator<Item = Slot>, settings: RelaySettings) -> Self {
        Self::start_for(Bench::new(slots, settings), Duration::from_hours(1))
    }

    fn start_for(bench: Bench, life: Duration) -> Self {
        let bench = Arc::new(bench);
        let data = web::Data::from(Arc::clone(&bench));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/relay", listener.local_addr().unwrap());
        let upgrade = move |bench: web::Data<Bench>, request: HttpRequest, body: web::Payload| async move {
            let Ok(admission) = bench.relay.admit(HOME) else {
                return Ok(HttpResponse::TooManyRequests().finish());
            };
            let access = RelayAccess { expires_at: bench.relay.clock().now() + life, ..bench.access() };
            let hang_up = request.conn_data::<HangUp>().cloned();
            let (response, session, stream) =
                actix_ws::handle_with_protocols(&request, body, &[SUBPROTOCOL])?;
            let socket = Socket { session, stream, hang_up };
            actix_web::rt::spawn(bench.relay.clone().serve(admission, access, Arc::new(Echo), socket));
            Ok::<_, actix_web::Error>(response)
        };
        let app = move || App::new().app_data(data.clone()).route("/relay", web::get().to(upgrade));
        let server = HttpServer::new(app).on_connect(HangUp::remember).workers(1).disable_signals();
        // So long that what ends does not end by it.
        let server = server.client_disconnect_timeout(Duration::from_hours(1));
        let server = server.listen(listener).unwrap().run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { bench, url, server: handle }
    }

    async fn connect(&self) -> Client {
        Box::pin(self.shake_hands(None)).await.0
    }

    async fn shake_hands(&self, extension: Option<&'static str>) -> (Client, Response<Option<Vec<u8>>>) {
        let mut request = self.url.as_str().into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        if let Some(extension) = extension {
            request.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, extension.parse().unwrap());
        }
        soon(Box::pin(connect_async(request))).await.unwrap()
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// The next frame; pings are left to the library.
async fn frame(client: &mut Client) -> Value {
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
async fn event(client: &mut Client) -> String {
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
async fn close_code(client: &mut Client) -> u16 {
    loop {
        match soon(client.next()).await {
            Some(Ok(Message::Close(Some(close)))) => return close.code.into(),
            Some(Ok(_)) => {}
            other => panic!("a close frame, not {other:?}"),
        }
    }
}

async fn say(client: &mut Client, value: Value) {
    soon(client.send(Message::text(value.to_string()))).await.unwrap();
}

fn quick() -> RelaySettings {
    let short = Duration::from_millis(20);
    RelaySettings { poll: short, reconnect_spread: Duration::from_secs(2), ..RelaySettings::default() }
}

#[actix_web::test]
async fn a_connection_is_brought_to_the_newest_state_and_an_ack_is_kept() {
    let served = Served::start([Slot { acked: 1, ..Slot::linked() }], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await, json!({"type": "hello", "heartbeat": 30}));
    assert_eq!(event(&mut client).await, "ecobee 1 customns/oauth");
    let tokens = frame(&mut client).await;
    assert_eq!((&tokens["event"], &tokens["version"]), (&json!("oauth"), &json!(2)));
    assert_eq!(tokens["data"]["refresh_token"], "slot-handle");

    for version in [99, 2] {
        say(&mut client, json!({"type": "ack", "slot": "ecobee", "version": version})).await;
    }
    say(&mut client, json!({"type": "settings", "slot": "ecobee", "id": 1, "patch": {"scope": "x"}})).await;
    let reply = json!({"type": "reply", "id": 1, "ok": true, "data": {"scope": "x"}});
    assert_eq!(frame(&mut client).await, reply);
    assert_eq!(served.bench.database.acked("ecobee"), 2);

    served.bench.database.put(Slot { acked: 2, version: 3, tokens_version: 3, ..Slot::linked() });
    served.bench.knock("ecobee");
    assert_eq!(event(&mut client).await, "ecobee 3 customns/oauthTokens");
}

#[actix_web::test]
async fn without_any_knock_the_slow_poll_finds_changes_and_deletions() {
    let served = Served::start([Slot::at("a", 1)], quick());
    let slowly = actix_web::rt::spawn(served.bench.relay.clone().poll_slowly());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    assert_eq!(event(&mut client).await, "a 1 customns/oauth");
    served.bench.database.put(Slot::at("a", 2));
    assert_eq!(event(&mut client).await, "a 2 customns/oauth");
    served.bench.database.delete("a");
    assert_eq!(event(&mut client).await, "a 3 unlinked");
    served.bench.database.put(Slot::at("b", 1));
    assert_eq!(event(&mut client).await, "b 1 customns/oauth");
    slowly.abort();
}

#[actix_web::test]
async fn after_missed_knocks_a_connection_finds_what_changed() {
    let served = Served::start([Slot::at("a", 1), Slot::at("b", 1)], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    assert_eq!(event(&mut client).await, "a 1 customns/oauth");
    assert_eq!(event(&mut client).await, "b 1 customns/oauth");
    served.bench.database.put(Slot::at("b", 2));
    // More different slots than a doorbell remembers apart.
    (0..100).for_each(|slot| served.bench.knock(&format!("slot-{slot}")));
    assert_eq!(event(&mut client).await, "b 2 customns/oauth");
}

#[actix_web::test]
async fn h06_a_message_of_65_kib_is_closed_as_too_big_and_one_of_64_is_not() {
    let served = Served::start([], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    soon(client.send(Message::text("x".repeat(64 * 1024)))).await.unwrap();
    assert_eq!(frame(&mut client).await["code"], "invalid_json");
    soon(client.send(Message::text("x".repeat(65 * 1024)))).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1009);
}

#[actix_web::test]
async fn h06_a_flood_of_pings_is_closed() {
    let served = Served::start([], quick());
    let client = served.connect().await;
    let (mut output, input) = client.split();
    let flood = async move {
        for _ in 0..10_000 {
            if output.send(Message::Ping("x".into())).await.is_err() {
                return;
            }
        }
    };
    let closed = input.filter_map(|message| {
        std::future::ready(match message {
            Ok(Message::Close(close)) => Some(close.map(|close| u16::from(close.code))),
            Ok(_) => None,
            Err(_) => Some(None),
        })
    });
    let first = async { std::pin::pin!(closed).next().await };
    let ((), close) = soon(async { tokio::join!(flood, first) }).await;
    assert_eq!(close.flatten(), Some(4429));
    soon(served.bench.relay.drained()).await;
}

#[actix_web::test]
async fn h06_endless_fragments_are_closed() {
    let served = Served::start([], quick());
    let mut client = served.connect().await;
    let part = |code| Message::Frame(Frame::message("", OpCode::Data(code), false));
    soon(client.send(part(Data::Text))).await.unwrap();
    for _ in 0..300 {
        soon(client.feed(part(Data::Continue))).await.unwrap();
    }
    soon(client.flush()).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1009);
}

#[actix_web::test]
async fn a_binary_message_is_closed() {
    let served = Served::start([], quick());
    let mut client = served.connect().await;
    soon(client.send(Message::binary("x"))).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1003);
}

#[actix_web::test]
async fn h07_compression_is_offered_and_not_accepted() {
    let served = Served::start([], quick());
    let (mut client, response) = served.shake_hands(Some("permessage-deflate; client_max_window_bits")).await;
    assert!(response.headers().get(SEC_WEBSOCKET_EXTENSIONS).is_none());
    assert_eq!(frame(&mut client).await["type"], "hello");
}

#[actix_web::test]
async fn h11_a_client_that_never_reads_is_dropped_and_another_gets_its_events() {
    const BIG: &str = include_str!("../../Cargo.lock");
    let short = Duration::from_millis(100);
    let served = Served::start([], RelaySettings { send: short, linger: short, ..quick() });
    let deaf = served.connect().await;
    let mut reader = served.connect().await;
    assert_eq!(frame(&mut reader).await["type"], "hello");
    let configuration: &'static str = json!({ "big": BIG }).to_string().leak();
    let mut version = 0;
    while served.bench.relay.connections.devices().len() == 1 && served.bench.relay.connections.count() == 2 {
        version += 1;
        served.bench.database.put(Slot { configuration, ..Slot::at("a", version) });
        served.bench.knock("a");
        assert_eq!(event(&mut reader).await, format!("a {version} customns/oauth"));
        assert!(version < 2000, "it is never dropped");
    }
    say(&mut reader, json!({"type": "token", "slot": "a", "id": 1})).await;
    assert_eq!(frame(&mut reader).await["type"], "reply");
    drop(reader);
    soon(served.bench.relay.drained()).await;
    // The deaf client still holds its end, and the server has nevertheless let go of it.
    soon(served.server.stop(true)).await;
    drop(deaf);
}

#[actix_web::test]
async fn h08_a_silent_peer_is_pinged_and_dropped() {
    let served = Served::start([], RelaySettings { heartbeat: Duration::from_millis(100), ..quick() });
    // It never reads, so its library never answers a ping.
    let silent = served.connect().await;
    soon(served.bench.relay.drained()).await;
    drop(silent);
}

#[actix_web::test]
async fn h04_a_revoked_or_expired_token_closes_its_connection() {
    let served = Served::start([], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    served.bench.standing.revoke();
    assert_eq!(close_code(&mut client).await, 4401);
    let mut late = served.connect().await;
    let first = soon(late.next()).await.unwrap().unwrap();
    assert!(matches!(first, Message::Close(Some(close)) if u16::from(close.code) == 4401));

    let served = Served::start_for(Bench::new([], quick()), Duration::from_millis(50));
    assert_eq!(close_code(&mut served.connect().await).await, 4401);
}

#[actix_web::test]
async fn h04_a_connection_ends_as_soon_as_both_have_said_so_whoever_begins() {
    let served = Served::start([], quick());
    let (mut leaves, mut told) = (served.connect().await, served.connect().await);
    for client in [&mut leaves, &mut told] {
        assert_eq!(frame(client).await["type"], "hello");
    }
    soon(leaves.close(None)).await.unwrap();
    assert_eq!(soon(leaves.next()).await.unwrap().unwrap(), Message::Close(None));
    served.bench.standing.revoke();
    assert_eq!(close_code(&mut told).await, 4401);
    for mut client in [leaves, told] {
        assert!(soon(client.next()).await.is_none());
    }
}

#[actix_web::test]
async fn a_server_that_goes_away_says_goodbye_and_when_to_come_back() {
    let served = Served::start([], quick());
    let mut client = served.connect().await;
    assert_eq!(frame(&mut client).await["type"], "hello");
    served.bench.drain.cancel();
    let goodbye = json!({"type": "goodbye", "reason": "draining", "reconnect_after_ms": 1503});
    assert_eq!(frame(&mut client).await, goodbye);
    assert_eq!(close_code(&mut client).await, 1012);
    soon(served.bench.relay.drained()).await;
}

#[actix_web::test]
async fn a_connection_that_can_be_told_nothing_is_closed() {
    let served = Served::start([], quick());
    served.bench.database.go_away();
    assert_eq!(close_code(&mut served.connect().await).await, 1011);
}
