//! The floor: nothing but the request and one guarded update of the grant, in a bare loop. What this machine could do
//! at best, with the same client, the same pool and as many at once; a broker has to do more to be safe.

use anyhow::{Result, ensure};
use cloudlink::{domain::clock::Clock as _, seams::SystemClock};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::PgPool;
use uuid::Uuid;

use crate::fill::SLOTS;

/// As `refresh.concurrency`.
const AT_ONCE: usize = 64;

/// One refresh: whose, where, and what is stored in the end.
pub(crate) struct Task {
    device: Uuid,
    endpoint: String,
    fence: i64,
    tokens: Vec<u8>,
}

/// Reads what is needed, so that the loop need not.
pub(crate) async fn prepare(pool: &PgPool, due: &[Uuid], providers: &[String]) -> Result<Vec<Task>> {
    let statement = "-- bench_prepare
        select device, refresh_fence, tokens from grants where device = any($1) and slot = $2";
    let rows: Vec<(Uuid, i64, Vec<u8>)> =
        sqlx::query_as(statement).bind(due).bind(SLOTS[0]).fetch_all(pool).await?;
    let task = |(device, fence, tokens), provider: &String| Task {
        device,
        endpoint: format!("{provider}/token"),
        fence,
        tokens,
    };
    Ok(rows.into_iter().zip(providers.iter().cycle()).map(|(row, provider)| task(row, provider)).collect())
}

/// Makes them all.
pub(crate) async fn run(pool: &PgPool, work: Vec<Task>) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().http1_only().pool_max_idle_per_host(0).build()?;
    let refreshed = stream::iter(work).map(|task| {
        let (client, pool) = (client.clone(), pool.clone());
        async move { tokio::spawn(async move { refresh(&client, &pool, task).await }).await? }
    });
    refreshed.buffer_unordered(AT_ONCE).try_collect::<()>().await
}

async fn refresh(client: &reqwest::Client, pool: &PgPool, task: Task) -> Result<()> {
    let form = "grant_type=refresh_token&client_id=the-client&client_secret=the-secret&refresh_token=rt-1";
    let answer = client.post(task.endpoint).body(form).send().await?.bytes().await?;
    ensure!(!answer.is_empty(), "no answer");
    let statement = "-- bench_floor
        update grants set tokens = $4, obtained_at = $5, expires_at = $5 + interval '1 hour', refreshed_at = $5,
            refresh_at = $5 + interval '58 minutes', refresh_set_at = $5
        where device = $1 and slot = $2 and refresh_fence = $3";
    let stored = sqlx::query(statement).bind(task.device).bind(SLOTS[0]).bind(task.fence).bind(task.tokens);
    let stored = stored.bind(SystemClock.now()).execute(pool).await?;
    ensure!(stored.rows_affected() == 1, "the grant is gone");
    Ok(())
}
