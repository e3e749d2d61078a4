//! What happened, for whoever wants to hear of it: one number says how far they have read.
//!
//! # Guarantees
//!
//! * An event is written in the transaction of what happened.
//! * Numbers ascend in the order of commits, because writers take turns. The newest is never
//!   removed, so none is used twice.
//!
//! # Design
//!
//! An event says what to look at again, not what it looks like. So of events about builds, which
//! may be thousands a minute, the newest of some seconds is enough.

use crate::clock::Seconds;
use crate::db::{Db, EvaluationId, Result, SpecId, Tx};

/// An event is kept for so long.
const KEPT: Seconds = 30 * 24 * 60 * 60;
/// Of events about builds in this time, only the newest stays.
const BURST: Seconds = 5;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Somebody changed something.
    Action,
    /// A branch moved.
    Push,
    /// A spec is blocked, or no longer.
    Spec,
    /// The state of an evaluation changed.
    Evaluation,
    /// States of builds changed.
    Builds,
    /// A host came, went, paused or resumed.
    Host,
    /// The verdict on a branch changed.
    Verdict,
}

impl EventKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Push => "push",
            Self::Spec => "spec",
            Self::Evaluation => "evaluation",
            Self::Builds => "builds",
            Self::Host => "host",
            Self::Verdict => "verdict",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LoggedEvent {
    /// Its number; later ones are larger.
    pub id: i64,
    /// When.
    pub at: Seconds,
    /// What, in a word.
    pub kind: String,
    /// To which spec, if to one that is still there.
    pub spec: Option<String>,
    /// To which evaluation.
    pub evaluation: Option<EvaluationId>,
}

/// How far an evaluation that runs has come.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Progress {
    /// Which evaluation.
    pub evaluation: EvaluationId,
    /// How many of its jobs are recorded, and how many modules compiled.
    pub done: i64,
    /// How many errors it has.
    pub errors: i64,
}

impl Db {
    /// The events after a number, the oldest first.
    pub async fn events_after(&self, id: i64, limit: i64) -> Result<Vec<LoggedEvent>> {
        const SQL: &str = "select l.id, l.at, l.kind, s.name as spec, l.evaluation_id as evaluation
            from event_log l left join spec s on s.id = l.spec_id where l.id > $1 order by l.id limit $2";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(id).bind(limit).fetch_all(pool).await?))
    }

    /// The numbers of the oldest event that is kept, and of the newest; nothing if there was none.
    pub async fn event_bounds(&self) -> Result<Option<(i64, i64)>> {
        const SQL: &str = "select min(id), max(id) from event_log";
        let (oldest, newest): (Option<i64>, Option<i64>) =
            each!(&self.readers, pool => sqlx::query_as(SQL).fetch_one(pool).await?);
        Ok(oldest.zip(newest))
    }

    /// How far the evaluations that run have come.
    pub async fn progress(&self) -> Result<Vec<Progress>> {
        const SQL: &str = "select id as evaluation, jobs_done + modules_done as done, errors
            from evaluation where state = 'running' order by id";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }
}

/// Writes down what happens in this transaction.
pub(in crate::db) async fn log(
    tx: &mut Tx,
    kind: EventKind,
    spec: Option<SpecId>,
    evaluation: Option<EvaluationId>,
    now: Seconds,
) -> Result<()> {
    const ADD: &str =
        "insert into event_log (at, kind, spec_id, evaluation_id) values ($1, $2, $3, $4) returning id";
    let id: i64 = each!(tx, tx => sqlx::query_scalar(ADD).bind(now).bind(kind.word()).bind(spec)
        .bind(evaluation).fetch_one(&mut **tx).await?);
    execute!(tx, "delete from event_log where at < $1 and id < $2", now - KEPT, id);
    if kind == EventKind::Builds {
        const REPLACED: &str = "delete from event_log where kind = 'builds' and at > $1 and id < $2";
        execute!(tx, REPLACED, now - BURST, id);
    }
    Ok(())
}

/// Writes down that the state of evaluations changes in this transaction.
pub(in crate::db) async fn log_evaluations(
    tx: &mut Tx,
    evaluations: &[EvaluationId],
    now: Seconds,
) -> Result<()> {
    const SPEC: &str = "select spec_id from evaluation where id = $1";
    for id in evaluations {
        let spec: Option<SpecId> =
            each!(tx, tx => sqlx::query_scalar(SPEC).bind(id).fetch_optional(&mut **tx).await?);
        log(tx, EventKind::Evaluation, spec, Some(*id), now).await?;
    }
    Ok(())
}
