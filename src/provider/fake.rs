//! For tests: a configuration to build requests from, entropy that is none, a scripted name server, and a
//! provider that answers raw bytes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use url::Url;

use super::{Registration, TokenRequest, resolver::Lookup};
use crate::domain::{
    address::EgressPolicy,
    clock::Entropy,
    plugin::{
        ClientAuthentication, Custody, EndpointTemplate, OauthConfiguration, ParameterNames, Pkce,
        RedirectUriKind, TokenFormat, Variable,
    },
    secret::ClientSecret,
};

/// Always the same byte.
pub(super) struct FixedEntropy(pub(super) u8);

impl Entropy for FixedEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

/// What a [`Registration`] borrows.
pub(super) struct Setup {
    pub(super) configuration: OauthConfiguration,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) callback: BTreeMap<String, String>,
    redirect_uri: Url,
}

fn endpoint(text: &str) -> EndpointTemplate {
    EndpointTemplate::parse(text, EgressPolicy::AllowPrivate).unwrap()
}

impl Setup {
    pub(super) fn new() -> Self {
        let configuration = OauthConfiguration {
            name: "Example".to_owned(),
            client_id: "the-client".to_owned(),
            token_auth: ClientAuthentication::Post(ClientSecret::new("the-secret")),
            auth_endpoint: endpoint("https://p.example/authorize"),
            token_endpoint: endpoint("https://p.example/token"),
            refresh_endpoint: None,
            revocation_endpoint: None,
            scope: None,
            add_scope: true,
            add_redirect: false,
            parameters: BTreeMap::new(),
            token_parameters: BTreeMap::new(),
            refresh_parameters: None,
            token_format: TokenFormat::Form,
            pkce: Pkce::S256,
            variables: BTreeMap::new(),
            callback_parameters: BTreeMap::new(),
            parameter_names: ParameterNames::default(),
            response_fields: BTreeMap::new(),
            default_expires_in: None,
            refresh_margin: None,
            token_headers: BTreeMap::new(),
            issuer: None,
            iss_required: false,
            redirect_uri: RedirectUriKind::Shared,
            custody: Custody::Broker,
        };
        Self {
            configuration,
            variables: BTreeMap::new(),
            callback: BTreeMap::new(),
            redirect_uri: Url::parse("https://broker.example/api/cloudlink/redirect").unwrap(),
        }
    }

    pub(super) fn scope(mut self, scope: &str) -> Self {
        self.configuration.scope = Some(scope.to_owned());
        self
    }

    pub(super) fn auth(mut self, url: &str) -> Self {
        self.configuration.auth_endpoint = endpoint(url);
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        let variable = Variable { title: None, pattern: None, default: None, allowed: BTreeSet::new() };
        self.configuration.variables.insert(name.to_owned(), variable);
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn registration(&self) -> Registration<'_> {
        Registration {
            configuration: &self.configuration,
            variables: &self.variables,
            callback: &self.callback,
            redirect_uri: &self.redirect_uri,
            egress: EgressPolicy::AllowPrivate,
        }
    }
}

/// Gives the addresses of a script, one entry a question; the last for ever.
pub(super) struct ScriptedLookup(Mutex<VecDeque<Vec<IpAddr>>>);

impl ScriptedLookup {
    pub(super) fn new<'a>(script: impl IntoIterator<Item = &'a [&'a str]>) -> Arc<Self> {
        let parsed = |entry: &[&str]| entry.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(script.into_iter().map(parsed).collect())))
    }
}

impl Lookup for ScriptedLookup {
    fn lookup(&self, _name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut script = self.0.lock().unwrap();
        let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        Box::pin(async move { next.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// A listener on loopback that hands each connection to a closure.
pub(super) struct Provider {
    address: SocketAddr,
    connections: watch::Receiver<usize>,
}

impl Provider {
    pub(super) async fn serving<F, A>(answer: F) -> Self
    where
        F: Fn(TcpStream) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (counted, connections) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.send_modify(|count| *count += 1);
                tokio::spawn(answer(stream));
            }
        });
        Self { address, connections }
    }

    /// Answers each request with the same bytes and closes.
    pub(super) async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        use tokio::io::AsyncWriteExt as _;
        let bytes: Arc<[u8]> = bytes.into().into();
        Self::serving(move |mut stream| {
            let bytes = Arc::clone(&bytes);
            async move {
                read_request(&mut stream).await?;
                stream.write_all(&bytes).await?;
                stream.shutdown().await
            }
        })
        .await
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Waits until there have been `count` connections.
    pub(super) async fn connected(&self, count: usize) {
        let mut connections = self.connections.clone();
        let reached = connections.wait_for(|connections| *connections >= count);
        tokio::time::timeout(Duration::from_secs(10), reached).await.unwrap().unwrap();
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn request(&self) -> TokenRequest {
        request(&format!("http://{}/token", self.address))
    }
}

/// A request with nothing in it.
pub(super) fn request(url: &str) -> TokenRequest {
    TokenRequest {
        endpoint: Url::parse(url).unwrap(),
        headers: reqwest::header::HeaderMap::new(),
        body: Vec::new().into(),
    }
}

/// An answer of the given status, headers and body.
pub(super) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Reads a request's head and as much of its body as `content-length` says; gives both.
pub(super) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Ok(String::from_utf8_lossy(&request).into_owned());
            }
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&buffer[..read]);
    }
}
