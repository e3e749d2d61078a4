use crate::clock::Seconds;
use crate::db::{Db, Result};

/// The state of the local mirror of a repository.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Mirror {
    /// The URL of the repository.
    pub url: String,
    /// The last successful fetch.
    pub fetched_at: Option<Seconds>,
    /// The last failed fetch, if none has succeeded since.
    pub failed_at: Option<Seconds>,
    /// Not fetched again before this time.
    pub next_fetch: Seconds,
    /// Number of failed fetches since the last successful one.
    pub failures: i64,
    /// The problem of the last fetch.
    pub problem: Option<MirrorProblem>,
    /// The problem in words.
    pub reason: Option<String>,
}

/// Why a mirror is not up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum MirrorProblem {
    /// The repository did not answer, or refused.
    Failed,
    /// The wanted commit does not exist.
    Missing,
}

impl Db {
    /// All mirrors, by URL.
    pub async fn mirrors(&self) -> Result<Vec<Mirror>> {
        const SQL: &str = "select url, fetched_at, failed_at, next_fetch, failures, problem, reason
            from mirror order by url";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// Records that the mirror of `url` was removed.
    pub async fn forget_mirror(&self, url: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut tx, "delete from mirror where url = $1", url);
        tx.commit().await
    }

    /// The mirror of the repository at `url`, if a fetch was ever tried.
    pub async fn mirror(&self, url: &str) -> Result<Option<Mirror>> {
        const SQL: &str = "select url, fetched_at, failed_at, next_fetch, failures, problem, reason
            from mirror where url = $1";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(url).fetch_optional(pool).await?))
    }

    /// Records a successful fetch, and clears earlier problems.
    pub async fn record_fetch(&self, url: &str, now: Seconds) -> Result<()> {
        const SQL: &str = "insert into mirror (url, fetched_at) values ($1, $2)
            on conflict (url) do update set fetched_at = excluded.fetched_at, failed_at = null,
              next_fetch = 0, failures = 0, problem = null, reason = null";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, url, now);
        tx.commit().await
    }

    /// Records that a mirror is used. Problems of the repository stay, because they are from
    /// another fetch.
    pub async fn touch_mirror(&self, url: &str, now: Seconds) -> Result<()> {
        const SQL: &str = "insert into mirror (url, fetched_at) values ($1, $2)
            on conflict (url) do update set fetched_at = excluded.fetched_at";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, url, now);
        tx.commit().await
    }

    /// Records a failed fetch.
    pub async fn record_fetch_failure(
        &self,
        url: &str,
        problem: MirrorProblem,
        reason: &str,
        now: Seconds,
        next_fetch: Seconds,
    ) -> Result<()> {
        const SQL: &str = "insert into mirror (url, problem, reason, failed_at, next_fetch, failures)
            values ($1, $2, $3, $4, $5, 1)
            on conflict (url) do update set problem = excluded.problem, reason = excluded.reason,
              failed_at = excluded.failed_at, next_fetch = excluded.next_fetch,
              failures = mirror.failures + 1";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, url, problem, reason, now, next_fetch);
        tx.commit().await
    }
}
