//! The devices: a process of its own, so that neither its memory nor its time is the server's. It does what it is told
//! on standard input, one line after the other, and says on standard output when it is done.
//!
//! It is as light as can be: one thread, one small task for each connection, frames read with a few comparisons.

use std::{
    cell::{Cell, RefCell},
    io::{ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    rc::Rc,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    sync::{Notify, Semaphore, mpsc},
    task::LocalSet,
};

/// Handshakes under way at once.
const IN_FLIGHT: usize = 512;
/// Ports of each of our addresses, below those that the system gives out: looking for a free one takes it ever longer.
const PORTS: std::ops::Range<usize> = 10_000..30_000;

struct Devices {
    tokens: Vec<String>,
    in_flight: Semaphore,
    /// Tries to connect: each has a port of its own.
    tries: Cell<usize>,
    /// Connected, and told the first event.
    ready: Cell<usize>,
    lost: Cell<usize>,
    first_loss: Cell<Option<Instant>>,
    echoes: Cell<usize>,
    acking: Cell<bool>,
    /// Where those go who lose their connection.
    refuge: Cell<Option<SocketAddr>>,
    changed: Notify,
    streams: RefCell<Vec<Option<Rc<TcpStream>>>>,
}

/// Runs until standard input ends.
pub(crate) async fn run(tokens: &Path) -> Result<()> {
    cloudlink::http::server::raise_open_files()?;
    let tokens: Vec<String> = std::fs::read_to_string(tokens)?.lines().map(str::to_owned).collect();
    let devices = Rc::new(Devices {
        streams: RefCell::new(vec![None; tokens.len()]),
        tokens,
        in_flight: Semaphore::new(IN_FLIGHT),
        tries: Cell::default(),
        ready: Cell::default(),
        lost: Cell::default(),
        first_loss: Cell::default(),
        echoes: Cell::default(),
        acking: Cell::default(),
        refuge: Cell::default(),
        changed: Notify::new(),
    });
    LocalSet::new().run_until(obey(devices)).await
}

async fn obey(devices: Rc<Devices>) -> Result<()> {
    let (sender, mut lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.blocking_send(line))
    });
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split(' ').collect();
        let begun = Instant::now();
        let seconds = match words[..] {
            ["open", address, count] => {
                let (address, count) = (address.parse()?, count.parse()?);
                for number in devices.ready.get()..count {
                    tokio::task::spawn_local(live(Rc::clone(&devices), number, address));
                }
                devices.until(|devices| devices.ready.get() == count).await;
                begun.elapsed()
            }
            ["acking"] => {
                devices.acking.set(true);
                begun.elapsed()
            }
            ["refuge", address] => {
                devices.lost.set(0);
                devices.first_loss.set(None);
                devices.refuge.set(Some(address.parse()?));
                begun.elapsed()
            }
            ["back", count] => {
                let count: usize = count.parse()?;
                devices.until(|devices| devices.lost.get() == count && devices.ready.get() == count).await;
                devices.first_loss.get().context("nobody was lost")?.elapsed()
            }
            ["echo", count] => {
                devices.echoes.set(0);
                let count: usize = count.parse()?;
                let streams: Vec<_> = devices.streams.borrow().iter().flatten().cloned().collect();
                for stream in streams.iter().cycle().take(count) {
                    send(stream, 0x81, br#"{"type":"ack","slot":"heating","version":2}"#).await?;
                }
                devices.until(|devices| devices.echoes.get() >= count).await;
                begun.elapsed()
            }
            _ => bail!("{line:?} means nothing"),
        };
        println!("{}", seconds.as_secs_f64());
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Devices {
    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            self.changed.notified().await;
        }
    }

    fn count(&self, what: &Cell<usize>) {
        what.set(what.get() + 1);
        self.changed.notify_one();
    }
}

/// One device: connects, listens, and comes back where it is told to.
async fn live(devices: Rc<Devices>, number: usize, mut address: SocketAddr) {
    loop {
        match connection(&devices, number, address).await {
            Ok(()) => {}
            Err(error) => eprintln!("device {number}: {error:#}"),
        }
        devices.streams.borrow_mut()[number] = None;
        devices.ready.set(devices.ready.get() - 1);
        devices.first_loss.set(devices.first_loss.get().or_else(|| Some(Instant::now())));
        devices.count(&devices.lost);
        match devices.refuge.get() {
            Some(refuge) => address = refuge,
            None => return,
        }
    }
}

/// A connection until it is lost. Counts as ready once, whatever comes after.
async fn connection(devices: &Devices, number: usize, address: SocketAddr) -> Result<()> {
    let mut unread = Vec::new();
    let permit = devices.in_flight.acquire().await?;
    let (stream, mut told) = loop {
        // Whoever is refused, or lost before the first event, tries again.
        if let Ok(connected) = handshake(devices, number, address, &mut unread).await {
            break connected;
        }
        unread.clear();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let stream = Rc::new(stream);
    devices.streams.borrow_mut()[number] = Some(Rc::clone(&stream));
    let mut permit = Some(permit);
    loop {
        while let Some((opcode, payload)) = frame(&mut unread) {
            match opcode {
                0x1 if told && devices.acking.get() => ack(&stream, &payload).await?,
                0x1 if !told && holds(&payload, b"\"event\"") => told = true,
                0x9 => send(&stream, 0x8a, &payload).await?,
                0x8 => return Ok(()),
                _ => {}
            }
            if opcode == 0x1 {
                devices.count(&devices.echoes);
            }
        }
        if told && permit.take().is_some() {
            devices.count(&devices.ready);
        }
        if !more(&stream, &mut unread).await {
            if permit.is_some() {
                // It never was ready: keep the count whole.
                devices.count(&devices.ready);
            }
            return Ok(());
        }
    }
}

async fn handshake(
    devices: &Devices,
    number: usize,
    address: SocketAddr,
    unread: &mut Vec<u8>,
) -> Result<(TcpStream, bool)> {
    let socket = TcpSocket::new_v4()?;
    let this = devices.tries.replace(devices.tries.get() + 1);
    let host = u8::try_from(2 + this / PORTS.len() % 200)?;
    socket.bind((Ipv4Addr::new(127, 0, 0, host), u16::try_from(PORTS.start + this % PORTS.len())?).into())?;
    let mut stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let head = format!(
        "GET /api/cloudlink/relay HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: cloudlink.v1\r\nauthorization: Bearer {}\r\n\r\n",
        devices.tokens[number]
    );
    stream.write_all(head.as_bytes()).await?;
    loop {
        if !more(&stream, unread).await {
            bail!("the connection ended in the handshake");
        }
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let accepted = unread.starts_with(b"HTTP/1.1 101");
            unread.drain(..end + 4);
            if !accepted {
                bail!("the handshake was refused");
            }
            return Ok((stream, false));
        }
    }
}

/// Reads what there is; false at the end.
async fn more(stream: &TcpStream, unread: &mut Vec<u8>) -> bool {
    if stream.readable().await.is_err() {
        return false;
    }
    let mut chunk = [0; 16 * 1024];
    match stream.try_read(&mut chunk) {
        Ok(0) => false,
        Ok(length) => {
            unread.extend_from_slice(&chunk[..length]);
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// The next frame of a server: never masked, never in parts.
fn frame(unread: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (head, length) = match *unread.get(..2)? {
        [_, 126] => (4, usize::from(u16::from_be_bytes(unread.get(2..4)?.try_into().ok()?))),
        [_, 127] => (10, usize::try_from(u64::from_be_bytes(unread.get(2..10)?.try_into().ok()?)).ok()?),
        [_, length] => (2, usize::from(length)),
        _ => return None,
    };
    let payload = unread.get(head..head + length)?.to_vec();
    let opcode = unread[0] & 0x0f;
    unread.drain(..head + length);
    if unread.is_empty() {
        *unread = Vec::new();
    }
    Some((opcode, payload))
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

async fn ack(stream: &TcpStream, event: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(event)?;
    let after = |name: &str, end: char| {
        let rest = &text[text.find(name)? + name.len()..];
        rest.split(end).next()
    };
    let Some((slot, version)) = after("\"slot\":\"", '"').zip(after("\"version\":", ',')) else {
        return Ok(());
    };
    let ack = format!("{{\"type\":\"ack\",\"slot\":\"{slot}\",\"version\":{version}}}");
    send(stream, 0x81, ack.as_bytes()).await
}

/// A frame of at most 125 bytes, masked with zeros.
async fn send(stream: &TcpStream, first: u8, payload: &[u8]) -> Result<()> {
    let length = 0x80 | u8::try_from(payload.len())?;
    let bytes = [&[first, length, 0, 0, 0, 0], payload].concat();
    loop {
        match stream.try_write(&bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => bail!("a frame did not fit"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
}
