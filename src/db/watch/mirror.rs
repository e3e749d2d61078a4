use crate::clock::Seconds;
use crate::db::{Db, Result};

/// What is known of the local mirror of a repository.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Mirror {
    /// Of the repository.
    pub url: String,
    /// The last fetch that succeeded.
    pub fetched_at: Option<Seconds>,
    /// The last that failed, if none succeeded since.
    pub failed_at: Option<Seconds>,
    /// Not to be tried again before.
    pub next_fetch: Seconds,
    /// How many fetches failed since the last that succeeded.
    pub failures: i64,
    /// What was wrong with the last one.
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
    /// The commit that was wanted is not there.
    Missing,
}

impl Db {
    /// All mirrors, by URL.
    pub async fn mirrors(&self) -> Result<Vec<Mirror>> {
        const SQL: &str = "select url, fetched_at, failed_at, next_fetch, failures, problem, reason
            from mirror order by url";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// There is no mirror of `url` any more.
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

    /// A fetch succeeded: earlier problems are over.
    pub async fn record_fetch(&self, url: &str, now: Seconds) -> Result<()> {
        const SQL: &str = "insert into mirror (url, fetched_at) values ($1, $2)
            on conflict (url) do update set fetched_at = excluded.fetched_at, failed_at = null,
              next_fetch = 0, failures = 0, problem = null, reason = null";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, url, now);
        tx.commit().await
    }

    /// A mirror is used. Problems of the repository stay: somebody else met them.
    pub async fn touch_mirror(&self, url: &str, now: Seconds) -> Result<()> {
        const SQL: &str = "insert into mirror (url, fetched_at) values ($1, $2)
            on conflict (url) do update set fetched_at = excluded.fetched_at";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, url, now);
        tx.commit().await
    }

    /// A fetch failed.
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
