use super::{Db, Either, Result};

impl Db {
    /// Writes a copy of the current database into a new `SQLite` file, without blocking others.
    /// Returns `false` for `PostgreSQL`, which has backup programs of its own.
    pub async fn backup(&self, file: &str) -> Result<bool> {
        let Either::Sqlite(pool) = &self.readers else { return Ok(false) };
        // A connection of its own, because a file is attached to it.
        let mut connection = pool.acquire().await?.detach();
        sqlx::query("vacuum into $1").bind(file).execute(&mut connection).await?;
        Ok(true)
    }

    /// Frees the disk space of deleted rows.
    pub async fn vacuum(&self) -> Result<()> {
        match &self.writer {
            Either::Sqlite(pool) => {
                sqlx::query("vacuum").execute(pool).await?;
                sqlx::query("pragma wal_checkpoint(truncate)").execute(pool).await?;
            }
            // Others can work meanwhile. Only space at the end of a table's file is freed; the rest
            // is reused.
            Either::Postgres(pool) => {
                sqlx::query("vacuum analyze").execute(pool).await?;
            }
        }
        Ok(())
    }
}
