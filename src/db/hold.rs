//! Blocked specs: which are not evaluated, why, since when, and when they are tried again.

use super::{Db, PushId, Result, SpecId};
use crate::clock::Seconds;

/// Why what a spec wants is not evaluated.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct BlockedSpec {
    /// Which spec.
    pub spec_id: SpecId,
    /// The spec's name.
    pub spec: String,
    /// What it wants: something else is tried at once.
    pub wanted: String,
    /// The kind of trouble.
    pub kind: BlockKind,
    /// The trouble in words.
    pub reason: String,
    /// The push that has to be acknowledged.
    pub push_id: Option<PushId>,
    /// When it began.
    pub since: Seconds,
    /// Not to be tried again before.
    pub next_try: Seconds,
    /// How often it was tried.
    pub failures: i64,
}

/// What keeps a spec from being evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum BlockKind {
    /// A commit is not authentic.
    Bad,
    /// A key is missing, without which nobody can tell.
    Unknown,
    /// A branch went to a commit that does not follow on what was evaluated before.
    Rollback,
    /// A channel describes itself in a way that cannot be used.
    Metadata,
    /// Something could not be fetched, or be judged.
    Failed,
}

impl BlockKind {
    /// The word for it.
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

/// A [`BlockedSpec`] to be.
#[derive(Debug, Clone)]
pub struct NewBlock<'a> {
    /// What the spec wants.
    pub wanted: &'a str,
    /// The kind of trouble.
    pub kind: BlockKind,
    /// The trouble in words.
    pub reason: &'a str,
    /// The push that has to be acknowledged.
    pub push: Option<PushId>,
    /// Not to be tried again before.
    pub next_try: Seconds,
}

impl Db {
    /// The specs of the farm that are held, by name.
    pub async fn holds(&self) -> Result<Vec<BlockedSpec>> {
        const SQL: &str = "select h.spec_id, s.name as spec, h.wanted, h.kind, h.reason, h.push_id, h.since,
              h.next_try, h.failures
            from hold h join spec s on s.id = h.spec_id where s.present and s.active order by s.name";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// What the spec wants cannot be evaluated.
    pub async fn hold(&self, spec: SpecId, hold: &NewBlock<'_>, now: Seconds) -> Result<()> {
        const SQL: &str =
            "insert into hold (spec_id, wanted, kind, reason, push_id, since, next_try, failures)
            values ($1, $2, $3, $4, $5, $6, $7, 1)
            on conflict (spec_id) do update set kind = excluded.kind, reason = excluded.reason,
              push_id = excluded.push_id, next_try = excluded.next_try, wanted = excluded.wanted,
              since = case when hold.wanted = excluded.wanted then hold.since else excluded.since end,
              failures = case when hold.wanted = excluded.wanted then hold.failures + 1 else 1 end";
        let NewBlock { wanted, kind, reason, push, next_try } = hold;
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, spec, wanted, kind, reason, push, now, next_try);
        tx.commit().await
    }

    /// Nothing holds the spec any more.
    pub async fn release(&self, spec: SpecId) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut tx, "delete from hold where spec_id = $1", spec);
        tx.commit().await
    }
}
