//! The floor: a bare handler that makes the same request to the provider and writes the same number of transactions,
//! each of one row; and another that reads one row. What this machine could do at best with the same libraries; a
//! broker has to do more to be safe.

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Result;
use sqlx::{Executor as _, PgConnection, PgPool, postgres::PgPoolOptions};

/// As `database.max_connections`.
const CONNECTIONS: u32 = 10;

/// Its tables, with as many slots as there are homes. A row of each is as long as one of the broker's.
pub(crate) async fn make_tables(connection: &mut PgConnection, slots: i64) -> Result<()> {
    let tables = "create table flows (id bigint primary key, slot bigint not null, status text not null,
            configuration bytea not null, state bytea, callback bytea);
        create table grants (slot bigint primary key, tokens bytea not null);
        create table slots (slot bigint primary key, version bigint not null);";
    connection.execute(tables).await?;
    for (statement, length) in [
        ("insert into grants select slot, $2 from generate_series(0, $1 - 1) slot", 320),
        ("insert into slots select slot, octet_length($2) from generate_series(0, $1 - 1) slot", 1),
    ] {
        sqlx::query(statement).bind(slots).bind(vec![1_u8; length]).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The five transactions, as pgbench has them too: `$1` is the flow, `$2` the slot.
pub(crate) const TRANSACTIONS: [(&str, usize); 5] = [
    ("insert into flows (id, slot, status, configuration) values ($1, $2, 'pending', $3)", 480),
    ("update flows set status = 'authorizing', state = $3 where id = $1 and slot = $2", 120),
    ("update flows set status = 'exchanging', callback = $3 where id = $1 and slot = $2", 120),
    ("update grants set tokens = $3 where slot = $2 and $1::int8 >= 0", 320),
    ("update slots set version = version + octet_length($3) where slot = $2 and $1::int8 >= 0", 1),
];

struct Floor {
    pool: PgPool,
    client: reqwest::Client,
    endpoint: String,
}

/// Serves until it is ended.
pub(crate) async fn serve(host: &str, database: &str, provider: &str) -> Result<()> {
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_lazy(database)?;
    // As the broker's: no connection is kept for a second request.
    let client = reqwest::Client::builder().no_proxy().http1_only().pool_max_idle_per_host(0).build()?;
    let floor = web::Data::new(Floor { pool, client, endpoint: format!("{provider}/token") });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(floor.clone())
            .route("/readyz", web::get().to(HttpResponse::Ok))
            .route("/flow/{flow}/{slot}", web::get().to(flow))
            .route("/token/{slot}", web::get().to(token))
    });
    Ok(server.bind(host)?.run().await?)
}

async fn flow(floor: web::Data<Floor>, path: web::Path<(i64, i64)>) -> HttpResponse {
    match link(&floor, *path).await {
        Ok(()) => HttpResponse::SeeOther().insert_header(("location", "/")).finish(),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn link(floor: &Floor, (flow, slot): (i64, i64)) -> Result<()> {
    let [before @ .., store, ack] = TRANSACTIONS;
    for statement in before {
        write(&floor.pool, statement, flow, slot).await?;
    }
    let form = "grant_type=authorization_code&client_id=the-client&client_secret=the-secret&code=a-code";
    let answer = floor.client.post(&floor.endpoint).body(form).send().await?.bytes().await?;
    anyhow::ensure!(!answer.is_empty(), "no answer");
    for statement in [store, ack] {
        write(&floor.pool, statement, flow, slot).await?;
    }
    Ok(())
}

async fn write(
    pool: &PgPool,
    (statement, length): (&'static str, usize),
    flow: i64,
    slot: i64,
) -> Result<()> {
    let done = sqlx::query(statement).bind(flow).bind(slot).bind(vec![1_u8; length]).execute(pool).await?;
    anyhow::ensure!(done.rows_affected() == 1, "there is no such row");
    Ok(())
}

async fn token(floor: web::Data<Floor>, slot: web::Path<i64>) -> HttpResponse {
    let statement = "select tokens from grants where slot = $1";
    let found: Result<Vec<u8>, _> = sqlx::query_scalar(statement).bind(*slot).fetch_one(&floor.pool).await;
    match found {
        Ok(tokens) => HttpResponse::Ok().content_type("application/json").body(tokens),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}
