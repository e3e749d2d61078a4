//! What is planned for: the live evaluations, and the ones for which was planned last.
//!
//! The step that schedules plans anew when the two differ, whatever happened in between.

use serde::{Deserialize, Serialize};

use crate::clock::Seconds;
use crate::db::{Db, EvaluationId, Result, SpecId, Tx, stored};
use crate::domain::spec::{First, RetryFailed, Spec, System};

/// One system of a spec that is evaluated: its jobs are wanted. They are those of the newest complete
/// evaluation, and what a newer one has found so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Which spec.
    pub spec: SpecId,
    /// For which system.
    pub system: System,
    /// The spec's priority: 0 first.
    pub priority: u8,
    /// The system's place among those of the spec: 0 first.
    pub place: u8,
    /// The spec's share among those of the same priority.
    pub share: u32,
    /// Whether it wants the jobs of all its evaluations, not only of the newest.
    pub every_commit: bool,
    /// When what failed is queued again.
    pub retry_failed: RetryFailed,
    /// The newest complete evaluation.
    pub evaluation: Option<EvaluationId>,
    /// The first one, if that was taken for known.
    pub known: Option<EvaluationId>,
}

/// What there is to plan for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanInput {
    /// All whose jobs are wanted.
    pub live: Vec<Live>,
    /// How far builds are wanted: another text when there are more, or when one failed that can be tried with
    /// another derivation.
    pub seen: String,
}

/// For what it was planned last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What was known then.
    pub outlook: PlanInput,
    /// When that was.
    pub at: Seconds,
}

impl Db {
    /// What there is to plan for now.
    pub async fn outlook(&self) -> Result<PlanInput> {
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
                let known = found.filter(|_| stored.spec.first == First::Record);
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

    /// For what it was planned last.
    pub async fn planned(&self) -> Result<Option<Planned>> {
        const SQL: &str = "select live, seen, planned_at from plan";
        let row: Option<(String, String, Seconds)> =
            each!(&self.readers, pool => sqlx::query_as(SQL).fetch_optional(pool).await?);
        let Some((live, seen, at)) = row else { return Ok(None) };
        // What another version wrote is no plan of ours.
        Ok(serde_json::from_str(&live).ok().map(|live| Planned { outlook: PlanInput { live, seen }, at }))
    }
}

/// Notes that it was planned for this.
pub(in crate::db) async fn store_plan(tx: &mut Tx, outlook: &PlanInput, now: Seconds) -> Result<()> {
    const SQL: &str = "insert into plan (id, live, seen, planned_at) values (1, $1, $2, $3)
        on conflict (id) do update set live = excluded.live, seen = excluded.seen, planned_at = excluded.planned_at";
    let live = serde_json::json!(outlook.live).to_string();
    execute!(tx, SQL, live, &outlook.seen, now);
    Ok(())
}

/// What the spec of an evaluation says, and the system of the evaluation.
pub(in crate::db) async fn spec_of(tx: &mut Tx, id: EvaluationId) -> Result<(Spec, String)> {
    const SQL: &str =
        "select s.definition, e.system from spec s join evaluation e on e.spec_id = s.id where e.id = $1";
    let (definition, system): (String, String) =
        each!(tx, tx => sqlx::query_as(SQL).bind(id).fetch_one(&mut **tx).await?);
    Ok((stored(&definition, || format!("the spec of evaluation {id}"))?, system))
}
