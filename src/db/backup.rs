use super::{Db, Either, Result};

impl Db {
    /// Writes a copy of the database as it is now into a new `SQLite` file, while others work with it.
    /// `false`: it is in `PostgreSQL`, which has programs of its own for that.
    pub async fn backup(&self, file: &str) -> Result<bool> {
        let Either::Sqlite(pool) = &self.readers else { return Ok(false) };
        // Of its own, because a file is attached to it.
        let mut connection = pool.acquire().await?.detach();
        sqlx::query("vacuum into $1").bind(file).execute(&mut connection).await?;
        Ok(true)
    }

    /// Gives the space of what was removed back to the machine.
    pub async fn vacuum(&self) -> Result<()> {
        match &self.writer {
            Either::Sqlite(pool) => {
                sqlx::query("vacuum").execute(pool).await?;
                sqlx::query("pragma wal_checkpoint(truncate)").execute(pool).await?;
            }
            // Others go on meanwhile; what is at the end of a table's file is given back, the rest used anew.
            Either::Postgres(pool) => {
                sqlx::query("vacuum analyze").execute(pool).await?;
            }
        }
        Ok(())
    }
}
