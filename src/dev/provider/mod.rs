//! The demo's provider, "Acme Thermostats": a stand-in for the newcomer only, on loopback.
//!
//! It does what a small real one does: the authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636),
//! rotating refresh tokens (§6), revocation (RFC 7009), `iss` (RFC 9207). It has one client and one account,
//! and nobody has to prove to be that account: it protects nothing. Any plugin of this cloudlink may use the client,
//! and call the API, which has one thermostat. Its live tokens are kept, as hashes, so that a second run finds a grant
//! that still works.

mod grants;
mod pages;
mod routes;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use anyhow::Context as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::{grants::Grants, routes::Shared};
use super::{folder::Folder, ports::listen_near};
use crate::domain::{
    clock::{Clock, Entropy},
    secret::ClientSecret,
};

/// The name that the consent page shows.
const NAME: &str = "Acme Thermostats";
pub(super) const CLIENT_ID: &str = "demo-plugin";
/// What the plugin asks for.
const SCOPE: &str = "thermostats.read thermostats.write";
/// Where it waits if nobody else does.
const USUAL_PORT: u16 = 8082;
const PORT_FILE: &str = "provider-port";
pub(super) const SECRET_FILE: &str = "provider-client-secret";

/// A provider whose socket is open.
pub(super) struct DemoProvider {
    origin: String,
    client_secret: ClientSecret,
    handle: ServerHandle,
}

impl DemoProvider {
    /// Starts it on the port of the last run where that is free.
    pub(super) fn start(
        folder: &Folder,
        redirect_uris: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> anyhow::Result<Self> {
        let last = folder.find(PORT_FILE)?.and_then(|port| port.trim().parse().ok());
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, last.unwrap_or(USUAL_PORT)));
        let (listener, place) = listen_near(wanted).context("the demo provider found no free port")?;
        let port = place.address().port();
        folder.keep(PORT_FILE, &port.to_string())?;
        let secret = folder.find_or_keep(SECRET_FILE, || {
            Zeroizing::new(ClientSecret::draw(entropy.as_ref()).expose().to_owned())
        })?;
        let client_secret = ClientSecret::new(secret.as_str());
        // Another host than cloudlink's: cookies don't care for ports.
        let origin = format!("http://localhost:{port}");
        let shared = web::Data::new(Shared {
            grants: Mutex::new(Grants::open(folder.clone())?),
            origin: origin.clone(),
            redirect_uris,
            client_secret: client_secret.clone(),
            clock,
            entropy,
        });
        let server =
            HttpServer::new(move || App::new().app_data(shared.clone()).configure(routes::configure))
                .workers(1)
                .disable_signals()
                .shutdown_timeout(2)
                .listen(listener)
                .context("the demo provider can't listen")?
                .run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self { origin, client_secret, handle })
    }

    /// Its address for a browser.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What the plugin store is told about it.
    pub(super) fn oauth_configuration(&self) -> Value {
        let origin = &self.origin;
        json!({
            "name": NAME,
            "client_id": CLIENT_ID,
            "client_secret": self.client_secret.expose(),
            "auth_endpoint": format!("{origin}/authorize"),
            "token_endpoint": format!("{origin}/token"),
            "revocation_endpoint": format!("{origin}/revoke"),
            "issuer": origin,
            "iss_required": true,
            "scope": SCOPE,
            "addScope": false,
            "addRedirect": true,
            "redirect_uri": "own",
        })
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.handle.stop(true).await;
    }
}
