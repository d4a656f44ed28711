//! The way from a service to its database, which a test can cut and mend, let hang, and listen in on.

use std::sync::{Arc, Mutex};

use sqlx::ConnectOptions as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use url::Url;

use super::{Service, statements::Statements};

/// A forwarder on loopback.
pub(crate) struct DatabaseLink {
    /// For `database.url`.
    pub(crate) url: String,
    /// What goes over it.
    pub(crate) statements: Statements,
    port: u16,
    upstream: Upstream,
    flowing: watch::Sender<bool>,
    forwarding: Arc<Mutex<Option<AbortHandle>>>,
}

#[derive(Clone)]
enum Upstream {
    Socket(std::path::PathBuf),
    Address(String, u16),
}

impl DatabaseLink {
    /// To the database of `service`; whole.
    pub(crate) async fn to(service: &Service) -> Self {
        let options = service.database.pool.connect_options();
        let upstream = match options.get_socket() {
            Some(folder) => Upstream::Socket(folder.join(format!(".s.PGSQL.{}", options.get_port()))),
            None => Upstream::Address(options.get_host().to_owned(), options.get_port()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let database = options.get_database().unwrap();
        let mut url = Url::parse(&format!("postgres://127.0.0.1:{port}/{database}")).unwrap();
        url.set_username(options.get_username()).unwrap();
        let own = options.to_url_lossy();
        url.set_password(own.password()).unwrap();
        // Without asking for TLS first, so that what goes over it can be read from the first byte on.
        url.set_query(Some("sslmode=disable"));
        let statements = Statements::default();
        let flowing = watch::Sender::new(true);
        let link = Self { url: url.into(), statements, port, upstream, flowing, forwarding: Arc::default() };
        link.forward(listener);
        link
    }

    /// Ends every connection and takes no new one.
    pub(crate) fn cut(&self) {
        self.forwarding.lock().unwrap().take().expect("it is whole").abort();
    }

    /// Whole again.
    pub(crate) fn mend(&self) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], self.port).into()).unwrap();
        self.forward(socket.listen(64).unwrap());
    }

    /// From now on nothing passes and nothing ends: connections are taken, and no byte comes out on the other side.
    pub(crate) fn hang(&self) {
        self.flowing.send_replace(false);
    }

    /// Everything passes again, what was held up included.
    pub(crate) fn flow(&self) {
        self.flowing.send_replace(true);
    }

    fn forward(&self, listener: TcpListener) {
        let (upstream, statements) = (self.upstream.clone(), self.statements.clone());
        let flowing = self.flowing.subscribe();
        let forwarding = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(join(stream, upstream.clone(), statements.clone(), flowing.clone()));
            }
        });
        *self.forwarding.lock().unwrap() = Some(forwarding.abort_handle());
    }
}

async fn join(stream: TcpStream, upstream: Upstream, statements: Statements, flowing: watch::Receiver<bool>) {
    // Either side may end at any time, which is what the tests want.
    match upstream {
        Upstream::Socket(path) => {
            if let Ok(other) = UnixStream::connect(path).await {
                forward(stream, other, statements, flowing).await;
            }
        }
        Upstream::Address(host, port) => {
            if let Ok(other) = TcpStream::connect((host, port)).await {
                forward(stream, other, statements, flowing).await;
            }
        }
    }
}

async fn forward(
    service: TcpStream,
    database: impl AsyncRead + AsyncWrite,
    statements: Statements,
    flowing: watch::Receiver<bool>,
) {
    let (asks, hears) = service.into_split();
    let (answers, asked) = tokio::io::split(database);
    let mut listening = statements.listen();
    tokio::select! {
        () = pass(asks, asked, flowing.clone(), |bytes| listening.hear(bytes)) => {}
        () = pass(answers, hears, flowing, |_| {}) => {}
    }
}

/// Until one side ends.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flowing: watch::Receiver<bool>,
    mut hear: impl FnMut(&[u8]),
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if flowing.wait_for(|flowing| *flowing).await.is_err() {
            return;
        }
        hear(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
