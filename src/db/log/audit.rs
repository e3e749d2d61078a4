//! The audit log: who changed what.
//!
//! An entry is written in the transaction of the change, so neither exists without the other. An
//! action that was not permitted has an entry of its own, if its author is known.

use crate::clock::Seconds;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{Db, Result, Tx};
use crate::domain::access::{Action, Author};

/// Longest subject, in characters.
const LONGEST: usize = 500;
/// Most refusals of one author that are recorded in an hour.
const MOST_REFUSALS: i64 = 100;
/// How long an entry is kept.
const KEPT: Seconds = 2 * 365 * 24 * 60 * 60;

/// A change, or an action that was not permitted.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditEntry {
    /// The number of the entry; later entries have larger ones.
    pub id: i64,
    /// When it happened.
    pub at: Seconds,
    /// The name of a token, `cli:USER` or `hook:NAME`.
    pub author: String,
    /// The role of the author.
    pub role: String,
    /// The address of a client, or the name of a host.
    pub origin: String,
    /// The word for the action.
    pub action: String,
    /// What the action was about.
    pub subject: String,
}

impl Db {
    /// The newest entries, or the newest before `before`.
    pub async fn audit(&self, before: Option<i64>, limit: i64) -> Result<Vec<AuditEntry>> {
        const SQL: &str = "select id, at, author, role, origin, action, subject from audit
            where id < $1 order by id desc limit $2";
        let before = before.unwrap_or(i64::MAX);
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(before).bind(limit).fetch_all(pool).await?))
    }

    /// Records that a known author was not permitted to do something. Only the first such entries
    /// in an hour are recorded.
    pub async fn record_denial(&self, author: &Author, subject: &str, now: Seconds) -> Result<()> {
        const COUNT: &str = "select count(*) from audit where action = 'refuse' and author = $1 and at > $2";
        let since = now - 60 * 60;
        let count: i64 = each!(&self.readers, pool =>
            sqlx::query_scalar(COUNT).bind(&author.name).bind(since).fetch_one(pool).await?);
        if count >= MOST_REFUSALS {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        record(&mut tx, author, Action::Refuse, subject, now).await?;
        tx.commit().await
    }
}

/// Records an author's action in this transaction.
pub(in crate::db) async fn record(
    tx: &mut Tx,
    author: &Author,
    action: Action,
    subject: &str,
    now: Seconds,
) -> Result<()> {
    const SQL: &str =
        "insert into audit (at, author, role, origin, action, subject) values ($1, $2, $3, $4, $5, $6)";
    let subject: String = subject.chars().take(LONGEST).collect();
    let Author { name, role, origin, .. } = author;
    execute!(tx, SQL, now, name, role.word(), origin, action.word(), subject);
    execute!(tx, "delete from audit where at < $1", now - KEPT);
    if ![Action::Refuse, Action::Login].contains(&action) {
        log(tx, EventKind::Action, None, None, now).await?;
    }
    Ok(())
}
