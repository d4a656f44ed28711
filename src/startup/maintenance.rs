//! Work on the database from the command line, on the machine, whether a `serve` runs or not.

use std::sync::Arc;

use anyhow::Result;

use super::{
    database::{LONG_STATEMENT, cluster_folder, connect, database_beside},
    vault_ring,
};
use crate::{
    config::Settings,
    seams::SystemEntropy,
    store::{self, Store},
};

/// Connections of such a command; the private database has room for them beside those of `serve`.
const CONNECTIONS: u32 = 5;

/// Lets `work` have the database of `settings`. Nothing is made and nothing migrated: a database that is not there, or
/// that this version does not fit, is refused.
pub async fn maintain<T>(settings: &Settings, work: impl AsyncFnOnce(Store) -> Result<T>) -> Result<T> {
    let ring = Arc::new(vault_ring(settings).await?);
    let folder = cluster_folder(settings.database.data_dir.as_deref());
    if settings.database.url.is_none() && !folder.exists() {
        anyhow::bail!(
            "there is no database in {}: give the settings and the environment that `serve` has \
             (database.url, database.data_dir or CLOUDLINK_DATA_DIR)",
            folder.display()
        );
    }
    let (options, cluster) = database_beside(settings).await?;
    let done = async {
        let pool = connect(&options, CONNECTIONS).await?;
        let done = async {
            store::check_current(&pool).await?;
            work(Store::new(pool.clone(), LONG_STATEMENT, ring, Arc::new(SystemEntropy))).await
        }
        .await;
        pool.close().await;
        done
    }
    .await;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    done
}
