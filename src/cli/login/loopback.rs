//! Where the browser comes back to (RFC 8252 §7.3): one port of 127.0.0.1, open until the answer has come.
//!
//! Guarantees: only a GET of the right path with the right `state`, each parameter once, ends the wait; anything else
//! that finds the port, a page in another tab included, is turned away and changes nothing. A connection is read up
//! to a limit and for a limited time, and not one after the other: browsers open connections that stay silent.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use url::form_urlencoded;

use crate::{
    domain::secret::{AuthorizationCode, FlowState},
    terminal::printable_within,
};

const PATH: &str = "/callback";
/// The longest head of a request that is read, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
/// For one connection, from its first byte to our last.
const CONNECTION: Duration = Duration::from_secs(10);
/// Connections at once.
const MOST_CONNECTIONS: usize = 16;
/// The most characters of an `error` that are told.
const LONGEST_ERROR: usize = 60;

const DONE: &str = "You are signed in to the terminal. You can close this window.";
const REFUSED: &str = "Nobody was signed in. You can close this window; the terminal says more.";
const NOT_OURS: &str = "There is nothing here. Go back to the terminal.";

/// An open port.
pub(super) struct Loopback {
    listener: TcpListener,
    redirect_uri: String,
}

/// What the right answer has.
#[derive(Clone)]
pub(super) struct Expected {
    /// The `state` of the request.
    pub(super) state: FlowState,
    /// The server's own name (RFC 9207 §2.4).
    pub(super) issuer: String,
}

/// How the server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// With a code.
    Code(AuthorizationCode),
    /// With an error, printable.
    Refused { error: String },
    /// It was another server.
    WrongIssuer,
}

impl Loopback {
    /// Takes any free port.
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let redirect_uri = format!("http://{}{PATH}", listener.local_addr()?);
        Ok(Self { listener, redirect_uri })
    }

    /// The address for the request.
    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits for the answer, and closes the port. Whoever calls limits the time.
    pub(super) async fn answer(self, expected: &Expected) -> io::Result<Answer> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                    let (stream, _) = accepted?;
                    let expected = expected.clone();
                    connections.spawn(async move { timeout(CONNECTION, converse(stream, &expected)).await.ok()? });
                }
                Some(ended) = connections.join_next() => {
                    if let Ok(Some(answer)) = ended {
                        return Ok(answer);
                    }
                }
            }
        }
    }
}

/// Reads one request and answers it.
async fn converse(mut stream: TcpStream, expected: &Expected) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        let mut piece = [0; 2048];
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => head.extend_from_slice(piece.get(..read)?),
            _ => break,
        }
    }
    let answer = read(&head, expected);
    let (status, text) = match &answer {
        Some(Answer::Code(_)) => ("200 OK", DONE),
        Some(Answer::Refused { .. } | Answer::WrongIssuer) => ("200 OK", REFUSED),
        None => ("404 Not Found", NOT_OURS),
    };
    // The answer counts whether or not the browser waits for its page.
    let _ = stream.write_all(page(status, text).as_bytes()).await;
    let _ = stream.shutdown().await;
    answer
}

/// What a request's head means; none where it is not the browser's answer.
fn read(head: &[u8], expected: &Expected) -> Option<Answer> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let (path, query) = target.split_once('?')?;
    if method != "GET" || path != PATH || !version.starts_with("HTTP/1.") || words.next().is_some() {
        return None;
    }
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let one = |name: &str| {
        let mut values = pairs.iter().filter(|pair| pair.0 == name).map(|pair| pair.1.as_ref());
        let value = values.next()?;
        values.next().is_none().then_some(value)
    };
    if FlowState::new(one("state")?) != expected.state {
        return None;
    }
    if one("iss") != Some(expected.issuer.as_str()) {
        return Some(Answer::WrongIssuer);
    }
    match (one("code"), one("error")) {
        (Some(code), None) => Some(Answer::Code(AuthorizationCode::new(code))),
        (None, Some(error)) => Some(Answer::Refused { error: printable_within(error, LONGEST_ERROR) }),
        _ => None,
    }
}

fn page(status: &str, text: &str) -> String {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>cloudlink</title><h1>cloudlink</h1><p>{text}</p></html>\n"
    );
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         content-security-policy: default-src 'none'; frame-ancestors 'none'\r\nreferrer-policy: no-referrer\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\n\r\n{html}",
        html.len()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected() -> Expected {
        Expected { state: FlowState::new("the-state"), issuer: "https://link.example".to_owned() }
    }

    fn get(query: &str) -> String {
        format!("GET /callback?{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    }

    const GOOD: &str = "code=c%2B1&state=the-state&iss=https%3A%2F%2Flink.example";

    async fn send(port: &str, text: &str) -> String {
        let mut stream = TcpStream::connect(port).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A port that closed under it has nothing to say.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[test]
    fn the_right_answer_is_a_code_or_an_error() {
        let read = |query: &str| read(get(query).as_bytes(), &expected());
        assert_eq!(read(GOOD), Some(Answer::Code(AuthorizationCode::new("c+1"))));
        let refused = read("error=access_denied%1B%5B2J&state=the-state&iss=https%3A%2F%2Flink.example");
        assert_eq!(refused, Some(Answer::Refused { error: "access_denied[2J".to_owned() }));
    }

    #[test]
    fn b04_an_answer_of_another_server_is_none_to_believe() {
        for query in ["code=c&state=the-state&iss=https%3A%2F%2Fevil.example", "code=c&state=the-state"] {
            assert_eq!(read(get(query).as_bytes(), &expected()), Some(Answer::WrongIssuer), "{query}");
        }
    }

    #[test]
    fn c07_anything_else_is_turned_away() {
        let head = get(GOOD);
        for bad in [
            get(&GOOD.replace("the-state", "other")),
            get("code=c&iss=https%3A%2F%2Flink.example"),
            get(&format!("{GOOD}&state=the-state")),
            get(&format!("{GOOD}&code=d")),
            get(&format!("{GOOD}&error=x")),
            get("state=the-state&iss=https%3A%2F%2Flink.example"),
            head.replace("/callback", "/other"),
            head.replace("GET", "POST"),
            head.replace("HTTP/1.1", "HTTP/2"),
            head.replace(" HTTP", " x HTTP"),
            "GET /favicon.ico HTTP/1.1\r\n\r\n".to_owned(),
            "\u{16}\u{3}\u{1}".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(bad.as_bytes(), &expected()), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn whoever_comes_first_the_right_one_is_waited_for_and_then_the_port_is_closed() {
        let loopback = Loopback::bind().await.unwrap();
        let port = loopback.redirect_uri().trim_start_matches("http://").trim_end_matches(PATH).to_owned();
        let waiting = tokio::spawn(async move { loopback.answer(&expected()).await.unwrap() });
        let silent = TcpStream::connect(&port).await.unwrap();
        for bad in ["rubbish\r\n\r\n".to_owned(), get(&GOOD.replace("the-state", "other"))] {
            let answer = send(&port, &bad).await;
            assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("nothing here"), "{answer}");
        }
        let answer = send(&port, &get(GOOD)).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("You can close this window"),
            "{answer}"
        );
        assert!(answer.contains("no-store") && !answer.contains("c+1"), "{answer}");
        assert_eq!(waiting.await.unwrap(), Answer::Code(AuthorizationCode::new("c+1")));
        assert_eq!(send_if_open(&port, &get(GOOD)).await, None);
        drop(silent);
    }

    async fn send_if_open(port: &str, text: &str) -> Option<String> {
        TcpStream::connect(port).await.ok()?;
        Some(send(port, text).await)
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_only_with_the_state(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read(&bytes, &expected()), None);
        }

        #[test]
        fn any_query_is_an_answer_only_with_the_state(query in "[a-z=&%0-9-]{0,80}") {
            let answer = read(get(&query).as_bytes(), &expected());
            prop_assert!(answer.is_none() || query.contains("state"), "{}", query);
        }
    }
}
