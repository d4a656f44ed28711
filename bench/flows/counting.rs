//! Which statements a flow takes, read on the wire between the server and its database.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream, UnixStream},
};

use crate::statements::Statements;

/// What writes, by name; the words of the transaction that one of them needs are its own.
const WRITES: [&str; 5] = ["start_flow", "continue_flow", "redeem_flow", "store_consent", "ack"];
/// How replicas are woken.
const KNOCK: &str = "notify";

/// A way to the database that listens in.
pub(crate) struct Wire {
    /// For `database.url`.
    pub(crate) url: String,
    heard: Statements,
}

impl Wire {
    /// To a database of a private cluster, which has its socket in a folder.
    pub(crate) async fn to(database: &str) -> Result<Self> {
        let options: PgConnectOptions = database.parse()?;
        let folder = options.get_socket().context("the private PostgreSQL has a socket")?;
        let socket = folder.join(format!(".s.PGSQL.{}", options.get_port()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (user, database) = (options.get_username(), options.get_database().unwrap_or_default());
        let url = format!("postgres://{user}@{}/{database}?sslmode=disable", listener.local_addr()?);
        let heard = Statements::default();
        let listening = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // It ends with either side.
                tokio::spawn(forward(stream, socket.clone(), listening.clone()));
            }
        });
        Ok(Self { url, heard })
    }

    /// What ran since the last call, by name and kind.
    pub(crate) fn take(&self) -> Tally {
        let mut tally = Tally::default();
        for name in self.heard.take() {
            let kind = match name.as_str() {
                KNOCK => &mut tally.knocks,
                name if WRITES.contains(&name) => &mut tally.writes,
                "begin" | "commit" | "hold_device_and_slot" => &mut tally.around,
                _ => &mut tally.reads,
            };
            *kind.entry(name).or_default() += 1;
        }
        tally
    }
}

/// How often what ran, by name.
type Counts = BTreeMap<String, usize>;

/// The statements of some flows.
#[derive(Default)]
pub(crate) struct Tally {
    /// Each a transaction that writes.
    pub(crate) writes: Counts,
    /// More statements of those transactions.
    pub(crate) around: Counts,
    /// Statements that change nothing.
    pub(crate) reads: Counts,
    /// Knocks, outside of any transaction.
    pub(crate) knocks: Counts,
}

impl Tally {
    /// One line for each kind, per flow.
    pub(crate) fn print(&self, flows: usize) {
        #[allow(clippy::cast_precision_loss, reason = "these are small numbers")]
        let each = |count: usize| count as f64 / flows as f64;
        let kinds = [
            ("transactions that write", &self.writes),
            ("more statements of those", &self.around),
            ("reads", &self.reads),
            ("knocks", &self.knocks),
        ];
        for (kind, counts) in kinds {
            let all = each(counts.values().sum());
            let names: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name} {:.2}", each(*count))).collect();
            println!("  {all:>5.2}  {kind}: {}", names.join(", "));
        }
    }
}

async fn forward(server: TcpStream, socket: PathBuf, heard: Statements) -> Result<()> {
    let (mut asks, mut told) = server.into_split();
    let (mut answers, mut asked) = UnixStream::connect(socket).await?.into_split();
    let mut listening = heard.listen();
    let there = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = asks.read(&mut buffer).await?;
            if length == 0 {
                return anyhow::Ok(());
            }
            listening.hear(&buffer[..length]);
            asked.write_all(&buffer[..length]).await?;
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = copy(&mut answers, &mut told) => Ok(ended.map(drop)?),
    }
}
