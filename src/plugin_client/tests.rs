//! The client against a broker of a few lines: it hands out tokens and plays one script a connection.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::HeaderValue,
        protocol::CloseFrame,
    },
};

use super::*;
use crate::seams::{SystemClock, SystemEntropy};

const LIMIT: Duration = Duration::from_secs(20);

/// What the broker does on one connection.
enum Step {
    Send(&'static str),
    ExpectAck(&'static str),
    Close(u16),
}

struct Broker {
    listener: TcpListener,
    scripts: VecDeque<Vec<Step>>,
    tokens: u32,
    /// The `Authorization` of each handshake.
    seen: Vec<String>,
}

impl Broker {
    async fn new(scripts: impl Into<VecDeque<Vec<Step>>>) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self { listener, scripts: scripts.into(), tokens: 0, seen: Vec::new() }, address)
    }

    /// Plays all scripts, then tells what it has seen.
    async fn play(mut self) -> (u32, Vec<String>) {
        while !self.scripts.is_empty() {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let mut first = [0; 5];
            stream.peek(&mut first).await.unwrap();
            if first.starts_with(b"POST") {
                self.tokens += 1;
                let body = format!(r#"{{"access_token":"token-{}","expires_in":3600}}"#, self.tokens);
                answer(&mut stream, "200 OK", &body).await;
                continue;
            }
            let script = self.scripts.pop_front().unwrap();
            let socket = self.shake_hands(stream).await;
            perform(socket, script).await;
        }
        (self.tokens, self.seen)
    }

    async fn shake_hands(&mut self, stream: TcpStream) -> WebSocketStream<TcpStream> {
        let seen = Mutex::new(&mut self.seen);
        #[allow(clippy::result_large_err, reason = "the library's signature")]
        let protocol = |request: &Request, mut response: Response| {
            let header = |name| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(header("sec-websocket-protocol"), "cloudlink.v1");
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(header("authorization"));
            let chosen = HeaderValue::from_static("cloudlink.v1");
            response.headers_mut().insert("sec-websocket-protocol", chosen);
            Ok(response)
        };
        accept_hdr_async(stream, protocol).await.unwrap()
    }
}

async fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let mut request = vec![0; 16 * 1024];
    let _ = stream.read(&mut request).await.unwrap();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn perform(mut socket: WebSocketStream<TcpStream>, script: Vec<Step>) {
    for step in script {
        match step {
            Step::Send(frame) => socket.send(Message::text(frame)).await.unwrap(),
            Step::ExpectAck(expected) => {
                let message = timeout(LIMIT, socket.next()).await.unwrap().unwrap().unwrap();
                assert_eq!(message.into_text().unwrap().as_str(), expected);
            }
            Step::Close(code) => {
                socket.close(Some(CloseFrame { code: code.into(), reason: "".into() })).await.unwrap();
            }
        }
    }
    // Until the client has closed, too.
    while let Ok(Some(Ok(_))) = timeout(LIMIT, socket.next()).await {}
}

/// Writes down what it hears and stops the client after so many acknowledgements.
struct Notes {
    heard: Vec<String>,
    acks: u32,
    stop: CancellationToken,
}

impl Listener for Notes {
    fn hear(&mut self, news: News<'_>) -> io::Result<()> {
        self.heard.push(match news {
            News::Connected => "connected".to_owned(),
            News::Event(event) => format!("event {}", event.version().0),
            News::Acknowledged(_, version) => {
                self.acks -= 1;
                if self.acks == 0 {
                    self.stop.cancel();
                }
                format!("acknowledged {}", version.0)
            }
            News::Interrupted { reason, .. } => reason,
        });
        Ok(())
    }
}

fn client(address: SocketAddr) -> PluginClient {
    let (key, _, _) = DeviceKey::make(&SystemEntropy).unwrap();
    PluginClient {
        server: format!("http://{address}").parse().unwrap(),
        device: DeviceId::draw(&SystemEntropy),
        slot: Some("s".parse().unwrap()),
        key: Arc::new(key),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    }
}

async fn heard(address: SocketAddr, acks: u32) -> Vec<String> {
    let stop = CancellationToken::new();
    let mut notes = Notes { heard: Vec::new(), acks, stop: stop.clone() };
    timeout(LIMIT, client(address).run(&mut notes, &stop)).await.unwrap().unwrap();
    notes.heard
}

const CONFIGURATION: &str =
    r#"{"type":"event","slot":"s","version":1,"event":"customns","key":"oauth","data":{}}"#;
const TOKENS: &str = r#"{"type":"event","slot":"s","version":2,"event":"oauth","data":{"access_token":"t"}}"#;
const NEVER_ACKNOWLEDGED: &str =
    r#"{"type":"event","slot":"s","version":0,"event":"customns","key":"oauth","data":{}}"#;
const ACK_1: &str = r#"{"type":"ack","slot":"s","version":1}"#;
const ACK_2: &str = r#"{"type":"ack","slot":"s","version":2}"#;

#[tokio::test]
async fn each_event_is_heard_and_then_acknowledged_but_an_old_version_needs_no_ack() {
    let script = vec![
        Step::Send(r#"{"type":"hello","heartbeat":30}"#),
        Step::Send(NEVER_ACKNOWLEDGED),
        Step::Send(CONFIGURATION),
        Step::ExpectAck(ACK_1),
        Step::Send(CONFIGURATION),
        Step::Send(TOKENS),
        Step::ExpectAck(ACK_2),
    ];
    let (broker, address) = Broker::new([script]).await;
    let ((_, seen), heard) = tokio::join!(broker.play(), heard(address, 2));
    assert_eq!(
        heard,
        ["connected", "event 0", "event 1", "acknowledged 1", "event 1", "event 2", "acknowledged 2"]
    );
    assert_eq!(seen, ["Bearer token-1"]);
}

#[tokio::test]
async fn what_was_heard_is_acknowledged_whatever_was_acknowledged_before() {
    let script = [TOKENS, CONFIGURATION]
        .into_iter()
        .zip([ACK_2, ACK_1])
        .flat_map(|(frame, ack)| [Step::Send(frame), Step::ExpectAck(ack)]);
    let (broker, address) = Broker::new([script.collect::<Vec<_>>()]).await;
    let (_, heard) = tokio::join!(broker.play(), heard(address, 2));
    assert_eq!(heard, ["connected", "event 2", "acknowledged 2", "event 1", "acknowledged 1"]);
}

#[tokio::test]
async fn after_4401_the_next_connection_has_a_new_token() {
    let scripts = [vec![Step::Close(4401)], vec![Step::Send(TOKENS), Step::ExpectAck(ACK_2)]];
    let (broker, address) = Broker::new(scripts).await;
    let ((tokens, seen), heard) = tokio::join!(broker.play(), heard(address, 1));
    assert_eq!(
        (tokens, seen.as_slice()),
        (2, &["Bearer token-1".to_owned(), "Bearer token-2".to_owned()][..])
    );
    assert_eq!(heard.get(1).map(String::as_str), Some("the access token is not valid any more"));
}

#[tokio::test]
async fn after_a_restart_the_token_is_used_again_and_an_ack_that_was_lost_is_repeated() {
    let scripts = [
        vec![
            Step::Send(r#"{"type":"goodbye","reason":"draining","reconnect_after_ms":1}"#),
            Step::Close(1012),
        ],
        vec![Step::Send(TOKENS), Step::Close(1001)],
        vec![Step::Send(TOKENS), Step::ExpectAck(ACK_2)],
    ];
    let (broker, address) = Broker::new(scripts).await;
    let ((tokens, _), heard) = tokio::join!(broker.play(), heard(address, 2));
    assert_eq!(tokens, 1, "one token for all connections");
    assert!(heard.iter().any(|line| line == "the server is restarting"), "{heard:?}");
    assert_eq!(heard.iter().filter(|line| *line == "acknowledged 2").count(), 2, "{heard:?}");
}

#[tokio::test]
async fn an_event_that_could_not_be_taken_stays_unacknowledged() {
    struct Full;
    impl Listener for Full {
        fn hear(&mut self, news: News<'_>) -> io::Result<()> {
            if matches!(news, News::Event(_)) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }
    let (broker, address) = Broker::new([vec![Step::Send(TOKENS)]]).await;
    let client = client(address);
    let stop = CancellationToken::new();
    let mut full = Full;
    let (_, ended) = tokio::join!(broker.play(), timeout(LIMIT, client.run(&mut full, &stop)));
    assert!(matches!(ended.unwrap(), Err(ClientError::Listener(_))));
}

#[tokio::test]
async fn a_listener_that_takes_events_later_acknowledges_them_when_it_has() {
    struct Later {
        taken: mpsc::Receiver<(SlotName, Version)>,
        heard: mpsc::Sender<String>,
    }
    impl Listener for Later {
        fn hear(&mut self, news: News<'_>) -> io::Result<()> {
            let line = match news {
                News::Event(event) => format!("event {}", event.version().0),
                News::Acknowledged(_, version) => format!("acknowledged {}", version.0),
                News::Connected | News::Interrupted { .. } => return Ok(()),
            };
            self.heard.try_send(line).map_err(io::Error::other)
        }
        fn takes_later(&mut self) -> Option<&mut mpsc::Receiver<(SlotName, Version)>> {
            Some(&mut self.taken)
        }
    }
    let script =
        vec![Step::Send(CONFIGURATION), Step::Send(TOKENS), Step::ExpectAck(ACK_2), Step::Close(1001)];
    let (broker, address) = Broker::new([script]).await;
    let (sender, taken) = mpsc::channel(4);
    let (heard, mut lines) = mpsc::channel(8);
    let (client, stop) = (client(address), CancellationToken::new());
    let mut later = Later { taken, heard };
    let taking = async {
        let mut seen = Vec::new();
        while let Some(line) = lines.recv().await {
            let acknowledged = line.starts_with("acknowledged");
            seen.push(line);
            if seen.len() == 2 {
                // Both versions, of which the first is covered by the second.
                for version in [2, 1] {
                    sender.send(("s".parse().unwrap(), Version(version))).await.unwrap();
                }
            }
            if acknowledged {
                stop.cancel();
                break;
            }
        }
        seen
    };
    let (_, ended, seen) = tokio::join!(broker.play(), timeout(LIMIT, client.run(&mut later, &stop)), taking);
    ended.unwrap().unwrap();
    assert_eq!(seen, ["event 1", "event 2", "acknowledged 2"]);
}

#[tokio::test]
async fn a_device_that_is_refused_ends_the_client_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refusing = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, "400 Bad Request", r#"{"error":"invalid_grant"}"#).await;
    };
    let client = client(address);
    let stop = CancellationToken::new();
    let mut notes = Notes { heard: Vec::new(), acks: 0, stop: stop.clone() };
    let ((), ended) = tokio::join!(refusing, timeout(LIMIT, client.run(&mut notes, &stop)));
    let error = ended.unwrap().unwrap_err().to_string();
    assert!(error.contains("invalid_grant") && error.contains("trusted keys"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_tried_again_until_told_to_stop() {
    struct Patient(CancellationToken, u32);
    impl Listener for Patient {
        fn hear(&mut self, news: News<'_>) -> io::Result<()> {
            if let News::Interrupted { reason, .. } = news {
                assert!(reason.contains("can't be reached"), "{reason}");
                self.1 += 1;
                if self.1 == 3 {
                    self.0.cancel();
                }
            }
            Ok(())
        }
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let stop = CancellationToken::new();
    let mut patient = Patient(stop.clone(), 0);
    timeout(LIMIT, client(address).run(&mut patient, &stop)).await.unwrap().unwrap();
    assert_eq!(patient.1, 3);
}
