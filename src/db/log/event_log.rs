//! The event log, for all readers of events. A reader keeps only the number of the last event that
//! it has read.
//!
//! # Guarantees
//!
//! * An event is written in the transaction of the change that it is about.
//! * Numbers ascend in the order of commits, because writers take turns. The newest event is never
//!   removed, so no number is used twice.
//!
//! # Design
//!
//! An event names what has changed, not its new state. So of the events about builds, which may be
//! thousands a minute, the newest within some seconds is enough.

use crate::clock::Seconds;
use crate::db::{Db, EvaluationId, Result, SpecId, Tx};

/// How long an event is kept.
const KEPT: Seconds = 30 * 24 * 60 * 60;
/// Of the events about builds within this time, only the newest is kept.
const BURST: Seconds = 5;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// An author made a change.
    Action,
    /// A branch moved.
    Push,
    /// A spec was blocked or unblocked.
    Spec,
    /// The state of an evaluation changed.
    Evaluation,
    /// The states of some builds changed.
    Builds,
    /// A host registered, stopped, paused or resumed.
    Host,
    /// The verdict on a branch changed.
    Verdict,
    /// Substitute servers have more, or less, of an evaluation.
    Coverage,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Action,
        Self::Push,
        Self::Spec,
        Self::Evaluation,
        Self::Builds,
        Self::Host,
        Self::Verdict,
        Self::Coverage,
    ];

    /// The word for the kind.
    pub fn word(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Push => "push",
            Self::Spec => "spec",
            Self::Evaluation => "evaluation",
            Self::Builds => "builds",
            Self::Host => "host",
            Self::Verdict => "verdict",
            Self::Coverage => "coverage",
        }
    }
}

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LoggedEvent {
    /// The number of the event; later events have larger ones.
    pub id: i64,
    /// When it happened.
    pub at: Seconds,
    /// The kind of event, in a word.
    pub kind: String,
    /// The spec that it is about, if that still exists.
    pub spec: Option<String>,
    /// The evaluation that it is about.
    pub evaluation: Option<EvaluationId>,
}

/// The progress of a running evaluation.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Progress {
    /// The number of the evaluation.
    pub evaluation: EvaluationId,
    /// Number of recorded jobs plus compiled modules.
    pub done: i64,
    /// Number of errors.
    pub errors: i64,
}

impl Db {
    /// The events after the one with this number, the oldest first.
    pub async fn events_after(&self, id: i64, limit: i64) -> Result<Vec<LoggedEvent>> {
        const SQL: &str = "select l.id, l.at, l.kind, s.name as spec, l.evaluation_id as evaluation
            from event_log l left join spec s on s.id = l.spec_id where l.id > $1 order by l.id limit $2";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(id).bind(limit).fetch_all(pool).await?))
    }

    /// The numbers of the oldest and the newest recorded event; `None` if there is none.
    pub async fn event_bounds(&self) -> Result<Option<(i64, i64)>> {
        const SQL: &str = "select min(id), max(id) from event_log";
        let (oldest, newest): (Option<i64>, Option<i64>) =
            each!(&self.readers, pool => sqlx::query_as(SQL).fetch_one(pool).await?);
        Ok(oldest.zip(newest))
    }

    /// The progress of the running evaluations.
    pub async fn progress(&self) -> Result<Vec<Progress>> {
        const SQL: &str = "select id as evaluation, jobs_done + modules_done as done, errors
            from evaluation where state = 'running' order by id";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }
}

/// Records an event in this transaction.
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

/// Records that the states of evaluations change in this transaction.
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
