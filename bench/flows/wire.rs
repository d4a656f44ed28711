//! The least that speaks HTTP/1.1: one connection, kept alive, and answers with a length. What makes the load shares the
//! processors with what is measured, so it may cost next to nothing.

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// More than any answer has.
const MOST_BYTES: usize = 256 * 1024;

/// A connection to a server.
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// To `host`, an address with a port.
    pub(crate) async fn to(host: &str) -> Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: host.to_owned(), buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request, with lines of the head that end in `\r\n` each, and reads the answer.
    pub(crate) async fn call(&mut self, method: &str, path: &str, head: &str, body: &str) -> Result<Answer> {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n{head}\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.read().await
    }

    /// The same, where only one status is right.
    pub(crate) async fn expect(
        &mut self,
        status: u16,
        (method, path): (&str, &str),
        head: &str,
        body: &str,
    ) -> Result<Answer> {
        let answer = self.call(method, path, head, body).await?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status == status, "{method} {path} was answered by {}: {text}", answer.status);
        Ok(answer)
    }

    async fn read(&mut self) -> Result<Answer> {
        self.buffer.clear();
        let end = loop {
            ensure!(self.buffer.len() < MOST_BYTES, "the answer is too long");
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the answer ends too early");
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
        let mut answer = Answer { status, head, body: Vec::new() };
        let length: usize = answer.header("content-length").map_or(Ok(0), str::parse)?;
        while self.buffer.len() < end + length {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the answer ends too early");
        }
        answer.body = self.buffer[end..end + length].to_vec();
        Ok(answer)
    }
}

impl Answer {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
