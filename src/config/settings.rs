//! The settings as types. Their meaning, ranges and units stand in `config/default.toml`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use super::SettingsError;
use crate::domain::{
    account_link::AccountLinkSettings,
    address::EgressPolicy,
    binding::ConsentBinding,
    enrolment::EnrolmentPolicy,
    nats_url::NatsUrl,
    openid::OpenIdSettings,
    public_url::PublicUrl,
    secret::{Password, SecretValue},
};

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }
    )*};
}

settings! {
    /// Everything that can be set. `Debug` shows no secret.
    Settings {
        /// The public listener.
        server: Server,
        /// The operator's listener and account.
        admin: Admin,
        /// The database.
        database: Database,
        /// Encryption of what is stored.
        vault: Vault,
        /// What outgoing requests may reach.
        egress: Egress,
        /// Who consented must be who asked.
        consent: Consent,
        /// Who may become a device.
        enrolment: Enrolment,
        /// Attempts to link a slot.
        flow: Flow,
        /// Delivery to devices.
        relay: Relay,
        /// Requests of web services, and commands for hubs.
        requests: Requests,
        /// Refreshing of tokens.
        refresh: Refresh,
        /// How replicas wake each other.
        bus: Bus,
        /// Logging.
        log: Log,
        /// Access tokens of cloudlink's own.
        login: Login,
        /// The record of who did what.
        audit: Audit,
        /// Home Assistant as a client, where that is switched on.
        account_link: Option<AccountLinkSettings>,
    }
    /// `[server]`
    Server {
        /// `server.bind`
        bind: SocketAddr,
        /// `server.public_url`
        public_url: PublicUrl,
        /// `server.trusted_proxies`
        trusted_proxies: Vec<IpNet>,
        /// `server.drain_seconds`: the most that a stop takes, but for the private database's own.
        drain: Duration,
        /// `server.drain_delay_seconds`: how much of it passes before anything is refused.
        drain_delay: Duration,
        /// `server.max_connections`, for each worker.
        max_connections: usize,
        /// `server.max_requests`, of this process.
        max_requests: usize,
        /// `server.workers`; nothing means one for each processor.
        workers: Option<usize>,
    }
    /// `[admin]`
    Admin {
        /// `admin.bind`
        bind: SocketAddr,
        /// `admin.user`
        user: String,
        /// `admin.password`
        password: Option<Password>,
    }
    /// `[database]`
    Database {
        /// `database.url`; nothing means the private cluster.
        url: Option<SecretValue>,
        /// `database.max_connections`
        max_connections: u32,
        /// `database.statement_seconds`
        statement: Duration,
        /// `database.data_dir`, of the private cluster.
        data_dir: Option<PathBuf>,
    }
    /// `[vault]`
    Vault {
        /// `vault.keys`, as written: the vault parses them.
        keys: Vec<SecretValue>,
    }
    /// `[egress]`
    Egress {
        /// `egress.allow_private`
        policy: EgressPolicy,
        /// `egress.extra_roots`
        extra_roots: Option<PathBuf>,
    }
    /// `[consent]`
    Consent {
        /// `consent.binding`
        binding: ConsentBinding,
    }
    /// `[enrolment]`
    Enrolment {
        /// `enrolment.open`
        policy: EnrolmentPolicy,
    }
    /// `[flow]`
    Flow {
        /// `flow.ttl_seconds`
        ttl: Duration,
        /// `flow.pending_per_device`
        pending_per_device: u32,
        /// `flow.require_pkce`
        require_pkce: bool,
    }
    /// `[relay]`
    Relay {
        /// `relay.heartbeat_seconds`
        heartbeat: Duration,
        /// `relay.poll_seconds`
        poll: Duration,
        /// `relay.connections_per_device`
        connections_per_device: usize,
        /// `relay.max_connections`, of this process.
        max_connections: usize,
        /// `relay.bind`; nothing means the public listener alone.
        bind: Option<SocketAddr>,
        /// `relay.handshakes_at_once`
        handshakes_at_once: usize,
        /// `relay.handshakes_waiting`
        handshakes_waiting: usize,
    }
    /// `[requests]`
    Requests {
        /// `requests.answer_seconds`
        answer: Duration,
        /// `requests.in_flight`, of this process.
        in_flight: usize,
        /// `requests.in_flight_per_device`
        in_flight_per_device: usize,
        /// `requests.in_flight_per_slot`
        in_flight_per_slot: usize,
        /// `requests.per_minute_per_network`
        per_minute_per_network: u32,
        /// `requests.per_minute_per_slot`
        per_minute_per_slot: u32,
    }
    /// `[refresh]`
    Refresh {
        /// `refresh.margin_seconds`
        margin: Duration,
        /// `refresh.concurrency`, of this process.
        concurrency: u16,
    }
    /// `[bus]`
    Bus {
        /// `bus.kind` and, where it needs one, `bus.url`.
        kind: BusKind,
    }
    /// `[log]`
    Log {
        /// `log.format`
        format: LogFormat,
        /// `log.filter`, checked where logging starts.
        filter: String,
    }
    /// `[login]`
    Login {
        /// `login.token_seconds`
        token: Duration,
        /// `[login.oidc]`, where it has an issuer.
        openid: Option<OpenIdSettings>,
    }
    /// `[audit]`
    Audit {
        /// `audit.retention_days`
        retention: Duration,
    }
}

/// `bus.kind`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusKind {
    /// `listen` and `notify` of PostgreSQL.
    Postgres {
        /// `bus.url`; nothing means the database.
        url: Option<SecretValue>,
    },
    /// NATS.
    Nats {
        /// `bus.url`
        url: NatsUrl,
    },
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Readable,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Refuses what contradicts itself, whatever the command.
    pub(super) fn contradictions(&self) -> Result<(), SettingsError> {
        if self.database.url.is_some() && self.database.data_dir.is_some() {
            return Err(SettingsError::Contradiction(
                "database.url and database.data_dir contradict each other: the folder is for the private \
                 PostgreSQL, which runs only without a URL; remove one of them",
            ));
        }
        let over_tls = self.login.openid.as_ref().is_none_or(|openid| openid.issuer.is_https());
        if !over_tls && self.egress.policy == EgressPolicy::PublicOnly {
            return Err(SettingsError::Contradiction(
                "login.oidc.issuer is http, which is for development with egress.allow_private; use https",
            ));
        }
        if self.server.drain_delay >= self.server.drain && !self.server.drain_delay.is_zero() {
            return Err(SettingsError::Contradiction(
                "server.drain_delay_seconds leaves nothing of server.drain_seconds for what is under way; make \
                 the delay shorter",
            ));
        }
        if self.server.bind == self.admin.bind && self.server.bind.port() != 0 {
            return Err(SettingsError::Contradiction(
                "server.bind and admin.bind are the same; the operator's listener needs a port of its own",
            ));
        }
        let shared =
            |bind: SocketAddr| bind.port() != 0 && (bind == self.server.bind || bind == self.admin.bind);
        if self.relay.bind.is_some_and(shared) {
            return Err(SettingsError::Contradiction(
                "relay.bind is the same as server.bind or admin.bind; the relay's listener needs a port of its own",
            ));
        }
        Ok(())
    }

    /// What `serve` demands beyond what `dev` does: TLS wherever others can reach the service, and a key
    /// that encrypts.
    pub fn fit_to_serve(&self) -> Result<(), SettingsError> {
        let url = &self.server.public_url;
        if !url.is_https() && !url.is_loopback() {
            return Err(SettingsError::Contradiction(
                "server.public_url is http on a host that is not loopback, which serve refuses; use https, or \
                 the dev command",
            ));
        }
        if self.vault.keys.is_empty() {
            return Err(SettingsError::Contradiction(
                "vault.keys is empty, and serve stores nothing unencrypted; set it to an id, a colon and \
                 the output of `openssl rand -base64 32`",
            ));
        }
        Ok(())
    }
}
