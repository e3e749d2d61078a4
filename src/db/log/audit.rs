//! What was changed, by whom.
//!
//! An entry is written in the transaction of the change, so there is none without the other. What
//! somebody was not permitted to do has an entry of its own, if they are known.

use crate::clock::Seconds;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{Db, Result, Tx};
use crate::domain::access::{Action, Author};

/// Longest subject, in characters.
const LONGEST: usize = 500;
/// So many refusals of one author are written down in an hour.
const MOST_REFUSALS: i64 = 100;
/// An entry is kept for so long.
const KEPT: Seconds = 2 * 365 * 24 * 60 * 60;

/// A change, or what was not permitted.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditEntry {
    /// Its number; later ones are larger.
    pub id: i64,
    /// When.
    pub at: Seconds,
    /// The name of a token, or `cli:USER`.
    pub author: String,
    /// What they may do.
    pub role: String,
    /// The address of a client, or the name of a host.
    pub origin: String,
    /// What they did, in a word.
    pub action: String,
    /// To what.
    pub subject: String,
}

impl Db {
    /// The newest entries, of those before `before` if that is given.
    pub async fn audit(&self, before: Option<i64>, limit: i64) -> Result<Vec<AuditEntry>> {
        const SQL: &str = "select id, at, author, role, origin, action, subject from audit
            where id < $1 order by id desc limit $2";
        let before = before.unwrap_or(i64::MAX);
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(before).bind(limit).fetch_all(pool).await?))
    }

    /// Somebody who is known was not permitted to do something. Of many times in an hour, the first are written
    /// down.
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

/// Writes down what somebody does in this transaction.
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
