//! Providers that answer at once with rotated tokens, on a thread of their own whose work is no part of what is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// More than a token request has.
const MOST_BYTES: usize = 16 * 1024;

/// What it has done so far.
#[derive(Default)]
struct Work {
    answers: AtomicU64,
    /// Processor time of the thread, nanoseconds.
    spent: AtomicU64,
}

/// Several providers, each at an address, hence a host, of its own.
pub(crate) struct Providers {
    /// `http://127.0.0.1:PORT` of each.
    pub(crate) urls: Vec<String>,
    work: Arc<Work>,
}

impl Providers {
    /// Starts that many; they end with the process.
    pub(crate) fn start(count: usize) -> Result<Self> {
        let listeners: Vec<std::net::TcpListener> =
            (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
        let mut urls = Vec::new();
        for listener in &listeners {
            listener.set_nonblocking(true)?;
            urls.push(format!("http://{}", listener.local_addr()?));
        }
        let work = Arc::new(Work::default());
        let shared = Arc::clone(&work);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("providers".to_owned()).spawn(move || {
            runtime.block_on(async {
                let accepting = listeners.into_iter().map(|listener| accept(listener, Arc::clone(&shared)));
                futures_util::future::join_all(accepting).await
            })
        })?;
        Ok(Self { urls, work })
    }

    /// Answers so far.
    pub(crate) fn answers(&self) -> u64 {
        self.work.answers.load(Relaxed)
    }

    /// Processor time so far.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.work.spent.load(Relaxed))
    }
}

async fn accept(listener: std::net::TcpListener, work: Arc<Work>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let work = Arc::clone(&work);
        // Who asked notices that there is no answer.
        tokio::spawn(async move { serve(stream, &work).await.ok() });
    }
}

async fn serve(mut stream: TcpStream, work: &Work) -> Result<()> {
    read(&mut stream).await?;
    let number = work.answers.fetch_add(1, Relaxed);
    // As long as many a real one.
    let body = format!(
        r#"{{"access_token":"at-{number:064}","refresh_token":"rt-{number:064}","expires_in":3600,"token_type":"Bearer"}}"#
    );
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
    stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    stream.shutdown().await?;
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    work.spent.store(Duration::try_from(spent)?.as_nanos().try_into()?, Relaxed);
    Ok(())
}

/// Reads a request to its end.
async fn read(stream: &mut TcpStream) -> Result<()> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("a request without a length")?.trim().parse()?;
            if bytes.len() >= end + 4 + length {
                return Ok(());
            }
        }
        anyhow::ensure!(bytes.len() < MOST_BYTES, "the request is too long");
        anyhow::ensure!(stream.read_buf(&mut bytes).await? > 0, "the request ends too early");
    }
}
