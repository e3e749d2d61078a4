//! Branches that are watched, and the results of polls.

use serde_json::json;

use crate::clock::Seconds;
use crate::db::log::audit::record;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{BranchId, Db, Result, rows};
use crate::domain::access::{Action, Author};

/// A branch of a repository, or a pattern of branches. A pattern has no commit.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Branch {
    /// The number of the branch.
    pub id: BranchId,
    /// The URL of the repository.
    pub url: String,
    /// The name of the branch in the repository.
    pub name: String,
    /// The commit at which it was last seen; `None` if it was never seen or is gone.
    pub tip: Option<String>,
    /// When it was last polled, with any result.
    pub polled_at: Option<Seconds>,
    /// When to poll again.
    pub next_poll: Seconds,
    /// When a poll was last requested.
    pub requested_at: Option<Seconds>,
    /// Number of failed polls since the last one that found a commit.
    pub failures: i64,
    /// The problem of the last poll.
    pub problem: Option<BranchProblem>,
    /// The problem in words; for a pattern, what is not watched.
    pub reason: Option<String>,
    /// When it was first missing.
    pub missing_since: Option<Seconds>,
}

/// A missing branch counts as gone after this many seconds. Until then it keeps its commit. A
/// server that is being moved or replaced also answers without branches.
pub const GONE_AFTER: Seconds = 5 * 60;

/// Why the commit of a branch is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum BranchProblem {
    /// The repository did not answer.
    Unreachable,
    /// It answered, and has no such branch.
    Missing,
}

/// The result of polling a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollResult {
    /// The number of the branch.
    pub branch: BranchId,
    /// What the poll found.
    pub seen: BranchState,
    /// When to poll again.
    pub next_poll: Seconds,
}

/// What a poll found of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchState {
    /// The branch is at this commit.
    At(String),
    /// The repository answered for a pattern. The text says what is not watched.
    Listed(Option<String>),
    /// The repository answered that it has no such branch. The text says so.
    Missing(String),
    /// The repository did not answer, so the known state stays. The text says why.
    Unreachable(String),
}

impl PollResult {
    fn row(&self) -> serde_json::Value {
        let (tip, problem, reason) = match &self.seen {
            BranchState::At(tip) => (Some(tip), None, None),
            BranchState::Listed(note) => (None, None, note.as_ref()),
            BranchState::Missing(reason) => (None, Some("missing"), Some(reason)),
            BranchState::Unreachable(reason) => (None, Some("unreachable"), Some(reason)),
        };
        json!({ "branch": self.branch, "tip": tip, "problem": problem, "reason": reason, "next": self.next_poll })
    }
}

impl Db {
    /// Records the branches of the repository at `url`; new ones are due at once.
    pub async fn ensure_branches(&self, url: &str, names: &[&str]) -> Result<()> {
        let given = rows(names.iter().map(|name| json!({ "name": name })));
        let mut tx = self.begin().await?;
        execute!(
            &mut tx,
            sql!(
                "insert into branch (url, name)
                 select $1, given.name from records($2: name text) as given where true
                 on conflict (url, name) do nothing"
            ),
            url,
            &given
        );
        tx.commit().await
    }

    /// All branches, by URL and name.
    pub async fn branches(&self) -> Result<Vec<Branch>> {
        const SQL: &str =
            "select id, url, name, tip, polled_at, next_poll, requested_at, failures, problem, reason, missing_since
            from branch order by url, name";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// The branches with a commit that others must descend from.
    pub async fn trusted_branches(&self) -> Result<Vec<BranchId>> {
        const SQL: &str = "select id from branch where trusted is not null";
        each!(&self.readers, pool => Ok(sqlx::query_scalar(SQL).fetch_all(pool).await?))
    }

    /// Requests polls of branches as soon as possible.
    pub async fn request_polls(
        &self,
        branches: &[BranchId],
        subject: &str,
        author: &Author,
        now: Seconds,
    ) -> Result<()> {
        let ids = rows(branches.iter().map(|id| json!(id)));
        let mut tx = self.begin().await?;
        let sql = sql!("update branch set requested_at = $2 where id in ids($1)");
        execute!(&mut tx, sql, &ids, now);
        record(&mut tx, author, Action::Poll, subject, now).await?;
        tx.commit().await
    }

    /// Records polls of branches, and the pushes that they show: a branch is at another commit, is
    /// new, or is gone. Returns the number of pushes.
    pub async fn record_polls(&self, polls: &[PollResult], now: Seconds) -> Result<u64> {
        // The kind of push, where it shows without the commits. A missing branch counts as gone
        // only after `GONE_AFTER`.
        let push = sql!(
            "insert into push (branch_id, before, after, kind, seen_at)
             select b.id, b.tip, poll.tip,
               case when b.tip is null then 'created' when poll.tip is null then 'deleted'
                 when exists (select 1 from push p where p.branch_id = b.id and p.after = poll.tip)
                   then 'returned' end, $2
             from records($1: branch bigint, tip text, problem text) as poll join branch b on b.id = poll.branch
             where b.tip is distinct from poll.tip
               and (poll.problem is null or poll.problem = 'missing' and (b.tip is null or $2 - b.missing_since >= $3))
             order by b.id"
        );
        let update = sql!(
            "update branch set polled_at = $2, next_poll = poll.next, problem = poll.problem,
               reason = poll.reason, failures = case when poll.problem is null then 0 else failures + 1 end,
               tip = case when (poll.problem is null or poll.problem = 'missing'
                   and (branch.tip is null or $2 - branch.missing_since >= $3))
                 then poll.tip else branch.tip end,
               missing_since = case poll.problem when 'missing' then coalesce(branch.missing_since, $2)
                 when 'unreachable' then branch.missing_since end
             from records($1: branch bigint, tip text, problem text, reason text, next bigint) as poll
             where branch.id = poll.branch"
        );
        let given = rows(polls.iter().map(PollResult::row));
        let mut tx = self.begin().await?;
        let pushes = execute!(&mut tx, push, &given, now, GONE_AFTER);
        execute!(&mut tx, update, &given, now, GONE_AFTER);
        if pushes > 0 {
            log(&mut tx, EventKind::Push, None, None, now).await?;
        }
        tx.commit().await?;
        Ok(pushes)
    }
}
