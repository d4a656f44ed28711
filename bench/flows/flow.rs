//! A flow as everybody concerned sees it, many at once, and what they cost.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use sqlx::PgPool;

use crate::{
    homes::{Home, Listening},
    wire::Connection,
};

/// Flows, and whatever else is asked for, at once.
pub(crate) const AT_ONCE: usize = 16;

/// One flow: the plugin asks, its user's browser goes to the provider and comes back, the plugin is told and says so.
async fn flow(connection: &mut Connection, listening: &mut Listening) -> Result<()> {
    let path = format!("{}/connect", listening.home.path);
    let head = format!("{}content-type: application/json\r\n", listening.home.authorization);
    let started = connection.expect(201, ("POST", &path), &head, "{}").await?.json()?;
    let url = started["connect_url"].as_str().context("no URL to connect at")?;
    let page = url.find("/connect/").map(|at| &url[at..]).context("another URL")?;

    let asked = connection.expect(200, ("GET", page), "", "").await?;
    let cookie = asked.header("set-cookie").and_then(|cookie| cookie.split(';').next());
    let head = format!("cookie: {}\r\n", cookie.context("no cookie")?);
    let html = String::from_utf8(asked.body)?;
    let csrf = between(&html, "name=\"csrf\" value=\"", "\"").context("no csrf")?;

    let form = format!("csrf={csrf}&decision=continue");
    let form_head = format!("{head}content-type: application/x-www-form-urlencoded\r\n");
    let sent = connection.expect(303, ("POST", page), &form_head, &form).await?;
    let location = sent.header("location").context("sent nowhere")?;
    let state = between(&format!("{location}&"), "state=", "&").context("no state")?.to_owned();

    let callback = format!("/api/cloudlink/redirect?code=a-code-that-is-good-once&state={state}");
    let back = connection.expect(303, ("GET", &callback), &head, "").await?;
    ensure!(back.header("location") == Some(page), "sent to another page");
    listening.take_consent().await
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    rest.split(after).next()
}

/// Homes that listen, taken in turn, so that none has two flows at once.
pub(crate) struct Street(Mutex<VecDeque<Listening>>);

impl Street {
    /// Attaches all homes.
    pub(crate) async fn attach(homes: &[Home], host: &str) -> Result<Arc<Self>> {
        let mut listening = VecDeque::with_capacity(homes.len());
        for home in homes {
            listening.push_back(Listening::attach(home, host).await?);
        }
        Ok(Arc::new(Self(Mutex::new(listening))))
    }

    fn take(&self) -> Option<Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn give_back(&self, listening: Listening) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(listening);
    }
}

/// Makes that many flows, and waits until the last one is acknowledged.
pub(crate) async fn run(street: &Arc<Street>, host: &str, flows: usize, pool: &PgPool) -> Result<()> {
    let street = Arc::clone(street);
    at_once(host, flows, async move |connection, _| {
        let mut listening = street.take().context("too few homes")?;
        flow(connection, &mut listening).await?;
        street.give_back(listening);
        Ok(())
    })
    .await?;
    let open = "-- bench_open\nselect count(*) from slots where acked_version < version";
    while sqlx::query_scalar::<_, i64>(open).fetch_one(pool).await? > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Does `one` that many times, [`AT_ONCE`] at a time, each with a connection of its own and its number.
pub(crate) async fn at_once(
    host: &str,
    times: usize,
    one: impl AsyncFn(&mut Connection, usize) -> Result<()> + 'static,
) -> Result<()> {
    let one = &one;
    let workers = (0..AT_ONCE).map(async |worker| {
        let mut connection = Connection::to(host).await?;
        for number in (worker..times).step_by(AT_ONCE) {
            one(&mut connection, number).await?;
        }
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(workers).await.map(drop)
}
