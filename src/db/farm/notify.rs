//! Wakes reconcilers of other processes.
//!
//! A transaction that writes something for a reconciler of another process sends `NOTIFY` to
//! PostgreSQL. Every process listens, and rings its bells. A process that misses a notification,
//! and every process on SQLite, finds the work at the reconciler's next interval.

use std::str::FromStr;

use sqlx::postgres::PgListener;

use crate::db::{Db, Either, Result, Tx};

/// The `PostgreSQL` channel that wakes reconcilers on other machines.
const CHANNEL: &str = "gorget";

/// A reconciler that may have something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The step that fetches.
    Fetch,
    /// The step that evaluates.
    Evaluate,
    /// The step that schedules.
    Schedule,
}

impl Wake {
    const ALL: [Self; 3] = [Self::Fetch, Self::Evaluate, Self::Schedule];

    fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Evaluate => "evaluate",
            Self::Schedule => "schedule",
        }
    }
}

impl FromStr for Wake {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|wake| wake.word() == word).ok_or(())
    }
}

/// Wakes a reconciler of every listening process once the transaction is committed. `SQLite` has no
/// notifications: there, reconcilers wake at their intervals.
pub(in crate::db) async fn ring(tx: &mut Tx, wake: Wake) -> Result<()> {
    if let Either::Postgres(tx) = tx {
        let notify = sqlx::query("select pg_notify($1, $2)");
        notify.bind(CHANNEL).bind(wake.word()).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Receives the reconcilers to wake.
#[derive(Debug)]
pub struct Listener {
    listener: PgListener,
    /// Whether it has just begun to listen.
    begins: bool,
}

impl Db {
    /// Begins to listen; `None` for `SQLite`, which has no notifications.
    pub async fn listen(&self) -> Result<Option<Listener>> {
        let Either::Postgres(pool) = &self.side_pool else { return Ok(None) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Listener { listener, begins: true }))
    }
}

impl Listener {
    /// The reconcilers to wake next; all of them if a notification may have been missed.
    pub async fn heard(&mut self) -> Result<Vec<Wake>> {
        if std::mem::take(&mut self.begins) {
            return Ok(Wake::ALL.to_vec());
        }
        let heard = self.listener.try_recv().await?;
        Ok(heard.map_or(Wake::ALL.to_vec(), |heard| heard.payload().parse().into_iter().collect()))
    }
}
