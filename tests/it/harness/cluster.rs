//! A database of its own for each test, about 30 ms apiece.
//!
//! The first test of the process starts one private PostgreSQL and fills one template; each test copies
//! the template. Nothing is cleaned up by hand: the server ends with the process and deletes its folder,
//! also when the process is killed. With `CLOUDLINK_TEST_DATABASE_URL` (a role that may create databases)
//! an existing server is used instead, and keeps the databases.

use std::fmt::Display;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use cloudlink::cluster::{Cluster, ClusterSettings, Durability};
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgPool};
use tokio::sync::OnceCell;
use url::Url;

static SERVER: OnceCell<Server> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

struct Server {
    /// Of a database that exists and that nobody copies.
    admin: Url,
    template: String,
    /// Held for the life of the process; its end is the server's end.
    _cluster: Option<Cluster>,
}

/// A fresh copy of the migrated template.
pub(crate) struct Database {
    /// For `database.url`, and for further pools as other replicas would have them.
    pub(crate) url: String,
    /// A pool of at most 8 connections.
    pub(crate) pool: PgPool,
}

impl Database {
    /// Makes the database. `migrate` is called once a process, on the empty template.
    pub(crate) async fn fresh<E: Display>(migrate: impl AsyncFnOnce(&PgPool) -> Result<(), E>) -> Self {
        let server = SERVER.get_or_init(|| Server::start(migrate)).await;
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        create(&server.admin, &name, &server.template).await;
        let url = with_database(&server.admin, &name);
        let pool = PgPoolOptions::new().max_connections(8).connect(url.as_str()).await.unwrap();
        Self { url: url.into(), pool }
    }
}

impl Database {
    /// One that exists, on a server of its own.
    pub(crate) async fn at(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(8).connect(url).await.unwrap();
        Self { url: url.to_owned(), pool }
    }
}

impl Server {
    async fn start<E: Display>(migrate: impl AsyncFnOnce(&PgPool) -> Result<(), E>) -> Self {
        let (admin, cluster) = if let Ok(url) = std::env::var("CLOUDLINK_TEST_DATABASE_URL") {
            (url, None)
        } else {
            let cluster = start_cluster().await;
            (cluster.url("postgres"), Some(cluster))
        };
        let admin = admin.parse().unwrap();
        let template = format!("template_{}", std::process::id());
        create(&admin, &template, "template1").await;
        let pool = PgPoolOptions::new().max_connections(2);
        let pool = pool.connect(with_database(&admin, &template).as_str()).await.unwrap();
        if let Err(error) = migrate(&pool).await {
            panic!("the migrations fail: {error}");
        }
        // A template that somebody is connected to can't be copied.
        pool.close().await;
        Self { admin, template, _cluster: cluster }
    }
}

async fn start_cluster() -> Cluster {
    // Kept: the server deletes it. Open to all, because as root the server is somebody else.
    let open = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("cloudlink-test-").permissions(open).tempdir().unwrap();
    let settings =
        ClusterSettings { data_dir: folder.keep(), durability: Durability::Discarded, max_connections: 400 };
    match Cluster::start(&settings).await {
        Ok(cluster) => cluster,
        Err(error) => panic!("{error}"),
    }
}

async fn create(admin: &Url, name: &str, template: &str) {
    let mut connection = PgConnection::connect(admin.as_str()).await.unwrap();
    let statement = format!("create database {name} template {template}");
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    connection.close().await.unwrap();
}

fn with_database(url: &Url, name: &str) -> Url {
    let mut url = url.clone();
    url.set_path(name);
    url
}
