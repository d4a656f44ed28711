//! A provider's token endpoint that answers as told and remembers what it was asked. The authorization endpoint
//! is the test itself: it reads the URL that the browser is sent to and makes up the callback.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};
use url::form_urlencoded;

use super::within;

/// What the token endpoint answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A status and JSON.
    Json(u16, Value),
    /// Bytes as they are, then the connection is closed.
    Raw(Vec<u8>),
    /// Nothing, until the caller goes away.
    Silence,
    /// After this time, a status and JSON.
    After(Duration, u16, Value),
    /// Once this is notified, a status and JSON.
    Held(Arc<Notify>, u16, Value),
    /// What the provider makes of the request: a status and JSON.
    Judged(Judge),
    /// The same, and the answer never arrives.
    Lost(Judge),
    /// The same, once this is notified.
    JudgedLater(Arc<Notify>, Judge),
}

/// How a provider that checks what it is asked decides.
pub(crate) type Judge = Arc<dyn Fn(&TokenRequest) -> (u16, Value) + Send + Sync>;

/// A request to the token endpoint.
#[derive(Debug, Clone)]
pub(crate) struct TokenRequest {
    /// Path and query.
    pub(crate) target: String,
    /// Headers, by lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    /// The form's members.
    pub(crate) form: BTreeMap<String, String>,
    /// The body as it came.
    pub(crate) body: String,
}

/// A running provider.
pub(crate) struct Provider {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    always: Mutex<Answer>,
    requests: watch::Sender<Vec<TokenRequest>>,
}

impl Provider {
    /// One that gives tokens: `access_token` `at-1`, `refresh_token` `rt-1`, and so on.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let always = Answer::Json(
            200,
            json!({"access_token": "at-1", "refresh_token": "rt-1", "token_type": "Bearer", "expires_in": 3600}),
        );
        let shared = Arc::new(Shared {
            answers: Mutex::default(),
            always: Mutex::new(always),
            requests: watch::Sender::new(Vec::new()),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { url, shared }
    }

    /// The next request gets this answer; without any, what [`Provider::always`] said.
    pub(crate) fn next(&self, answer: Answer) {
        self.shared.answers.lock().unwrap().push_back(answer);
    }

    /// From now on every request gets this answer.
    pub(crate) fn always(&self, answer: Answer) {
        *self.shared.always.lock().unwrap() = answer;
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<TokenRequest> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until that many requests have come.
    pub(crate) async fn asked(&self, times: usize) -> Vec<TokenRequest> {
        let mut requests = self.shared.requests.subscribe();
        let seen = within("the token request", requests.wait_for(|seen| seen.len() >= times)).await;
        seen.unwrap().clone()
    }

    /// A plugin's configuration for this provider.
    pub(crate) fn configuration(&self) -> Value {
        json!({
            "name": "Acme Thermostats",
            "client_id": "the-client",
            "client_secret": "the-secret",
            "auth_endpoint": format!("{}/authorize", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "scope": "read write",
            "addRedirect": true,
        })
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(request) = read(&mut stream).await else { return };
    shared.requests.send_modify(|requests| requests.push(request.clone()));
    let answer = shared.answers.lock().unwrap().pop_front();
    let answer = answer.unwrap_or_else(|| shared.always.lock().unwrap().clone());
    match answer {
        Answer::Json(status, value) => write(&mut stream, &http(status, &value)).await,
        Answer::Raw(bytes) => write(&mut stream, &bytes).await,
        Answer::After(time, status, value) => {
            tokio::time::sleep(time).await;
            write(&mut stream, &http(status, &value)).await;
        }
        Answer::Held(told, status, value) => {
            told.notified().await;
            write(&mut stream, &http(status, &value)).await;
        }
        Answer::Judged(judge) => {
            let (status, value) = judge(&request);
            write(&mut stream, &http(status, &value)).await;
        }
        Answer::JudgedLater(told, judge) => {
            told.notified().await;
            let (status, value) = judge(&request);
            write(&mut stream, &http(status, &value)).await;
        }
        Answer::Lost(judge) => {
            judge(&request);
            let _ = stream.read(&mut [0; 1]).await;
        }
        Answer::Silence => {
            // Ends when the caller does.
            let _ = stream.read(&mut [0; 1]).await;
        }
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    // The caller may be gone, which some tests want.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}

fn http(status: u16, value: &Value) -> Vec<u8> {
    let body = value.to_string();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn read(stream: &mut TcpStream) -> Option<TokenRequest> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&bytes[head + 4..]).into_owned();
    let form = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    Some(TokenRequest { target, headers, form, body })
}
