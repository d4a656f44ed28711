//! From the merged layers to [`Settings`]: each value parsed, each number within its range.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    SettingsError, account_link,
    layers::{Layers, invalid},
    settings::{
        Admin, Audit, Bus, BusKind, Consent, Database, Egress, Enrolment, Flow, Log, LogFormat, Login,
        Refresh, Relay, Requests, Server, Settings, Vault,
    },
};
use crate::domain::{
    address::EgressPolicy,
    binding::ConsentBinding,
    enrolment::EnrolmentPolicy,
    nats_url::NatsUrlError,
    openid::{OpenIdSettings, Operators},
    public_url::{PublicUrl, PublicUrlError},
    secret::{ClientSecret, Password, SecretValue},
};

/// Takes each setting out of the layers, and refuses what contradicts itself.
pub(super) fn settings(layers: &mut Layers) -> Result<Settings, SettingsError> {
    let settings = Settings {
        server: Server {
            bind: parsed(layers, "server.bind", "must be an address and a port, like 127.0.0.1:8080")?,
            public_url: public_url(layers)?,
            trusted_proxies: networks(layers, "server.trusted_proxies")?,
            drain: seconds(layers, "server.drain_seconds", 0..=300)?,
            drain_delay: seconds(layers, "server.drain_delay_seconds", 0..=60)?,
            max_connections: count(layers, "server.max_connections", 16..=1_000_000)?,
            max_requests: count(layers, "server.max_requests", 16..=100_000)?,
            workers: Some(count(layers, "server.workers", 0..=512)?).filter(|workers: &usize| *workers > 0),
        },
        admin: Admin {
            bind: parsed(layers, "admin.bind", "must be an address and a port, like 127.0.0.1:8081")?,
            user: user(layers)?,
            password: layers.text("admin.password")?.map(|text| Password::new(text.as_str())),
        },
        database: Database {
            url: secret(layers, "database.url")?,
            max_connections: count(layers, "database.max_connections", 2..=500)?,
            statement: seconds(layers, "database.statement_seconds", 1..=300)?,
            data_dir: layers.text("database.data_dir")?.map(|text| PathBuf::from(text.as_str())),
        },
        vault: Vault {
            keys: layers.list("vault.keys")?.iter().map(|key| SecretValue::new(key.as_str())).collect(),
        },
        egress: Egress {
            policy: if layers.truth("egress.allow_private")? {
                EgressPolicy::AllowPrivate
            } else {
                EgressPolicy::PublicOnly
            },
            extra_roots: layers.text("egress.extra_roots")?.map(|text| PathBuf::from(text.as_str())),
        },
        consent: Consent {
            binding: chosen(
                layers,
                "consent.binding",
                &[
                    ("adaptive", ConsentBinding::Adaptive),
                    ("page", ConsentBinding::Page),
                    ("code", ConsentBinding::Code),
                ],
            )?,
        },
        enrolment: Enrolment {
            policy: if layers.truth("enrolment.open")? {
                EnrolmentPolicy::Open
            } else {
                EnrolmentPolicy::ByCode
            },
        },
        flow: Flow {
            ttl: seconds(layers, "flow.ttl_seconds", 1..=600)?,
            pending_per_device: count(layers, "flow.pending_per_device", 1..=1000)?,
            require_pkce: layers.truth("flow.require_pkce")?,
        },
        relay: Relay {
            heartbeat: seconds(layers, "relay.heartbeat_seconds", 1..=300)?,
            poll: seconds(layers, "relay.poll_seconds", 1..=300)?,
            connections_per_device: count(layers, "relay.connections_per_device", 1..=1000)?,
            max_connections: count(layers, "relay.max_connections", 1..=1_000_000)?,
            bind: address(layers, "relay.bind")?,
            handshakes_at_once: count(layers, "relay.handshakes_at_once", 1..=100_000)?,
            handshakes_waiting: count(layers, "relay.handshakes_waiting", 0..=1_000_000)?,
        },
        requests: Requests {
            answer: seconds(layers, "requests.answer_seconds", 1..=30)?,
            in_flight: count(layers, "requests.in_flight", 1..=100_000)?,
            in_flight_per_device: count(layers, "requests.in_flight_per_device", 1..=1000)?,
            in_flight_per_slot: count(layers, "requests.in_flight_per_slot", 1..=1000)?,
            per_minute_per_network: count(layers, "requests.per_minute_per_network", 1..=1_000_000)?,
            per_minute_per_slot: count(layers, "requests.per_minute_per_slot", 1..=1_000_000)?,
        },
        refresh: Refresh {
            margin: seconds(layers, "refresh.margin_seconds", 0..=86_400)?,
            concurrency: count(layers, "refresh.concurrency", 0..=1000)?,
        },
        bus: Bus { kind: bus(layers)? },
        log: Log {
            format: chosen(
                layers,
                "log.format",
                &[("readable", LogFormat::Readable), ("json", LogFormat::Json)],
            )?,
            filter: layers.text("log.filter")?.map_or_else(|| "info".to_owned(), |text| text.to_string()),
        },
        login: Login { token: seconds(layers, "login.token_seconds", 60..=86_400)?, openid: openid(layers)? },
        audit: Audit { retention: days(layers, "audit.retention_days", 1..=3650)? },
        account_link: account_link::settings(layers)?,
    };
    if let Some(key) = layers.rest().next() {
        return Err(invalid(key, "stands in the embedded default but means nothing"));
    }
    settings.contradictions()?;
    Ok(settings)
}

fn parsed<T: FromStr>(layers: &mut Layers, key: &str, rule: &str) -> Result<T, SettingsError> {
    let text = layers.text(key)?;
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| invalid(key, rule))
}

fn address(layers: &mut Layers, key: &str) -> Result<Option<SocketAddr>, SettingsError> {
    let Some(text) = layers.text(key)? else { return Ok(None) };
    let address =
        text.trim().parse().map_err(|_| invalid(key, "must be an address and a port, like 127.0.0.1:8082"));
    address.map(Some)
}

fn public_url(layers: &mut Layers) -> Result<PublicUrl, SettingsError> {
    let key = "server.public_url";
    let text = layers.text(key)?.unwrap_or_default();
    text.trim().parse().map_err(|error: PublicUrlError| invalid(key, error.to_string()))
}

fn user(layers: &mut Layers) -> Result<String, SettingsError> {
    let key = "admin.user";
    let name = layers.text(key)?.unwrap_or_default();
    if name.is_empty() || name.len() > 64 || name.contains(|c: char| c == ':' || c.is_control()) {
        return Err(invalid(key, "must be 1 to 64 characters without a colon, which HTTP Basic forbids"));
    }
    Ok(name.to_string())
}

fn secret(layers: &mut Layers, key: &str) -> Result<Option<SecretValue>, SettingsError> {
    Ok(layers.text(key)?.map(|text| SecretValue::new(text.as_str())))
}

fn networks(layers: &mut Layers, key: &str) -> Result<Vec<IpNet>, SettingsError> {
    let network = |text: &str| -> Option<IpNet> {
        text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
    };
    let texts = layers.list(key)?;
    let networks = texts.iter().map(|text| {
        network(text.trim()).ok_or_else(|| invalid(key, "must hold addresses or networks, like 10.0.0.0/8"))
    });
    networks.collect()
}

fn count<T: TryFrom<u64>>(
    layers: &mut Layers,
    key: &str,
    range: RangeInclusive<u64>,
) -> Result<T, SettingsError> {
    let number = layers.number(key)?;
    let fits = range.contains(&number).then(|| T::try_from(number).ok()).flatten();
    fits.ok_or_else(|| invalid(key, format!("is {number}; it must be {} to {}", range.start(), range.end())))
}

fn seconds(layers: &mut Layers, key: &str, range: RangeInclusive<u64>) -> Result<Duration, SettingsError> {
    count(layers, key, range).map(Duration::from_secs)
}

fn days(layers: &mut Layers, key: &str, range: RangeInclusive<u64>) -> Result<Duration, SettingsError> {
    count(layers, key, range).map(|days: u32| Duration::from_hours(24) * days)
}

fn chosen<T: Copy>(layers: &mut Layers, key: &str, words: &[(&str, T)]) -> Result<T, SettingsError> {
    let text = layers.text(key)?.unwrap_or_default();
    let found = words.iter().find(|(word, _)| *word == text.trim());
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        invalid(key, format!("must be one of: {}", words.join(", ")))
    })
}

fn bus(layers: &mut Layers) -> Result<BusKind, SettingsError> {
    let nats = chosen(layers, "bus.kind", &[("postgres", false), ("nats", true)])?;
    match (nats, secret(layers, "bus.url")?) {
        (false, None) => Ok(BusKind::Postgres { url: None }),
        (false, Some(url)) if url.expose().starts_with("postgres") => {
            Ok(BusKind::Postgres { url: Some(url) })
        }
        (false, Some(_)) => Err(SettingsError::Contradiction(
            "bus.url is no PostgreSQL URL but bus.kind is postgres; set bus.kind to nats if it is NATS, else remove \
             bus.url, and the database carries the knocks",
        )),
        (true, Some(url)) => match url.expose().parse() {
            Ok(url) => Ok(BusKind::Nats { url }),
            Err(error) => Err(invalid("bus.url", NatsUrlError::to_string(&error))),
        },
        (true, None) => Err(SettingsError::Contradiction(
            "bus.kind is nats but bus.url is empty; set it to the NATS server, like nats://127.0.0.1:4222",
        )),
    }
}

fn openid(layers: &mut Layers) -> Result<Option<OpenIdSettings>, SettingsError> {
    let issuer = layers.text("login.oidc.issuer")?;
    let client_id = layers.text("login.oidc.client_id")?;
    let client_secret = layers.text("login.oidc.client_secret")?;
    let subjects = texts(layers, "login.oidc.allowed_subjects")?;
    let domains = texts(layers, "login.oidc.allowed_domains")?;
    let Some(issuer) = issuer else {
        let rest = client_id.is_some() || client_secret.is_some();
        return if rest || !subjects.is_empty() || !domains.is_empty() {
            Err(SettingsError::Contradiction(
                "login.oidc.issuer is empty but other settings of login.oidc are not; set it to the OpenID provider, \
                 or remove them",
            ))
        } else {
            Ok(None)
        };
    };
    let issuer = issuer.parse().map_err(|_| {
        invalid("login.oidc.issuer", "must be an https URL without query, like https://accounts.example")
    })?;
    let client_id = client_id.ok_or(SettingsError::Contradiction(
        "login.oidc.issuer is set but login.oidc.client_id is empty; set it to what this service is called there",
    ))?;
    if subjects.is_empty() && domains.is_empty() {
        return Err(SettingsError::Contradiction(
            "login.oidc.allowed_subjects and login.oidc.allowed_domains are both empty, so that nobody could sign in; \
             list accounts or e-mail domains",
        ));
    }
    let fits = |domain: &String| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        domain.bytes().all(plain) && domain.contains('.') && !domain.starts_with('.')
    };
    if !domains.iter().all(fits) {
        return Err(invalid("login.oidc.allowed_domains", "must hold domains without @, like example.org"));
    }
    Ok(Some(OpenIdSettings {
        issuer,
        client_id: client_id.to_string(),
        client_secret: client_secret.map(|secret| ClientSecret::new(secret.as_str())),
        operators: Operators {
            subjects,
            domains: domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
        },
    }))
}

fn texts(layers: &mut Layers, key: &str) -> Result<Vec<String>, SettingsError> {
    Ok(layers.list(key)?.iter().map(|text| text.to_string()).collect())
}
