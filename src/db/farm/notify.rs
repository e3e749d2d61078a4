//! Wakes reconcilers of other processes.
//!
//! A transaction that writes something for a reconciler elsewhere sends `NOTIFY` to PostgreSQL;
//! every process listens and rings its bells. A process that misses that, and every process on
//! SQLite, finds the work after the reconciler's interval.

use std::str::FromStr;

use sqlx::postgres::PgListener;

use crate::db::{Db, Either, Result, Tx};

/// The channel of `PostgreSQL` on which keepers on other machines are woken.
const CHANNEL: &str = "gorget";

/// Which keeper may have something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The one that fetches.
    Fetch,
    /// The one that evaluates.
    Evaluate,
    /// The one that schedules.
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

/// Wakes a keeper of every process that listens, once the transaction is committed. `SQLite` cannot do
/// that: its keepers wake by themselves.
pub(in crate::db) async fn ring(tx: &mut Tx, wake: Wake) -> Result<()> {
    if let Either::Postgres(tx) = tx {
        let notify = sqlx::query("select pg_notify($1, $2)");
        notify.bind(CHANNEL).bind(wake.word()).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Hears who is to wake.
#[derive(Debug)]
pub struct Listener {
    listener: PgListener,
    /// Whether nobody listened until now.
    begins: bool,
}

impl Db {
    /// Begins to listen; nothing for `SQLite`, where nobody can be heard.
    pub async fn listen(&self) -> Result<Option<Listener>> {
        let Either::Postgres(pool) = &self.aside else { return Ok(None) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Listener { listener, begins: true }))
    }
}

impl Listener {
    /// Who is to wake next. All of them, when something may have been missed.
    pub async fn heard(&mut self) -> Result<Vec<Wake>> {
        if std::mem::take(&mut self.begins) {
            return Ok(Wake::ALL.to_vec());
        }
        let heard = self.listener.try_recv().await?;
        Ok(heard.map_or(Wake::ALL.to_vec(), |heard| heard.payload().parse().into_iter().collect()))
    }
}
