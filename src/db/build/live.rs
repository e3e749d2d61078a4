//! The input of planning: the live evaluations, and those of the last plan.
//!
//! The scheduling step makes a new plan whenever the two differ.

use serde::{Deserialize, Serialize};

use crate::clock::Seconds;
use crate::db::{Db, EvaluationId, Result, SpecId, Tx, stored};
use crate::domain::spec::{FirstEvaluation, RetryFailed, Spec, System};

/// One system of an active spec, whose jobs are wanted: those of the newest complete evaluation,
/// and those that a newer one has found so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The spec.
    pub spec: SpecId,
    /// The system.
    pub system: System,
    /// The spec's priority: 0 first.
    pub priority: u8,
    /// The system's place among those of the spec: 0 first.
    pub place: u8,
    /// The spec's share among those of the same priority.
    pub share: u32,
    /// Whether the jobs of all its evaluations are wanted, not only those of the newest.
    pub every_commit: bool,
    /// When failed builds are queued again.
    pub retry_failed: RetryFailed,
    /// The newest complete evaluation.
    pub evaluation: Option<EvaluationId>,
    /// The first evaluation, if its builds were recorded as known.
    pub known: Option<EvaluationId>,
}

/// The input of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanInput {
    /// All specs and systems whose jobs are wanted.
    pub live: Vec<Live>,
    /// A fingerprint of the wanted builds. It changes when there are more, or when one failed that
    /// can be retried with another derivation.
    pub seen: String,
}

/// The last plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The input of the last plan.
    pub input: PlanInput,
    /// When it was made.
    pub at: Seconds,
}

impl Db {
    /// The current input for planning.
    pub async fn plan_input(&self) -> Result<PlanInput> {
        const COMPLETE: &str =
            "select spec_id, system, min(id), max(id) from evaluation where state = 'complete'
            group by spec_id, system";
        const SEEN: &str = "select cast(coalesce((select max(id) from build), 0) as text) || ' '
            || cast(coalesce((select sum(scheduled_job) from evaluation), 0) as text) || ' '
            || cast(coalesce((select sum(failures) from failed_derivation where has_others), 0) as text)";
        let specs = self.specs().await?;
        let complete: Vec<(SpecId, String, EvaluationId, EvaluationId)> =
            each!(&self.readers, pool => sqlx::query_as(COMPLETE).fetch_all(pool).await?);
        let seen = each!(&self.readers, pool => sqlx::query_scalar(SEEN).fetch_one(pool).await?);
        let mut live = Vec::new();
        for stored in specs.into_iter().filter(|stored| stored.present && stored.spec.is_evaluated()) {
            for (place, system) in stored.spec.systems.iter().enumerate() {
                let found =
                    complete.iter().find(|row| (row.0, row.1.as_str()) == (stored.id, system.as_str()));
                let known = found.filter(|_| stored.spec.first == FirstEvaluation::Record);
                live.push(Live {
                    spec: stored.id,
                    system: system.clone(),
                    priority: stored.spec.priority,
                    place: u8::try_from(place).unwrap_or(u8::MAX),
                    share: stored.spec.share,
                    every_commit: stored.spec.every_commit,
                    retry_failed: stored.spec.retry_failed,
                    evaluation: found.map(|row| row.3),
                    known: known.map(|row| row.2),
                });
            }
        }
        Ok(PlanInput { live, seen })
    }

    /// The last plan; `None` if there is none.
    pub async fn planned(&self) -> Result<Option<Planned>> {
        const SQL: &str = "select live, seen, planned_at from plan";
        let row: Option<(String, String, Seconds)> =
            each!(&self.readers, pool => sqlx::query_as(SQL).fetch_optional(pool).await?);
        let Some((live, seen, at)) = row else { return Ok(None) };
        // A plan in the format of another version counts as none.
        Ok(serde_json::from_str(&live).ok().map(|live| Planned { input: PlanInput { live, seen }, at }))
    }
}

/// Records the input of the plan that was just made.
pub(in crate::db) async fn store_plan(tx: &mut Tx, input: &PlanInput, now: Seconds) -> Result<()> {
    const SQL: &str = "insert into plan (id, live, seen, planned_at) values (1, $1, $2, $3)
        on conflict (id) do update set live = excluded.live, seen = excluded.seen, planned_at = excluded.planned_at";
    let live = serde_json::json!(input.live).to_string();
    execute!(tx, SQL, live, &input.seen, now);
    Ok(())
}

/// The definition of an evaluation's spec, and the evaluation's system.
pub(in crate::db) async fn spec_of(tx: &mut Tx, id: EvaluationId) -> Result<(Spec, String)> {
    const SQL: &str =
        "select s.definition, e.system from spec s join evaluation e on e.spec_id = s.id where e.id = $1";
    let (definition, system): (String, String) =
        each!(tx, tx => sqlx::query_as(SQL).bind(id).fetch_one(&mut **tx).await?);
    Ok((stored(&definition, || format!("the spec of evaluation {id}"))?, system))
}
