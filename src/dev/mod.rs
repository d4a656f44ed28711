//! `cloudlink dev`: everything on one machine, nothing to configure.
//!
//! It runs the same [`Application`] as `serve`, with a private PostgreSQL, and beside it what a newcomer
//! lacks: a provider with a consent page (`provider`), a home with a device and a plugin (`household`), and
//! somebody who says what happens (`story`). The plugin comes in through the real relay and the API is
//! called over HTTP, so what the newcomer sees is what a hub would see.
//!
//! Keys, passwords and the device are kept in one folder (`folder`); a second run goes on from there. It
//! is for one person on one machine: plain http, loopback only, private addresses allowed.

mod folder;
mod household;
mod ports;
mod provider;
mod story;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use self::{
    folder::Folder,
    household::{DEVICE, Household, OwnerLogin, SLOT},
    ports::Place,
    provider::DemoProvider,
};
use crate::{
    cluster::default_data_dir,
    config::Settings,
    domain::{
        address::EgressPolicy,
        binding::ConsentBinding,
        clock::{Entropy, draw},
        secret::{Password, SecretValue},
    },
    plugin_client::Server,
    seams::{SystemClock, SystemEntropy},
    startup::{Application, Seams},
    terminal::Terminal,
};

const VAULT_KEY_FILE: &str = "vault-key";
const OWNER_PASSWORD_FILE: &str = "owner-password";

/// What `dev` is told on the command line.
#[derive(Debug, clap::Args)]
pub struct Dev {
    /// Where the database, keys and passwords of this demo are kept [default: dev, in cloudlink's data folder]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

impl Dev {
    /// Runs until `stop`.
    pub async fn run(
        &self,
        mut settings: Settings,
        terminal: &Terminal,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let entropy = Arc::new(SystemEntropy);
        let clock = Arc::new(SystemClock);
        let folder = Folder::open(&self.data_dir.clone().unwrap_or_else(|| default_data_dir().join("dev")))?;
        let places = arrange(&mut settings, &folder, entropy.as_ref())?;
        let redirect_uris = settings.server.public_url.join("/api/cloudlink/redirect");

        let application = Application::build(&settings, Seams::of_this_machine(None)).await?;
        let provider = DemoProvider::start(&folder, redirect_uris, clock.clone(), entropy.clone())?;
        let finished = CancellationToken::new();
        let serving = async {
            let served = application.run(finished.clone()).await;
            finished.cancel();
            served
        };
        let showing = async {
            let show = async {
                let server: Server = settings.server.public_url.origin().parse()?;
                let owner = OwnerLogin {
                    user: settings.admin.user.clone(),
                    password: settings.admin.password.clone().context("the owner has no password")?,
                };
                let plugin = provider.oauth_configuration();
                let household =
                    Household::furnish(&folder, server, &owner, &plugin, clock, entropy.clone()).await?;
                introduce(terminal, &settings, &places, &folder, &provider, &household)?;
                // The plugin leaves before its server does.
                story::tell(&household, terminal, stop).await
            };
            let shown = tokio::select! {
                biased;
                shown = show => shown,
                () = stop.cancelled() => Ok(()),
                () = finished.cancelled() => Ok(()),
            };
            finished.cancel();
            shown
        };
        let (served, shown) = tokio::join!(serving, showing);
        provider.stop().await;
        served?;
        shown
    }
}

/// Where the two listeners wait.
struct Places {
    public: Place,
    admin: Place,
}

/// Fills in what `serve` would want to be told.
fn arrange(settings: &mut Settings, folder: &Folder, entropy: &dyn Entropy) -> anyhow::Result<Places> {
    let near = |wanted: SocketAddr| {
        Place::near(wanted).with_context(|| format!("no port of {} can be listened on", wanted.ip()))
    };
    let places = Places { public: near(settings.server.bind)?, admin: near(settings.admin.bind)? };
    settings.server.bind = places.public.address();
    settings.admin.bind = places.admin.address();
    settings.server.public_url = format!("http://{}", here(settings.server.bind)).parse()?;
    settings.egress.policy = EgressPolicy::AllowPrivate;
    // One person, one machine: there is nobody to tell apart by a code.
    settings.consent.binding = ConsentBinding::Page;
    if settings.database.url.is_none() {
        settings.database.data_dir.get_or_insert_with(|| folder.path().to_owned());
    }
    if settings.vault.keys.is_empty() {
        let key = folder.find_or_keep(VAULT_KEY_FILE, || {
            let bytes = Zeroizing::new(draw::<32>(entropy));
            Zeroizing::new(format!("dev:{}", STANDARD.encode(bytes.as_slice())))
        })?;
        settings.vault.keys = vec![SecretValue::new(key.trim())];
    }
    if settings.admin.password.is_none() {
        let password = folder.find_or_keep(OWNER_PASSWORD_FILE, || {
            Zeroizing::new(Password::draw(entropy).expose().to_owned())
        })?;
        settings.admin.password = Some(Password::new(password.trim()));
    }
    Ok(places)
}

/// How this machine reaches a listener.
fn here(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// Says what there is now.
fn introduce(
    terminal: &Terminal,
    settings: &Settings,
    places: &Places,
    folder: &Folder,
    provider: &DemoProvider,
    household: &Household,
) -> anyhow::Result<()> {
    let database = if settings.database.url.is_some() {
        "PostgreSQL at database.url".to_owned()
    } else {
        format!("embedded PostgreSQL in {}", folder.shown(""))
    };
    let moved = |place, usual: &str| match place {
        Place::AsWanted(_) => String::new(),
        Place::Instead(_) => format!("  ({usual} is taken)"),
    };
    let public = &settings.server.public_url;
    let admin = here(places.admin.address());
    let device = household.plugin().device.to_string();
    let device = device.get(..8).unwrap_or(&device);
    terminal.say("cloudlink dev")?;
    terminal.say(format_args!("  database   {database}"))?;
    terminal.say(format_args!("  server     {public}{}", moved(places.public, "the usual port")))?;
    terminal.say(format_args!(
        "  console    http://{admin}/admin{}  (log in as {}, password in {})",
        moved(places.admin, "the usual port"),
        settings.admin.user,
        folder.shown(OWNER_PASSWORD_FILE),
    ))?;
    terminal.say(format_args!(
        "  provider   {}  (demo; client {}, secret in {})",
        provider.origin(),
        provider::CLIENT_ID,
        folder.shown(provider::SECRET_FILE),
    ))?;
    terminal.say(format_args!(
        "  device     {DEVICE} {device}…, slot {SLOT}, key in {}",
        folder.shown(household::KEY_FILE)
    ))?;
    terminal.say("")?;
    Ok(())
}
