use super::{BranchId, Db, PushId, Result};
use crate::clock::Seconds;

/// A branch of a repository.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Branch {
    /// Its number.
    pub id: BranchId,
    /// Of the repository.
    pub url: String,
    /// Its name there.
    pub name: String,
    /// The commit it stood at when it was seen last; none while it was never seen or is gone.
    pub tip: Option<String>,
    /// When somebody looked last, whatever came of it.
    pub looked_at: Option<Seconds>,
    /// When to look again.
    pub next_look: Seconds,
    /// How many looks found no commit since the last that did.
    pub failures: i64,
    /// What was wrong at the last look.
    pub problem: Option<BranchProblem>,
    /// The problem in words.
    pub reason: Option<String>,
}

/// What keeps us from knowing a branch's commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum BranchProblem {
    /// The repository did not answer.
    Unreachable,
    /// It answered, and has no such branch.
    Missing,
}

/// A branch was seen to move.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Push {
    /// Its number: later pushes have larger ones.
    pub id: PushId,
    /// Where it stood; none if it was not there.
    pub before: Option<String>,
    /// Where it stands; none if it vanished.
    pub after: Option<String>,
    /// When that was noticed.
    pub seen_at: Seconds,
}

impl Db {
    /// The branch called `name` of the repository at `url`; new ones are due at once.
    pub async fn ensure_branch(&self, url: &str, name: &str) -> Result<BranchId> {
        const ADD: &str = "insert into branch (url, name) values ($1, $2) on conflict (url, name) do nothing";
        const FIND: &str = "select id from branch where url = $1 and name = $2";
        let found: Option<BranchId> = each!(&self.readers, pool => sqlx::query_scalar(FIND).bind(url).bind(name).fetch_optional(pool).await?);
        if let Some(id) = found {
            return Ok(id);
        }
        let mut tx = self.begin().await?;
        execute!(&mut tx, ADD, url, name);
        let id =
            each!(&mut tx, tx => sqlx::query_scalar(FIND).bind(url).bind(name).fetch_one(&mut **tx).await?);
        tx.commit().await?;
        Ok(id)
    }

    /// All branches, by URL and name.
    pub async fn branches(&self) -> Result<Vec<Branch>> {
        const SQL: &str = "select id, url, name, tip, looked_at, next_look, failures, problem, reason
            from branch order by url, name";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// The branch was seen at the commit `tip`. Says whether it moved, which is a push then.
    pub async fn record_look(
        &self,
        branch: BranchId,
        tip: &str,
        now: Seconds,
        next_look: Seconds,
    ) -> Result<bool> {
        const PUSH: &str = "insert into push (branch_id, before, after, seen_at)
            select id, tip, $2, $3 from branch where id = $1 and tip is distinct from $2";
        const LOOK: &str = "update branch set tip = $2, looked_at = $3, next_look = $4,
            failures = 0, problem = null, reason = null where id = $1";
        let mut tx = self.begin().await?;
        let pushes = execute!(&mut tx, PUSH, branch, tip, now);
        execute!(&mut tx, LOOK, branch, tip, now, next_look);
        tx.commit().await?;
        Ok(pushes > 0)
    }

    /// The repository answered that it has no such branch: a push to nowhere, once.
    pub async fn record_vanished(
        &self,
        branch: BranchId,
        reason: &str,
        now: Seconds,
        next_look: Seconds,
    ) -> Result<()> {
        const PUSH: &str = "insert into push (branch_id, before, after, seen_at)
            select id, tip, null, $2 from branch where id = $1 and tip is not null";
        const LOOK: &str = "update branch set tip = null, problem = 'missing', reason = $2, looked_at = $3,
            next_look = $4, failures = failures + 1 where id = $1";
        let mut tx = self.begin().await?;
        execute!(&mut tx, PUSH, branch, now);
        execute!(&mut tx, LOOK, branch, reason, now, next_look);
        tx.commit().await
    }

    /// The repository did not answer: what is known of the branch stays.
    pub async fn record_look_failure(
        &self,
        branch: BranchId,
        reason: &str,
        now: Seconds,
        next_look: Seconds,
    ) -> Result<()> {
        const LOOK: &str = "update branch set problem = 'unreachable', reason = $2, looked_at = $3,
            next_look = $4, failures = failures + 1 where id = $1";
        let mut tx = self.begin().await?;
        execute!(&mut tx, LOOK, branch, reason, now, next_look);
        tx.commit().await
    }

    /// The latest pushes to a branch, newest first.
    pub async fn pushes(&self, branch: BranchId, limit: i64) -> Result<Vec<Push>> {
        const SQL: &str = "select id, before, after, seen_at from push where branch_id = $1
            order by id desc limit $2";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(branch).bind(limit).fetch_all(pool).await?))
    }
}
