//! What a service says to its database, read on the wire: which statement ran how often, by the name in its first line.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// How statements begin that the broker's own clockwork runs from time to time, whoever calls or not.
const CLOCKWORK: [&str; 10] = [
    "list_signing_keys",
    "list_revocations",
    "list_versions",
    "list_waiting_requests",
    "tend_relay_requests",
    "ping",
    "lease_",
    "give_up_",
    "expire_",
    "forget_",
];

/// The statements that ran, in order.
#[derive(Clone, Default)]
pub(crate) struct Statements(Arc<Mutex<Vec<String>>>);

impl Statements {
    /// What ran since the last look, the clockwork's apart.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut names = std::mem::take(&mut *self.0.lock().unwrap());
        names.retain(|name| !CLOCKWORK.iter().any(|beginning| name.starts_with(beginning)));
        names
    }

    /// Reads a connection from its beginning on.
    pub(super) fn listen(&self) -> Listening {
        Listening { ran: self.clone(), prepared: HashMap::new(), unread: Vec::new(), begun: false }
    }
}

/// One connection: the frontend's half of PostgreSQL's protocol, version 3.
pub(super) struct Listening {
    ran: Statements,
    /// The names of statements by the name they were prepared under.
    prepared: HashMap<Vec<u8>, String>,
    unread: Vec<u8>,
    begun: bool,
}

impl Listening {
    /// Takes what the service has sent.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        // The first message alone has no type.
        let typed = |begun: bool| usize::from(begun);
        while let Some(length) = self.unread.get(typed(self.begun)..typed(self.begun) + 4) {
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + typed(self.begun);
            if self.unread.len() < length {
                return;
            }
            let message: Vec<u8> = self.unread.drain(..length).collect();
            if self.begun {
                self.read(message[0], &message[5..]);
            }
            self.begun = true;
        }
    }

    fn read(&mut self, kind: u8, body: &[u8]) {
        let texts: Vec<&[u8]> = body.splitn(3, |byte| *byte == 0).collect();
        match kind {
            // Parse: the prepared statement's name, then the SQL.
            b'P' => drop(self.prepared.insert(texts[0].to_vec(), name_of(texts[1]))),
            // Bind: the portal's name, then the prepared statement's.
            b'B' => self.ran.0.lock().unwrap().push(self.prepared[texts[1]].clone()),
            // A simple query: the beginning or the end of a transaction.
            b'Q' => self.ran.0.lock().unwrap().push(name_of(texts[0])),
            _ => {}
        }
    }
}

/// The name in the first line of a statement, else that line.
fn name_of(sql: &[u8]) -> String {
    let sql = String::from_utf8_lossy(sql);
    let line = sql.trim_start().lines().next().unwrap_or_default();
    line.trim_start_matches("-- ").trim().to_lowercase()
}
