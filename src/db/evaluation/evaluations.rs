use serde_json::Value;

use crate::clock::Seconds;
use crate::db::stored_system::stored_system;
use crate::db::{Db, Error, EvaluationId, Result, SpecId, stored};
use crate::domain::revision::Revision;
use crate::domain::spec::{Build, System};

/// The evaluation of one revision of one spec for one system.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The number of the evaluation. For one spec and system, later revisions have larger numbers.
    pub id: EvaluationId,
    /// The number of the spec.
    pub spec_id: SpecId,
    /// The name of the spec.
    pub spec: String,
    /// The revision that is evaluated.
    pub revision: Revision,
    /// The jobs that are asked for.
    pub build: Build,
    /// The system to evaluate for.
    pub system: System,
    /// The state of the evaluation.
    pub state: EvaluationState,
    /// Why it failed.
    pub reason: Option<String>,
    /// Whether some modules failed to load, so that absent jobs count as errors.
    pub partial: bool,
    /// Whether it is pinned.
    pub pinned: bool,
    /// How often it was started.
    pub attempts: i64,
    /// The host that evaluates it, or did last.
    pub host: Option<String>,
    /// When it was requested.
    pub created_at: Seconds,
    /// When it was last started.
    pub started_at: Option<Seconds>,
    /// When it became complete or failed.
    pub finished_at: Option<Seconds>,
    /// Number of units to evaluate, once known; each gives one job or several. The column is older
    /// than the word.
    pub jobs_total: Option<i64>,
    /// Number of units that are done, of [`Self::jobs_total`].
    pub jobs_done: i64,
    /// Number of modules of its Guix that are compiled, of [`Self::modules_total`].
    pub modules_done: i64,
    /// Number of modules of its Guix that must be compiled first.
    pub modules_total: i64,
    /// Number of jobs that could not be evaluated.
    pub errors: i64,
    /// Whether the scheduler has yet to see its new jobs.
    pub unscheduled: bool,
    /// Measurements.
    pub metrics: Option<Value>,
}

/// The state of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum EvaluationState {
    /// No host works on it yet.
    Pending,
    /// A host works on it.
    Running,
    /// Its jobs are known.
    Complete,
    /// It failed, so its jobs are not known.
    Failed,
}

impl EvaluationState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Complete, Self::Failed];

    /// The state's word, the same in the database, in JSON and for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }
}

/// All columns of a [`Row`]; a condition may follow.
macro_rules! evaluations {
    () => {
        "select e.id, e.spec_id, s.name as spec, coalesce(e.channels, r.channels) as channels, e.build, e.system, e.state, e.reason, e.partial, e.pinned_at is not null as pinned, e.attempts, e.host,
           e.created_at, e.started_at, e.finished_at, e.jobs_total, e.jobs_done, e.modules_done, e.modules_total, e.errors, e.unscheduled, e.metrics
         from evaluation e join spec s on s.id = e.spec_id join revision r on r.id = e.revision_id "
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: EvaluationId,
    spec_id: SpecId,
    spec: String,
    channels: String,
    build: String,
    system: String,
    state: EvaluationState,
    reason: Option<String>,
    partial: bool,
    pinned: bool,
    attempts: i64,
    host: Option<String>,
    created_at: Seconds,
    started_at: Option<Seconds>,
    finished_at: Option<Seconds>,
    jobs_total: Option<i64>,
    jobs_done: i64,
    modules_done: i64,
    modules_total: i64,
    errors: i64,
    unscheduled: bool,
    metrics: Option<String>,
}

impl TryFrom<Row> for Evaluation {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let place = |what: &str| format!("the {what} of evaluation {}", row.id);
        let metrics = row.metrics.as_deref().map(|metrics| stored(metrics, || place("metrics")));
        Ok(Self {
            revision: stored(&row.channels, || place("revision"))?,
            build: stored(&row.build, || place("jobs"))?,
            system: stored_system(&row.system, || place("system"))?,
            metrics: metrics.transpose()?,
            id: row.id,
            spec_id: row.spec_id,
            spec: row.spec,
            state: row.state,
            reason: row.reason,
            partial: row.partial,
            pinned: row.pinned,
            attempts: row.attempts,
            host: row.host,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            jobs_total: row.jobs_total,
            jobs_done: row.jobs_done,
            modules_done: row.modules_done,
            modules_total: row.modules_total,
            errors: row.errors,
            unscheduled: row.unscheduled,
        })
    }
}

impl Db {
    /// One evaluation.
    pub async fn evaluation(&self, id: EvaluationId) -> Result<Option<Evaluation>> {
        const SQL: &str = concat!(evaluations!(), "where e.id = $1");
        let row: Option<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(id).fetch_optional(pool).await?);
        row.map(Evaluation::try_from).transpose()
    }

    /// The latest evaluations, newest first.
    pub async fn evaluations(
        &self,
        spec: Option<&str>,
        system: Option<&System>,
        limit: i64,
    ) -> Result<Vec<Evaluation>> {
        self.evaluations_before(spec, system, None, limit).await
    }

    /// The latest evaluations with a number below `before`, newest first.
    pub async fn evaluations_before(
        &self,
        spec: Option<&str>,
        system: Option<&System>,
        before: Option<EvaluationId>,
        limit: i64,
    ) -> Result<Vec<Evaluation>> {
        const SQL: &str = concat!(
            evaluations!(),
            "where e.id < $4 and ($1 is null or s.name = $1) and ($2 is null or e.system = $2)
             order by e.id desc limit $3"
        );
        let (system, before) = (system.map(System::as_str), before.map_or(i64::MAX, |before| before.0));
        let rows: Vec<Row> = each!(&self.readers, pool =>
            sqlx::query_as(SQL).bind(spec).bind(system).bind(limit).bind(before).fetch_all(pool).await?);
        rows.into_iter().map(Evaluation::try_from).collect()
    }

    /// The newest evaluation of each present spec and system, in the order of the specs'
    /// priorities.
    pub async fn newest_evaluations(&self) -> Result<Vec<Evaluation>> {
        const SQL: &str = concat!(
            evaluations!(),
            "where s.present and e.id in (select max(id) from evaluation group by spec_id, system)
             order by s.priority, s.name, e.system"
        );
        let rows: Vec<Row> = each!(&self.readers, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        rows.into_iter().map(Evaluation::try_from).collect()
    }

    /// The revisions whose files are needed: those of evaluations that wait or run, and that of the
    /// newest complete evaluation of each present spec and system.
    pub async fn needed_revisions(&self) -> Result<Vec<Revision>> {
        const SQL: &str = concat!(
            evaluations!(),
            "where e.state in ('pending', 'running') or s.present and e.id in
              (select max(id) from evaluation where state = 'complete' group by spec_id, system)"
        );
        let rows: Vec<Row> = each!(&self.readers, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        rows.into_iter().map(|row| Ok(Evaluation::try_from(row)?.revision)).collect()
    }

    /// The newest complete evaluation of a spec for a system.
    pub async fn last_complete(&self, spec: SpecId, system: &System) -> Result<Option<Evaluation>> {
        const SQL: &str = concat!(
            evaluations!(),
            "where e.spec_id = $1 and e.system = $2 and e.state = 'complete' order by e.id desc limit 1"
        );
        let row: Option<Row> = each!(&self.readers, pool =>
            sqlx::query_as(SQL).bind(spec).bind(system.as_str()).fetch_optional(pool).await?);
        row.map(Evaluation::try_from).transpose()
    }
}
