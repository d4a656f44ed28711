//! One NATS subject that every replica listens to, or one for each device that is connected: what each costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, stream::SelectAll};
use uuid::Uuid;

use crate::server::{Nats, resident};

/// Knocks of which none is for a device connected here.
const FOREIGN: u32 = 200_000;
/// Published before it is waited until they have come: less than what a subscription holds.
const AT_ONCE: u32 = 10_000;
/// Rounds of the latency.
const ROUNDS: usize = 1000;

fn device(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

pub(crate) async fn measure(nats: &Nats, devices: usize) -> Result<()> {
    println!("\none subject, or one for each of {devices} devices");
    one_subject(nats).await?;
    a_subject_each(nats, devices).await
}

/// Every replica hears every knock: what does it cost to hear one that is for nobody here?
async fn one_subject(nats: &Nats) -> Result<()> {
    let (sender, receiver) = (nats.client().await?, nats.client().await?);
    let mut knocks = receiver.subscribe("bench.knock").await?;
    come_back(&receiver).await?;
    let payload = format!("{}/heating/an-origin-xxxx", device(1));
    let (begun, before) = (Instant::now(), processors()?);
    for _ in 0..FOREIGN / AT_ONCE {
        for _ in 0..AT_ONCE {
            sender.publish("bench.knock", payload.clone().into()).await?;
        }
        for _ in 0..AT_ONCE {
            let message = knocks.next().await.context("the subscription ended")?;
            let text = std::str::from_utf8(&message.payload)?;
            let device: Uuid = text.split('/').next().unwrap_or_default().parse()?;
            anyhow::ensure!(device == self::device(1), "another knock");
        }
    }
    let (wall, processors) = (begun.elapsed(), processors()?.saturating_sub(before));
    println!(
        "one: {:.0} foreign knocks/s, {:.2} us of processors to send and hear one; {}",
        f64::from(FOREIGN) / wall.as_secs_f64(),
        processors.as_secs_f64() * 1e6 / f64::from(FOREIGN),
        round(&sender, &mut knocks, "bench.knock").await?,
    );
    Ok(())
}

/// Only who is concerned hears a knock: what does it cost to subscribe, again after each reconnect?
async fn a_subject_each(nats: &Nats, devices: usize) -> Result<()> {
    let (sender, receiver) = (nats.client().await?, nats.client().await?);
    let (server, own) = (nats.memory(), resident(std::process::id()));
    let begun = Instant::now();
    let mut all = SelectAll::new();
    for number in 0..devices {
        all.push(receiver.subscribe(format!("bench.{}", device(number))).await?);
    }
    come_back(&receiver).await?;
    let subscribing = begun.elapsed();
    let (server, own) =
        (nats.memory().saturating_sub(server), resident(std::process::id()).saturating_sub(own));
    println!(
        "each: {:.0} ms to subscribe, {:.1} MB more of the server, {:.1} MB of the replica; {}",
        subscribing.as_secs_f64() * 1000.0,
        server as f64 / 1000.0,
        own as f64 / 1000.0,
        round(&sender, &mut all, &format!("bench.{}", device(devices / 2))).await?,
    );
    Ok(())
}

/// Waits until the server has done all that this client asked before.
async fn come_back(client: &async_nats::Client) -> Result<()> {
    let mut messages = client.subscribe("bench.back").await?;
    client.publish("bench.back", "".into()).await?;
    messages.next().await.context("the subscription ended")?;
    Ok(())
}

async fn round(
    sender: &async_nats::Client,
    messages: &mut (impl futures_util::Stream<Item = async_nats::Message> + Unpin),
    subject: &str,
) -> Result<String> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = Instant::now();
        sender.publish(subject.to_owned(), "a/b".into()).await?;
        messages.next().await.context("the subscription ended")?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(format!("a knock takes {:.3} ms (p50)", times[ROUNDS / 2].as_secs_f64() * 1000.0))
}

/// Processor time of this process.
fn processors() -> Result<Duration> {
    Ok(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).try_into()?)
}
