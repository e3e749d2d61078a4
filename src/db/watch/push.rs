use crate::clock::Seconds;
use crate::db::log::audit::record;
use crate::db::{BranchId, Db, PushId, Result};
use crate::domain::access::{Action, Author};

/// A recorded change of a branch.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Push {
    /// The number of the push; later pushes have larger ones.
    pub id: PushId,
    /// The URL of the repository.
    pub url: String,
    /// The name of the branch.
    pub branch: String,
    /// The commit before; `None` if the branch did not exist.
    pub before: Option<String>,
    /// The commit after; `None` if the branch was deleted.
    pub after: Option<String>,
    /// The kind of push; `None` until the commits are fetched.
    pub kind: Option<PushKind>,
    /// When the poll saw it.
    pub seen_at: Seconds,
    /// When somebody allowed it to lead away from what was evaluated before.
    pub acknowledged_at: Option<Seconds>,
}

/// What a push did to a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum PushKind {
    /// The branch is new.
    Created,
    /// Commits were added.
    Forward,
    /// Commits were replaced.
    Forced,
    /// The branch is gone.
    Deleted,
    /// The branch went back to a commit that it had before, or to an earlier one.
    Returned,
}

/// All columns of a [`Push`]; a condition may follow.
macro_rules! pushes {
    () => {
        "select p.id, b.url, b.name as branch, p.before, p.after, p.kind, p.seen_at, p.acknowledged_at
         from push p join branch b on b.id = p.branch_id "
    };
}

/// The last authentic commit of a branch that was passed on, and the commits that may follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Anything else must descend from one of these commits.
    pub bases: Vec<String>,
    /// The push that brought the branch to its tip.
    pub push: Option<PushId>,
}

impl Db {
    /// The latest pushes to a branch, newest first.
    pub async fn pushes(&self, branch: BranchId, limit: i64) -> Result<Vec<Push>> {
        const SQL: &str = concat!(pushes!(), "where p.branch_id = $1 order by p.id desc limit $2");
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(branch).bind(limit).fetch_all(pool).await?))
    }

    /// The latest pushes to the branches of a name, or to any branch, with a number below `before`,
    /// newest first.
    pub async fn pushes_before(
        &self,
        branch: Option<&str>,
        before: Option<PushId>,
        limit: i64,
    ) -> Result<Vec<Push>> {
        const SQL: &str =
            concat!(pushes!(), "where p.id < $1 and ($2 is null or b.name = $2) order by p.id desc limit $3");
        let before = before.map_or(i64::MAX, |before| before.0);
        each!(&self.readers, pool =>
            Ok(sqlx::query_as(SQL).bind(before).bind(branch).bind(limit).fetch_all(pool).await?))
    }

    /// The latest pushes to any branch, newest first.
    pub async fn all_pushes(&self, limit: i64) -> Result<Vec<Push>> {
        self.pushes_before(None, None, limit).await
    }

    /// Pushes from one commit to another whose kind is not determined yet.
    pub async fn unnamed_pushes(&self, url: &str, branch: &str) -> Result<Vec<Push>> {
        const SQL: &str = concat!(
            pushes!(),
            "where b.url = $1 and b.name = $2 and p.kind is null order by p.id desc limit 100"
        );
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(url).bind(branch).fetch_all(pool).await?))
    }

    /// Records the kind of a push.
    pub async fn name_push(&self, push: PushId, kind: PushKind) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut tx, "update push set kind = $2 where id = $1", push, kind);
        tx.commit().await
    }

    /// What a branch must descend from; `None` until an authentic commit was passed on.
    pub async fn trust(&self, url: &str, branch: &str) -> Result<Option<Trust>> {
        const TRUSTED: &str = "select trusted from branch where url = $1 and name = $2";
        const ACKNOWLEDGED: &str = "select p.after from push p join branch b on b.id = p.branch_id
            where b.url = $1 and b.name = $2 and p.acknowledged_at is not null and p.after is not null
              and p.id > coalesce(b.trusted_push, 0)";
        const NEWEST: &str = "select max(p.id) from push p join branch b on b.id = p.branch_id
            where b.url = $1 and b.name = $2";
        each!(&self.readers, pool => {
            let trusted: Option<Option<String>> =
                sqlx::query_scalar(TRUSTED).bind(url).bind(branch).fetch_optional(pool).await?;
            let Some(trusted) = trusted.flatten() else { return Ok(None) };
            let mut bases: Vec<String> =
                sqlx::query_scalar(ACKNOWLEDGED).bind(url).bind(branch).fetch_all(pool).await?;
            bases.push(trusted);
            let push = sqlx::query_scalar(NEWEST).bind(url).bind(branch).fetch_one(pool).await?;
            Ok(Some(Trust { bases, push }))
        })
    }

    /// Records that an authentic commit of a branch was passed on.
    pub async fn record_trusted(&self, url: &str, branch: &str, commit: &str) -> Result<()> {
        const SQL: &str = "update branch set trusted = $3, trusted_push =
              (select max(p.id) from push p where p.branch_id = branch.id and p.after = $3)
            where url = $1 and name = $2 and trusted is distinct from $3";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, url, branch, commit);
        tx.commit().await
    }

    /// Records that a push may lead away from what was evaluated before. Specs that are blocked by
    /// such pushes are retried at once. `None` when there is no such push.
    pub async fn acknowledge_push(
        &self,
        push: PushId,
        author: &Author,
        now: Seconds,
    ) -> Result<Option<Push>> {
        const FIND: &str = concat!(pushes!(), "where p.id = $1");
        const MARK: &str = "update push set acknowledged_at = coalesce(acknowledged_at, $2) where id = $1";
        const RELEASE: &str = "update blocked_spec set next_attempt = 0 where kind = 'rollback'";
        let mut tx = self.begin().await?;
        if execute!(&mut tx, MARK, push, now) == 0 {
            return Ok(None);
        }
        execute!(&mut tx, RELEASE);
        record(&mut tx, author, Action::Acknowledge, &format!("push {push}"), now).await?;
        let found = each!(&mut tx, tx => sqlx::query_as(FIND).bind(push).fetch_optional(&mut **tx).await?);
        tx.commit().await?;
        Ok(found)
    }
}
