//! The server as a client knows it: its public URL and an HTTP client for it.

use std::{str::FromStr, time::Duration};

use zeroize::Zeroizing;

use crate::domain::public_url::{PublicUrl, PublicUrlError};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// Why a text is no server that can be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No URL, or more than an origin.
    #[error(transparent)]
    Url(#[from] PublicUrlError),
    /// Plain http to another machine.
    #[error("must begin with https: over plain http anybody on the way could read the tokens")]
    Plain,
    /// The HTTP client could not be made.
    #[error("no HTTP client could be made: check this machine's TLS certificates")]
    Client(#[source] reqwest::Error),
}

/// A cloudlink server.
#[derive(Debug, Clone)]
pub struct Server {
    url: PublicUrl,
    http: reqwest::Client,
}

impl Server {
    /// Its public URL.
    pub fn url(&self) -> &PublicUrl {
        &self.url
    }

    /// A client that follows no redirect and waits at most 30 s.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The relay's URL, `ws` or `wss`.
    pub(super) fn relay(&self) -> String {
        self.url.join("/api/cloudlink/relay").replacen("http", "ws", 1)
    }
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let url: PublicUrl = text.parse()?;
        if !url.is_https() && !url.is_loopback() {
            return Err(ServerError::Plain);
        }
        // The relay's websocket goes through no proxy, so neither does the rest.
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("cloudlink/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ServerError::Client)?;
        Ok(Self { url, http })
    }
}

/// Why no answer came, a clause for a person.
pub fn unreached(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "the server did not answer in time"
    } else if error.is_connect() {
        "the server can't be reached; check the URL and that it runs"
    } else {
        "the connection to the server broke"
    }
}

/// An answer's body, cut before the piece that would exceed `longest` bytes.
pub async fn read(
    mut answer: reqwest::Response,
    longest: usize,
) -> Result<Zeroizing<Vec<u8>>, reqwest::Error> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > longest {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_plain_http_goes_to_this_machine_only() {
        assert!(matches!("http://hub.example".parse::<Server>(), Err(ServerError::Plain)));
        let near: Server = "http://127.0.0.1:8080/".parse().unwrap();
        assert_eq!(near.relay(), "ws://127.0.0.1:8080/api/cloudlink/relay");
        let far: Server = "https://hub.example".parse().unwrap();
        assert_eq!(far.relay(), "wss://hub.example/api/cloudlink/relay");
    }
}
