//! Blocked specs: which are not evaluated, why, since when, and when they are retried.

use crate::clock::Seconds;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{Db, PushId, Result, SpecId};

/// A spec that is blocked, and why.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct BlockedSpec {
    /// The number of the spec.
    pub spec_id: SpecId,
    /// The name of the spec.
    pub spec: String,
    /// The target that it wants evaluated, as a text. A new target is tried at once.
    pub target: String,
    /// The kind of problem.
    pub kind: BlockKind,
    /// The problem in words.
    pub reason: String,
    /// The push that must be acknowledged.
    pub push_id: Option<PushId>,
    /// When the block began.
    pub since: Seconds,
    /// Not retried before this time.
    pub next_attempt: Seconds,
    /// Number of failed attempts.
    pub failures: i64,
}

/// The kind of problem that blocks a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum BlockKind {
    /// A commit is not authentic.
    Bad,
    /// A key is missing, so the signature cannot be checked.
    Unknown,
    /// A branch moved to a commit that does not descend from the one that was evaluated before.
    Rollback,
    /// The channel's own description cannot be used.
    Metadata,
    /// Something could not be fetched, or be checked.
    Failed,
}

impl BlockKind {
    /// The kind in words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bad => "not authentic",
            Self::Unknown => "unknown signer",
            Self::Rollback => "not a descendant",
            Self::Metadata => "bad .guix-channel",
            Self::Failed => "failed",
        }
    }
}

/// A block to record.
#[derive(Debug, Clone)]
pub struct NewBlock<'a> {
    /// The target of the spec, as a text.
    pub target: &'a str,
    /// The kind of problem.
    pub kind: BlockKind,
    /// The problem in words.
    pub reason: &'a str,
    /// The push that must be acknowledged.
    pub push: Option<PushId>,
    /// Not retried before this time.
    pub next_attempt: Seconds,
}

impl Db {
    /// The blocked specs of the farm, by name.
    pub async fn blocked_specs(&self) -> Result<Vec<BlockedSpec>> {
        const SQL: &str = "select h.spec_id, s.name as spec, h.target, h.kind, h.reason, h.push_id, h.since,
              h.next_attempt, h.failures
            from blocked_spec h join spec s on s.id = h.spec_id where s.present and s.active order by s.name";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// Records that a spec is blocked.
    pub async fn block_spec(&self, spec: SpecId, block: &NewBlock<'_>, now: Seconds) -> Result<()> {
        const SQL: &str =
            "insert into blocked_spec (spec_id, target, kind, reason, push_id, since, next_attempt, failures)
            values ($1, $2, $3, $4, $5, $6, $7, 1)
            on conflict (spec_id) do update set kind = excluded.kind, reason = excluded.reason,
              push_id = excluded.push_id, next_attempt = excluded.next_attempt, target = excluded.target,
              since = case when blocked_spec.target = excluded.target then blocked_spec.since else excluded.since end,
              failures = case when blocked_spec.target = excluded.target then blocked_spec.failures + 1 else 1 end";
        let NewBlock { target, kind, reason, push, next_attempt } = block;
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, spec, target, kind, reason, push, now, next_attempt);
        log(&mut tx, EventKind::Spec, Some(spec), None, now).await?;
        tx.commit().await
    }

    /// Records that a spec is no longer blocked.
    pub async fn unblock_spec(&self, spec: SpecId) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut tx, "delete from blocked_spec where spec_id = $1", spec);
        tx.commit().await
    }
}
