use futures_util::TryFutureExt as _;
use sqlx::Executor as _;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;

use super::{BUSY_TIMEOUT, Db, Either, Result};

impl Db {
    /// A view of the current database: all queries read the same snapshot. A report makes several
    /// queries, and would contradict itself if something was written between them.
    ///
    /// It has its own connection and transaction, so drop it when the report is complete.
    pub async fn snapshot_view(&self) -> Result<Self> {
        const SQLITE: &str = "begin";
        const POSTGRES: &str = "begin isolation level repeatable read read only";
        let readers = match &self.readers {
            Either::Sqlite(pool) => {
                let options = SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY_TIMEOUT);
                let options =
                    options.after_connect(|connection, _| Box::pin(connection.execute(SQLITE).map_ok(drop)));
                Either::Sqlite(options.connect_with((*pool.connect_options()).clone()).await?)
            }
            Either::Postgres(pool) => {
                let options = PgPoolOptions::new().max_connections(1).acquire_timeout(BUSY_TIMEOUT);
                let options = options
                    .after_connect(|connection, _| Box::pin(connection.execute(POSTGRES).map_ok(drop)));
                Either::Postgres(options.connect_with((*pool.connect_options()).clone()).await?)
            }
        };
        Ok(Self { readers, ..self.clone() })
    }
}
